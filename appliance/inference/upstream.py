"""Any OpenAI-compatible server as the engine (vLLM on other machines, for example).

The prompt is written there, with that server's template, and its weights cannot be hashed from
here: the identity says what was promoted, its kind says that another server vouches for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import httpx

from appliance.core.durable import os_errors
from appliance.core.errors import (
    ContextTooLongError,
    EngineUnavailableError,
    SettingsInvalidError,
)
from appliance.core.settings.inference import InferenceSettings
from appliance.inference.engine import (
    Completion,
    Delta,
    Finish,
    Identity,
    IteratorGeneration,
    Message,
    Prompt,
    Sampling,
    collect,
)
from appliance.inference.sse import events

REMOTE_TEMPLATE = ""  # not known here


class UpstreamEngine:
    """A client of an OpenAI-compatible server."""

    def __init__(
        self, model_hash: str, settings: InferenceSettings, *, adapter_hash: str | None = None
    ) -> None:
        """Prepare a client; nothing is sent yet."""
        if not settings.upstream_url or not settings.upstream_model:
            raise SettingsInvalidError(
                expected="inference.upstream_url and inference.upstream_model",
                found="an empty one, with inference.engine = 'upstream'",
            )
        headers = {}
        if settings.upstream_key_file is not None:
            with os_errors(settings.upstream_key_file):
                key = settings.upstream_key_file.read_text(encoding="ascii").strip()
            headers["Authorization"] = f"Bearer {key}"
        self.identity = Identity("upstream", model_hash, adapter_hash, REMOTE_TEMPLATE)
        self.slots = settings.parallel_requests
        self._model = settings.upstream_model
        # trust_env off: a proxy variable must not send questions elsewhere.
        self._http = httpx.Client(
            base_url=settings.upstream_url,
            headers=headers,
            timeout=settings.silence_timeout_s,
            trust_env=False,
            follow_redirects=False,
        )

    def stream(self, prompt: Prompt, sampling: Sampling) -> IteratorGeneration:
        """Start an answer; the upstream says the size of the prompt at the end."""
        body: dict[str, Any] = {
            "model": self._model,
            "stream": True,
            "stream_options": {"include_usage": True},
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "frequency_penalty": sampling.frequency_penalty,
            "presence_penalty": sampling.presence_penalty,
        }
        if sampling.stop:
            body["stop"] = list(sampling.stop)
        if sampling.seed is not None:
            body["seed"] = sampling.seed
        if isinstance(prompt, str):
            path, body["prompt"] = "completions", prompt
        else:
            path = "chat/completions"
            body["messages"] = [{"role": m.role, "content": m.text} for m in prompt]
        generation = IteratorGeneration(0, iter(()))
        generation.pieces = self._pieces(path, body, generation)
        return generation

    def _pieces(
        self, path: str, body: dict[str, Any], generation: IteratorGeneration
    ) -> Iterator[Delta]:
        finish: Finish | None = None
        drawn = 0
        try:
            with self._http.stream("POST", path, json=body) as response:
                if response.status_code == httpx.codes.BAD_REQUEST:
                    raise ContextTooLongError(
                        expected="a request the upstream takes", found="status 400 from it"
                    )
                response.raise_for_status()
                for event in events(response.iter_lines()):
                    usage = event.get("usage") or {}
                    if usage:
                        generation.prompt_tokens = int(usage["prompt_tokens"])
                        missed = int(usage["completion_tokens"]) - drawn
                    text, ended = piece_of(event)
                    finish = ended or finish
                    if text:
                        drawn += 1
                        yield Delta(text, 1)
                    if usage:
                        yield Delta("", max(0, missed), finish or "length")
                        return
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            raise EngineUnavailableError(
                expected="an answer from the upstream", found=type(error).__name__
            ) from error
        if finish is None:  # a cut answer must not look complete
            raise EngineUnavailableError(expected="a last event", found="the answer was cut")
        yield Delta("", 0, finish)

    def complete(self, prompt: str, sampling: Sampling) -> Completion:
        """Continue a text."""
        return collect(self.stream(prompt, sampling))

    def chat(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        """Answer a conversation."""
        return collect(self.stream(messages, sampling))

    def ready(self) -> bool:
        """Say whether the upstream lists the model."""
        try:
            listed = self._http.get("models").raise_for_status().json()["data"]
            return any(entry.get("id") == self._model for entry in listed)
        except (httpx.HTTPError, ValueError, KeyError, TypeError, AttributeError):
            return False

    def close(self) -> None:
        """Close the connections."""
        self._http.close()


def piece_of(event: dict[str, Any]) -> tuple[str, Finish | None]:
    """Return the text and the finish reason of a streamed chunk (chat or completion)."""
    if "error" in event:
        raise ValueError("the upstream reported an error")
    choices = event.get("choices") or []
    if not choices:
        return "", None
    choice = choices[0]
    text = choice.get("text") or (choice.get("delta") or {}).get("content") or ""
    reason = choice.get("finish_reason")
    if reason is None:
        return str(text), None
    return str(text), "length" if reason == "length" else "stop"
