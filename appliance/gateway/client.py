"""A small client of the gateway for this machine's own command line."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self

import httpx

from appliance.core.errors import (
    ApplianceError,
    GatewayUnreachableError,
    RequestRefusedError,
    all_errors,
)
from appliance.gateway.service import Running
from appliance.inference.sse import events

_TOLD: Final = re.compile(r"Expected: (?P<expected>.+?)\. Found: (?P<found>.+?)\. ")
Messages = Sequence[dict[str, str]]


class GatewayClient:
    """Asks a gateway over HTTP, like any other application."""

    def __init__(
        self,
        running: Running,
        model: str,
        timeout_s: float,
        care: Mapping[str, str] | None = None,
    ) -> None:
        """Speak to ``running``; no proxy of the environment is used.

        ``care`` are the headers of ``appliance.gateway.care``, sent with every question.
        """
        self._model = model
        self._http = httpx.Client(
            base_url=running.base_url,
            headers={**(care or {}), "authorization": f"Bearer {running.api_key}"},
            timeout=timeout_s,
            trust_env=False,
        )

    def ask(self, messages: Messages, max_tokens: int | None) -> dict[str, Any]:
        """Return the whole answer in OpenAI's shape."""
        try:
            response = self._http.post("chat/completions", json=self._body(messages, max_tokens))
            value: dict[str, Any] = response.json()
        except (httpx.HTTPError, ValueError) as error:
            raise _unreachable(type(error).__name__) from error
        if "error" in value:
            raise as_appliance_error(value)
        return value

    def stream(self, messages: Messages, max_tokens: int | None) -> Iterator[str]:
        """Yield the pieces of an answer; an answer that was cut raises."""
        body = {**self._body(messages, max_tokens), "stream": True}
        finish = None
        try:
            with self._http.stream("POST", "chat/completions", json=body) as response:
                if response.status_code != httpx.codes.OK:
                    response.read()
                    raise as_appliance_error(response.json())
                for value in events(response.iter_lines()):
                    if "error" in value:
                        raise as_appliance_error(value)
                    for choice in value.get("choices", []):
                        finish = choice["finish_reason"] or finish
                        if text := choice["delta"].get("content"):
                            yield text
        except (httpx.HTTPError, ValueError, KeyError) as error:
            raise _unreachable(type(error).__name__) from error
        if finish is None:
            raise _unreachable("an answer that was cut")

    def _body(self, messages: Messages, max_tokens: int | None) -> dict[str, Any]:
        body: dict[str, Any] = {"model": self._model, "messages": list(messages)}
        return body if max_tokens is None else {**body, "max_tokens": max_tokens}

    def __enter__(self) -> Self:
        """Return the client."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connections."""
        self._http.close()


def as_appliance_error(value: dict[str, Any]) -> ApplianceError:
    """Return the error of the tree that the gateway answered with, found by its id."""
    code = (value.get("error") or {}).get("code")
    found = next((cls for cls in all_errors() if cls.id == code), None)
    if found is None:
        return _unreachable("an unknown refusal")
    if issubclass(found, RequestRefusedError):
        told = _TOLD.search(str(value["error"].get("message")))
        param = value["error"].get("param") or "the request"
        return RequestRefusedError(
            expected=told["expected"] if told else "a request the gateway accepts",
            found=told["found"] if told else f"its refusal of {param}",
        )
    return found(expected="the gateway to answer", found=f"its refusal ({code})")


def _unreachable(found: str) -> GatewayUnreachableError:
    return GatewayUnreachableError(expected="an answer from the gateway", found=found)
