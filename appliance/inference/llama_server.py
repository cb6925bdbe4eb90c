"""The engine for service: ``llama-server`` with continuous batching, over a Unix socket."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import httpx

from appliance.core.clock import Clock
from appliance.core.errors import ContextTooLongError, EngineUnavailableError
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
from appliance.inference.files import ModelFiles
from appliance.inference.sse import events
from appliance.inference.supervisor import LlamaServerProcess
from appliance.inference.template import Template

FINISH: dict[str, Finish] = {"eos": "stop", "word": "stop", "limit": "length"}


class Server(Protocol):
    """A ``llama-server`` on a Unix socket, whoever started it."""

    socket: str

    def healthy(self) -> bool:
        """Say whether it answers with the model loaded."""
        ...

    def stop(self) -> None:
        """Free the model; safe to call again."""
        ...


class SocketEngine:
    """Speaks the native ``/completion`` with tokens, so no template of the server is in play."""

    def __init__(
        self,
        identity: Identity,
        server: Server,
        template: Template,
        settings: InferenceSettings,
        on_answer: Callable[[httpx.Response], None] | None = None,
    ) -> None:
        """Speak to ``server``, which is ready; ``settings`` are those that fit the files.

        ``on_answer`` sees the head of every answer before its content is read; it may refuse it.
        """
        self.identity = identity
        self.slots = settings.parallel_requests
        self.context_tokens = settings.context_tokens
        self._template = template
        self._server = server
        self._http = httpx.Client(
            transport=httpx.HTTPTransport(uds=server.socket),
            base_url="http://engine",
            timeout=settings.silence_timeout_s,
            event_hooks={"response": [on_answer] if on_answer else []},
        )
        try:
            self._begin = self._tokens("", special=False, begin=True)
        except EngineUnavailableError:
            self.close()
            raise

    def tokenize(self, text: str, *, special: bool = False) -> list[int]:
        """Return the tokens of ``text``; special tokens in it are plain text by default."""
        return self._tokens(text, special=special, begin=False)

    def _tokens(self, text: str, *, special: bool, begin: bool) -> list[int]:
        body = {"content": text, "add_special": begin, "parse_special": special}
        try:
            response = self._http.post("/tokenize", json=body).raise_for_status()
            return [int(t) for t in response.json()["tokens"]]
        except (httpx.HTTPError, KeyError, ValueError) as error:
            raise _unavailable(error) from error

    def encode(self, prompt: Prompt) -> list[int]:
        """Return the tokens the model sees for ``prompt``."""
        if isinstance(prompt, str):
            return self._begin + self.tokenize(prompt)
        return self._begin + self._template.encode(prompt, self.tokenize)

    def stream(self, prompt: Prompt, sampling: Sampling) -> IteratorGeneration:
        """Start an answer; closing it closes the connection, and the server stops."""
        tokens = self.encode(prompt)
        room = self.context_tokens - len(tokens)
        if room < 1:
            raise ContextTooLongError(
                expected=f"a prompt that leaves room in {self.context_tokens} tokens",
                found=f"a prompt of {len(tokens)} tokens",
            )
        body = request_body(tokens, sampling, self._template.stop, room)
        return IteratorGeneration(len(tokens), self._pieces(body))

    def _pieces(self, body: dict[str, Any]) -> Iterator[Delta]:
        try:
            with self._http.stream("POST", "/completion", json=body) as response:
                response.raise_for_status()
                drawn = 0
                for event in events(response.iter_lines()):
                    delta = delta_of(event, drawn)
                    drawn += delta.tokens
                    yield delta
                    if delta.finish:
                        return
        except (httpx.HTTPError, ValueError) as error:
            raise _unavailable(error) from error
        # The socket closed without a last event: a cut answer must not look complete.
        raise EngineUnavailableError(expected="a last event", found="the answer was cut")

    def complete(self, prompt: str, sampling: Sampling) -> Completion:
        """Continue a text."""
        return collect(self.stream(prompt, sampling))

    def chat(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        """Answer a conversation."""
        return collect(self.stream(messages, sampling))

    def ready(self) -> bool:
        """Say whether the server answers and the model is loaded."""
        return self._server.healthy()

    def close(self) -> None:
        """Stop the server."""
        self._http.close()
        self._server.stop()


class LlamaServerEngine(SocketEngine):
    """A ``llama-server`` that is a child of this process."""

    def __init__(
        self,
        folder: Path,
        files: ModelFiles,
        template: Template,
        settings: InferenceSettings,
        clock: Clock,
    ) -> None:
        """Check the files, start the server in ``folder`` and wait until it is ready."""
        files.verify()
        fitting = files.fitting(settings)
        self.process = LlamaServerProcess(folder, files, fitting, clock)
        self.process.start()
        identity = Identity("llama-server", files.base_hash, files.adapter_hash, template.hash)
        super().__init__(identity, self.process, template, fitting)


def request_body(
    tokens: list[int], sampling: Sampling, stop: tuple[str, ...], room: int
) -> dict[str, Any]:
    """Return the body of ``/completion``; every sampler is named, none is left to a default."""
    body: dict[str, Any] = {
        "prompt": tokens,
        "stream": True,
        "cache_prompt": False,
        "return_tokens": True,
        "n_predict": min(sampling.max_tokens, room),
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": 0,
        "min_p": 0.0,
        "repeat_penalty": 1.0,
        "frequency_penalty": sampling.frequency_penalty,
        "presence_penalty": sampling.presence_penalty,
        "samplers": ["penalties", "top_p", "temperature"],
        "stop": [*sampling.stop, *stop],
    }
    if sampling.temperature <= 0:
        body |= {"samplers": ["penalties", "top_k"], "top_k": 1}
    if sampling.seed is not None:
        body["seed"] = sampling.seed
    return body


def delta_of(event: dict[str, Any], drawn_before: int) -> Delta:
    """Return the piece an event of ``/completion`` carries (raises ``ValueError``).

    The last event counts all tokens; the last one drawn has no event of its own.
    """
    if "error" in event:
        raise ValueError("the server reported an error")
    content = event.get("content")
    if not isinstance(content, str):
        raise ValueError("an event without content")  # noqa: TRY004 - one error for all
    if event.get("stop"):
        total = event.get("tokens_predicted", drawn_before)
        return Delta(
            content,
            max(0, int(total) - drawn_before),
            FINISH.get(str(event.get("stop_type")), "length"),
        )
    drawn = event.get("tokens")
    return Delta(content, len(drawn) if isinstance(drawn, list) else 0)


def _unavailable(error: Exception) -> EngineUnavailableError:
    return EngineUnavailableError(
        expected="an answer from llama-server", found=type(error).__name__
    )
