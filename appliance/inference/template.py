"""Prompt templates, pinned here: a model file's own template is never run.

A GGUF may carry a Jinja program that runs when a prompt is written (CVE-2024-34359), and
servers have let a request bring one along (CVE-2025-62426). Here a template is data: the text
before and after each turn. Words of a user are never read as special tokens, so a message
cannot open a turn of another role.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, get_args

from appliance.core.canonical import value_hash
from appliance.core.errors import SettingsInvalidError
from appliance.inference.engine import Message, Role


class Tokenize(Protocol):
    """A tokenizer: special tokens in the text count only when asked for."""

    def __call__(self, text: str, *, special: bool = False) -> list[int]:
        """Return the tokens of ``text``."""
        ...


@dataclass(frozen=True)
class Template:
    """``turns[role]`` is the text before and after a turn; ``specials`` are tokens in it.

    ``stop`` ends an answer besides the model's own end token.
    """

    name: str
    turns: Mapping[Role, tuple[str, str]]
    specials: tuple[str, ...] = ()
    stop: tuple[str, ...] = ()

    @property
    def hash(self) -> str:
        """The content hash, as the audit log names it."""
        return value_hash(
            {
                "name": self.name,
                "turns": {role: list(pair) for role, pair in self.turns.items()},
                "specials": list(self.specials),
                "stop": list(self.stop),
            }
        )

    def segments(self, messages: Sequence[Message]) -> Iterator[tuple[str, bool]]:
        """Yield (text, is a special token) for the messages and the opening of the answer."""
        run = ""
        for text, ours in self._parts(messages):
            for piece in self._split(text) if ours else [text]:
                if ours and piece in self.specials:
                    if run:
                        yield run, False
                    run = ""
                    yield piece, True
                else:
                    run += piece
        if run:
            yield run, False

    def encode(self, messages: Sequence[Message], tokenize: Tokenize) -> list[int]:
        """Return the tokens of the conversation, without a begin-of-text token."""
        tokens: list[int] = []
        for text, special in self.segments(messages):
            tokens += tokenize(text, special=special)
        return tokens

    def render(self, messages: Sequence[Message]) -> str:
        """Return the conversation as text (to compare with what training wrote)."""
        return "".join(text for text, _ in self.segments(messages))

    def _parts(self, messages: Sequence[Message]) -> Iterator[tuple[str, bool]]:
        for message in messages:
            before, after = self.turns[message.role]
            yield before, True
            yield self._harmless(message.text.strip()), False
            yield after, True
        # The answer continues right after its opening: a space there would be another token.
        yield self.turns["assistant"][0].rstrip(" "), True

    def _split(self, text: str) -> list[str]:
        if not self.specials:
            return [text]
        return [p for p in re.split(f"({'|'.join(map(re.escape, self.specials))})", text) if p]

    def _harmless(self, text: str) -> str:
        """Break our own turn openings in a message: in a plain-text template they would count."""
        for before, _ in self.turns.values():
            opening = before.strip()
            if opening and opening not in self.specials:
                text = text.replace(opening, opening[:1] + " " + opening[1:])
        return text


ROLES: Final[tuple[Role, ...]] = get_args(Role)

LLAMA_3 = Template(
    name="llama-3",
    turns={
        role: (f"<|start_header_id|>{role}<|end_header_id|>\n\n", "<|eot_id|>") for role in ROLES
    },
    specials=("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
)

CHATML = Template(
    name="chatml",
    turns={role: (f"<|im_start|>{role}\n", "<|im_end|>\n") for role in ROLES},
    specials=("<|im_start|>", "<|im_end|>"),
)

PLAIN = Template(
    name="plain",
    turns={
        "system": ("", "\n\n"),
        "user": ("### Pergunta:\n", "\n\n"),
        "assistant": ("### Resposta:\n", "</s>"),
    },
    specials=("</s>",),
    stop=("###",),
)

TEMPLATES = {template.name: template for template in (PLAIN, LLAMA_3, CHATML)}


def template_named(name: str) -> Template:
    """Return a template by its name."""
    if name not in TEMPLATES:
        raise SettingsInvalidError(
            expected=f"one of the prompt templates {', '.join(sorted(TEMPLATES))}", found=name[:40]
        )
    return TEMPLATES[name]
