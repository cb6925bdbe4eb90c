"""A real gateway over real HTTP, with an engine and a log that a test can look into."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import httpx
import openai
import pytest

from appliance.audit.memory import MemoryRecorder
from appliance.core.errors import ApplianceError
from appliance.core.home import Home
from appliance.core.settings import Settings
from appliance.gateway.server import Sources
from appliance.gateway.service import Running, running_gateway
from appliance.inference.engine import Engine, Identity
from appliance.inference.memory import MemoryEngine

MODEL = "a" * 64


@dataclass
class Promoted:
    """The log's word on what is in service; a test changes it."""

    hash: str | None = MODEL
    error: ApplianceError | None = None

    def current_hash(self) -> str | None:
        if self.error is not None:
            raise self.error
        return self.hash


@dataclass
class Bench:
    """A running gateway and what stands behind it."""

    running: Running
    engine: MemoryEngine
    recorder: MemoryRecorder
    promoted: Promoted
    home: Home
    loaded: list[str] = field(default_factory=list)

    @property
    def root(self) -> str:
        return self.running.base_url.removesuffix("/v1")

    def client(self, key: str | None = None) -> openai.OpenAI:
        return openai.OpenAI(
            base_url=self.running.base_url, api_key=key or self.running.api_key, max_retries=0
        )

    def post(self, body: object, **options: object) -> httpx.Response:
        headers = {"authorization": f"Bearer {self.running.api_key}"}
        return httpx.post(
            f"{self.running.base_url}/chat/completions",
            json=body,
            headers=headers,
            timeout=30,
            **options,  # type: ignore[arg-type]  # httpx's many options
        )

    def chat(self, **fields: object) -> dict[str, object]:
        messages = [{"role": "user", "content": "Que horas abre?"}]
        return {"model": "hospital", "messages": messages, **fields}


Start = Callable[..., Bench]


@contextmanager
def starter(home: Home) -> Iterator[Start]:
    """Start gateways with the given engine and settings of the ``[gateway]`` table."""
    with ExitStack() as stack:

        def begin(engine: MemoryEngine | None = None, **gateway: object) -> Bench:
            identity = Identity("memory", MODEL, "b" * 64, "c" * 64)
            found = engine or MemoryEngine(identity=identity)
            promoted, recorder, loaded = Promoted(), MemoryRecorder("gateway"), []

            def load(content: str) -> Engine:
                loaded.append(content)
                return found

            options = {"promotion_check_s": 0.05, **gateway}
            settings = Settings.model_validate({"gateway": options})
            running = stack.enter_context(
                running_gateway(home, settings, recorder, Sources(promoted, load))
            )
            # So that the stop can be recorded, whatever the test did to the log.
            stack.callback(setattr, recorder.sink, "broken", False)  # noqa: FBT003 - setattr's value
            return Bench(running, found, recorder, promoted, home, loaded)

        yield begin


@pytest.fixture
def start(home: Home) -> Iterator[Start]:
    with starter(home) as begin:
        yield begin


@pytest.fixture
def bench(start: Start) -> Bench:
    return start()


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """One gateway for all the requests that must be refused: nothing may reach its engine."""
    with starter(Home(tmp_path_factory.mktemp("shared") / "home").prepare()) as begin:
        bench = begin()
        yield bench
        assert bench.engine.seen == []
