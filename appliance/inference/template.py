"""The chat template: pinned by its hash, run in a sandbox, and never over a user's words.

A GGUF may carry a Jinja program that runs when a prompt is written (CVE-2024-34359), and
servers have let a request bring one along (CVE-2025-62426). Here the template is the registered
one, whatever the file says. It is run over placeholders; the words of the conversation are put
in afterwards as plain text, so no message can open a turn of another role or add a special token.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NoReturn, Protocol

from appliance.core.canonical import sha256_hex
from appliance.core.errors import SettingsInvalidError
from appliance.datasets.prompt import CHAT_TEMPLATE
from appliance.inference.engine import Message

# A placeholder holds a private-use character, which `trim` leaves alone.
_PLACE = re.compile("\ue000([0-9]+)\ue001")
_MAYBE_SPECIAL = re.compile(r"(<[^<>\s]{1,64}>|\[/?[A-Z_]{2,32}\])")
_PROBE = "\ue002"


class Tokenize(Protocol):
    """A tokenizer: special tokens in the text count only when asked for."""

    def __call__(self, text: str, *, special: bool = False) -> list[int]:
        """Return the tokens of ``text``."""
        ...


@dataclass(frozen=True)
class Template:
    """A registered Jinja chat template and the text of the model's end token."""

    text: str = CHAT_TEMPLATE
    end_token: str = "</s>"  # noqa: S105 - a token of a vocabulary, not a secret

    @cached_property
    def hash(self) -> str:
        """The SHA-256 of the template, as the registry pins it."""
        return sha256_hex(self.text.encode())

    @cached_property
    def _program(self) -> Any:
        from jinja2 import TemplateError
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=["jinja2.ext.loopcontrols"],
            autoescape=False,
        )
        environment.globals["raise_exception"] = _refuse
        try:
            return environment.from_string(self.text)
        except TemplateError as error:
            raise _unusable(error) from error

    @cached_property
    def openings(self) -> tuple[str, ...]:
        """What opens a turn, when that is plain text a user could type too; else nothing."""
        shown = self._run([Message("user", _PROBE), Message("assistant", _PROBE)], opened=False)
        before_user, before_assistant = shown.split(_PROBE)[:2]
        if _MAYBE_SPECIAL.search(before_user) or _MAYBE_SPECIAL.search(before_assistant):
            return ()
        return tuple(t for t in (before_user.strip(), before_assistant.strip()) if t)

    @property
    def stop(self) -> tuple[str, ...]:
        """Texts that end an answer besides the model's own end token: a turn that opens."""
        return self.openings

    def encode(
        self, messages: Sequence[Message], tokenize: Tokenize, *, answered: bool = False
    ) -> list[int]:
        """Return the tokens of the conversation, without a begin-of-text token.

        Special tokens of the template are tokens; all else between two of them is one text.
        ``answered``: the last message is the answer; else the opening of one is added.
        """
        tokens: list[int] = []
        run = ""
        for piece, ours in self._pieces(messages, opened=not answered):
            for part in _MAYBE_SPECIAL.split(piece) if ours else [piece]:
                if ours and _MAYBE_SPECIAL.fullmatch(part) and _is_special(part, tokenize):
                    tokens += tokenize(run) if run else []
                    tokens += tokenize(part, special=True)
                    run = ""
                else:
                    run += part
        return tokens + (tokenize(run) if run else [])

    def render(self, messages: Sequence[Message], *, answered: bool = False) -> str:
        """Return the conversation as text."""
        return "".join(piece for piece, _ in self._pieces(messages, opened=not answered))

    def _pieces(self, messages: Sequence[Message], *, opened: bool) -> list[tuple[str, bool]]:
        """Return (text, is the template's own), with the words put in for the placeholders."""
        places = [Message(m.role, f"\ue000{i}\ue001") for i, m in enumerate(messages)]
        pieces: list[tuple[str, bool]] = []
        for at, part in enumerate(_PLACE.split(self._run(places, opened=opened))):
            if at % 2:
                pieces.append((self._harmless(messages[int(part)].text.strip()), False))
            elif part:
                pieces.append((part, True))
        return pieces

    def _harmless(self, text: str) -> str:
        """Break plain-text turn openings inside a message."""
        for opening in self.openings:
            text = text.replace(opening, f"{opening[:1]} {opening[1:]}")
        return text

    def _run(self, messages: Sequence[Message], *, opened: bool) -> str:
        from jinja2 import TemplateError

        try:
            shown: str = self._program.render(
                messages=[{"role": m.role, "content": m.text} for m in messages],
                add_generation_prompt=opened,
                bos_token="",  # the engine puts it in front itself; twice is a known fault
                eos_token=self.end_token,
            )
        except TemplateError as error:
            raise _unusable(error) from error
        return shown


def _is_special(text: str, tokenize: Tokenize) -> bool:
    as_special = tokenize(text, special=True)
    return as_special != tokenize(text)


def _refuse(_message: str) -> NoReturn:
    from jinja2 import TemplateError

    raise TemplateError("the template refuses these roles")


def _unusable(error: Exception) -> SettingsInvalidError:
    return SettingsInvalidError(
        expected="a chat template that takes system, user and assistant turns",
        found=type(error).__name__,
        remedy="Import the base model with a chat template that takes them.",
    )
