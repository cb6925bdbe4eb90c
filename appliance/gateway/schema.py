"""What a request may say: a closed list of fields with bounds; everything else is refused.

Servers that pass unknown body fields to the engine were attacked through them: a negative
``n_discard`` wrote out of bounds (CVE-2026-21869), prompt embeddings and template parameters ran
code (CVE-2025-62164, CVE-2025-62426, CVE-2026-22778), ``image_url`` fetched from inside the
network (CVE-2024-6587). So a field that is not here does not pass, and types are not converted.
"""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, Literal, NoReturn

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from appliance.core.errors import RequestRefusedError
from appliance.core.settings.gateway import GatewaySettings
from appliance.inference.engine import Message, Sampling

MAX_STOPS = 4  # OpenAI's own limit
MAX_STOP_CHARACTERS = 64  # held back while streaming: a long one would stall the text
MAX_CHARACTERS = 4_000_000  # a second bound behind max_body_bytes
MAX_SEED = 2**32 - 1  # llama.cpp's seeds are 32 bits; -1 (its "random") is not reachable

_PARAM = re.compile(r"[A-Za-z0-9_.\-]{1,120}")

Stop = Annotated[str, Field(min_length=1, max_length=MAX_STOP_CHARACTERS)]
Text = Annotated[str, Field(max_length=MAX_CHARACTERS)]


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class TextPart(_Closed):
    """A part of a message: text only. Images and files would have to be fetched."""

    type: Literal["text"]
    text: Text


class ChatMessage(_Closed):
    """One message. Tools are not offered, so no tool speaks."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Text | list[TextPart]

    def plain(self) -> str:
        """Return the text of all parts."""
        if isinstance(self.content, str):
            return self.content
        return "\n".join(part.text for part in self.content)


class StreamOptions(_Closed):
    """Options of a streamed answer."""

    include_usage: bool = False


class _Generation(_Closed):
    model: Annotated[str, Field(min_length=1, max_length=128)]
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    n: Annotated[int, Field(ge=1, le=1)] = 1
    stream: bool = False
    stream_options: StreamOptions | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=MAX_STOPS)] | None = None
    seed: Annotated[int, Field(ge=0, lt=MAX_SEED)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] = 0.0
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] = 0.0
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    user: Annotated[str, Field(max_length=256)] | None = None

    def _wanted_tokens(self) -> int | None:
        return self.max_tokens

    def sampling(self, settings: GatewaySettings) -> Sampling:
        """Return how to draw tokens (raises ``RequestRefusedError`` beyond ``max_tokens``)."""
        wanted = self._wanted_tokens()
        tokens = min(settings.default_tokens, settings.max_tokens) if wanted is None else wanted
        if tokens > settings.max_tokens:
            raise RequestRefusedError(
                expected=f"max_tokens of at most {settings.max_tokens}",
                found=str(tokens),
                param="max_tokens",
            )
        stop = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
        return Sampling(
            max_tokens=tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            frequency_penalty=self.frequency_penalty,
            presence_penalty=self.presence_penalty,
            stop=stop,
            seed=self.seed,
        )

    @property
    def with_usage(self) -> bool:
        """Whether a streamed answer ends with the token counts."""
        return self.stream_options is not None and self.stream_options.include_usage


class ChatRequest(_Generation):
    """The body of ``/v1/chat/completions``."""

    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None

    def _wanted_tokens(self) -> int | None:
        if self.max_completion_tokens is not None:
            return self.max_completion_tokens
        return self.max_tokens

    def dialogue(self, system: str, settings: GatewaySettings) -> list[Message]:
        """Return the conversation under the house's system prompt.

        A client's own system text is put below it or refused, as the settings say; it never
        stands alone.
        """
        if len(self.messages) > settings.max_messages:
            raise RequestRefusedError(
                expected=f"at most {settings.max_messages} messages",
                found=str(len(self.messages)),
                param="messages",
            )
        asked = [m for m in self.messages if m.role in {"system", "developer"}]
        if asked and settings.client_system_prompt == "refuse":
            raise RequestRefusedError(
                expected="no system message (gateway.client_system_prompt is 'refuse')",
                found=f"{len(asked)}",
                param="messages",
            )
        turns = [m for m in self.messages if m.role in {"user", "assistant"}]
        if not turns or turns[-1].role != "user":
            raise RequestRefusedError(
                expected="a user message at the end", found="none", param="messages"
            )
        head = "\n\n".join([system, *(m.plain().strip() for m in asked)])
        return [
            Message("system", head),
            *(Message("user" if m.role == "user" else "assistant", m.plain()) for m in turns),
        ]


class CompletionRequest(_Generation):
    """The body of ``/v1/completions``: one plain text to continue."""

    prompt: Annotated[str, Field(min_length=1, max_length=MAX_CHARACTERS)]


def parse_json(body: bytes) -> Any:
    """Return the JSON of a body; NaN and infinities, which are not JSON, are refused."""
    try:
        return json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise RequestRefusedError(
            expected="a body of JSON in UTF-8", found=type(error).__name__
        ) from error


def parse_chat(body: bytes) -> ChatRequest:
    """Return the checked chat request."""
    try:
        return ChatRequest.model_validate(parse_json(body))
    except ValidationError as error:
        raise _refused(error) from error


def parse_completion(body: bytes) -> CompletionRequest:
    """Return the checked completion request."""
    try:
        return CompletionRequest.model_validate(parse_json(body))
    except ValidationError as error:
        raise _refused(error) from error


def _refused(error: ValidationError) -> RequestRefusedError:
    # The value is left out: it may be a patient's words.
    first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    param = place if _PARAM.fullmatch(place) else "body"  # a name can be made of anything too
    if first["type"] == "extra_forbidden":
        return RequestRefusedError(
            expected="only the fields of the documented schema", found="an unknown one", param=param
        )
    return RequestRefusedError(
        expected=f"a valid {param}", found=str(first["msg"])[:200], param=param
    )


def _no_constant(_name: str) -> NoReturn:
    raise ValueError("not JSON")
