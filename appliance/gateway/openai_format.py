"""The shapes of OpenAI's API that answers are written in, and the framing of a stream."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

from appliance.core.errors import ApplianceError, RequestRefusedError

DONE = b"data: [DONE]\n\n"
Surface = Literal["chat", "completion"]

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "invalid_request_error",
    408: "invalid_request_error",
    413: "invalid_request_error",
    421: "invalid_request_error",
    429: "rate_limit_error",
}


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts of a request."""

    prompt: int
    completion: int

    def to_dict(self) -> dict[str, int]:
        """Return the JSON form."""
        return {
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": self.prompt + self.completion,
        }


@dataclass(frozen=True, slots=True)
class Envelope:
    """What all pieces of one answer share."""

    surface: Surface
    request_id: str
    created: int
    model: str

    def whole(self, text: str, finish: str, usage: Usage) -> dict[str, Any]:
        """Return a complete answer."""
        content: dict[str, Any] = (
            {"message": {"role": "assistant", "content": text, "refusal": None}}
            if self.surface == "chat"
            else {"text": text}
        )
        choice = {"index": 0, "finish_reason": finish, "logprobs": None, **content}
        kind = "chat.completion" if self.surface == "chat" else "text_completion"
        return {**self._head(kind), "choices": [choice], "usage": usage.to_dict()}

    def opening(self) -> bytes | None:
        """Return the first event of a chat stream, which names the role."""
        if self.surface == "completion":
            return None
        return self._event(self._choice({"role": "assistant", "content": ""}, None))

    def piece(self, text: str) -> bytes:
        """Return the event of a piece of text."""
        return self._event(self._choice({"content": text}, None))

    def closing(self, finish: str) -> bytes:
        """Return the event that names how the answer ended."""
        return self._event(self._choice({}, finish))

    def usage(self, usage: Usage) -> bytes:
        """Return the event with the token counts, which has no choice."""
        return self._event({"choices": [], "usage": usage.to_dict()})

    def _choice(self, delta: dict[str, str], finish: str | None) -> dict[str, Any]:
        body: dict[str, Any] = (
            {"delta": delta} if self.surface == "chat" else {"text": delta.get("content", "")}
        )
        return {"choices": [{"index": 0, "finish_reason": finish, "logprobs": None, **body}]}

    def _event(self, body: dict[str, Any]) -> bytes:
        kind = "chat.completion.chunk" if self.surface == "chat" else "text_completion"
        return event({**self._head(kind), **body})

    def _head(self, kind: str) -> dict[str, Any]:
        prefix = "chatcmpl" if self.surface == "chat" else "cmpl"
        return {
            "id": f"{prefix}-{self.request_id}",
            "object": kind,
            "created": self.created,
            "model": self.model,
        }


def event(body: dict[str, Any]) -> bytes:
    """Frame a JSON object as a server-sent event: one ``data:`` line, whatever its texts hold."""
    return b"data: " + json.dumps(body, ensure_ascii=True).encode("ascii") + b"\n\n"


def status_of(error: ApplianceError) -> int:
    """Return the HTTP status of an error."""
    return error.status if isinstance(error, RequestRefusedError) else error.http_status


def error_body(error: ApplianceError) -> dict[str, Any]:
    """Return OpenAI's error object for an error of the appliance."""
    return {
        "error": {
            "message": f"{error.headline()} Expected: {error.expected}. Found: {error.found}. "
            f"{error.todo}",
            "type": _TYPES.get(status_of(error), "server_error"),
            "param": error.param if isinstance(error, RequestRefusedError) else None,
            "code": error.id,
        }
    }
