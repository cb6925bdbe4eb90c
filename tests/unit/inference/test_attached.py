"""The engine in the container, over a stand-in that keeps the contract of the shared folder."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from typing import Any

import pytest

from appliance.core.canonical import sha256_hex
from appliance.core.clock import Clock, SystemClock
from appliance.core.durable import write_json
from appliance.core.errors import (
    EngineUnavailableError,
    InputMissingError,
    ModelHashMismatchError,
    ModelUnknownError,
)
from appliance.core.settings.inference import InferenceSettings
from appliance.inference.attached import AttachedEngine, serves, wanted_bytes
from appliance.inference.engine import Sampling
from appliance.inference.files import ModelFiles
from appliance.inference.template import Template

CUT = [ord(c) for c in "cut"]
BASE, ADAPTER = "a" * 64, "b" * 64
LATE_S = 1000.0


class Handler(BaseHTTPRequestHandler):
    """Speaks llama-server's HTTP with made-up tokens; said "cut" it dies in the middle."""

    def address_string(self) -> str:
        return "unix"

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._json({"status": "ok"})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.path == "/tokenize":
            begin = [1] if body["add_special"] else []
            self._json({"tokens": begin + [ord(c) for c in body["content"]]})
            return
        prompt = body["prompt"]
        self.send_response(200)
        self.end_headers()
        for token in prompt[1:]:
            self._event({"content": chr(token), "tokens": [token], "stop": False})
            if prompt[-len(CUT) :] == CUT:
                return
        self._event({"content": "", "stop": True, "stop_type": "eos"})

    def _event(self, value: dict[str, Any]) -> None:
        self.wfile.write(b"data: " + json.dumps(value).encode() + b"\n\n")

    def _json(self, value: dict[str, Any]) -> None:
        data = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


class Server(ThreadingMixIn, UnixStreamServer):
    daemon_threads = True

    def get_request(self) -> Any:
        request, _ = super().get_request()
        return request, ("unix", 0)


class Container:
    """The container's first process: follows ``wanted.json``, tells ``state.json``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.seen = b""
        self.history: list[dict[str, Any]] = []
        self.state = "started"
        self.change: dict[str, Any] = {}
        self.server: Server | None = None
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        path = self.folder / "wanted.json"
        while not self._end.wait(0.01):
            try:
                data = path.read_bytes()
            except FileNotFoundError:
                data = b""
            if data != self.seen:
                self.seen = data
                self.die()
                self._serve(data)

    def _serve(self, data: bytes) -> None:
        if not data:
            self.say({"state": "idle", "reason": "", "wanted": ""})
            return
        wanted = json.loads(data)
        self.history.append(wanted)
        value = {"state": self.state, "reason": "some-id", "wanted": sha256_hex(data)}
        value |= {k: wanted.get(k) for k in ("base_sha256", "adapter_sha256")} | self.change
        self.say(value | {"state": "proving"})
        self.server = Server(str(self.folder / "engine.sock"), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        self.say(value)

    def say(self, value: dict[str, Any]) -> None:
        write_json(self.folder / "state.json", value)

    def die(self) -> None:
        """What a crash of llama-server leaves: no listener, no socket."""
        if self.server is not None:
            self.server.shutdown()
            self.server.server_close()
            (self.folder / "engine.sock").unlink()
            self.server = None

    def stop(self) -> None:
        self._end.set()
        self._thread.join()
        self.die()


class LateClock(SystemClock):
    """Stands still until the container was seen proving twice; then it is late, and started."""

    def __init__(self, container: Container) -> None:
        self.container = container
        self.seen = 0

    def monotonic(self) -> float:
        path = self.container.folder / "state.json"
        value = json.loads(path.read_bytes()) if path.is_file() else {}
        if value.get("state") == "proving" and self.container.server is not None:
            self.seen += 1
            if self.seen >= 2:
                self.container.say(value | {"state": "started"})
        return LATE_S if self.seen >= 2 else 0.0


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A models folder with a file, and the shared folder."""
    (tmp_path / "models" / "gguf").mkdir(parents=True)
    (tmp_path / "e").mkdir()
    return tmp_path


@pytest.fixture
def container(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Container]:
    monkeypatch.chdir(home)  # the stand-in's own socket needs a short name
    made = Container(Path("e"))
    yield made
    made.stop()


@pytest.fixture
def attach(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., AttachedEngine]]:
    monkeypatch.setattr(ModelFiles, "fitting", lambda _self, settings: settings)
    with ExitStack() as stack:

        def begin(
            base_hash: str = BASE, *, seconds: float = 30, clock: Clock | None = None, **more: Any
        ) -> AttachedEngine:
            models = home / "models"
            files = ModelFiles(
                models / "gguf" / "m.gguf", base_hash, models / "gguf" / "l.gguf", ADAPTER
            )
            options = {"attached_folder": home / "e", "start_timeout_s": seconds, **more}
            settings = InferenceSettings.model_validate(options)
            engine = AttachedEngine(files, Template(), settings, models, clock or SystemClock())
            stack.callback(engine.close)
            return engine

        yield begin


Attach = Callable[..., AttachedEngine]


def until(true: Callable[[], bool]) -> None:
    for _ in range(6000):
        if true():
            return
        threading.Event().wait(0.01)
    pytest.fail("it did not happen")


def test_it_asks_by_name_and_hash_and_answers(attach: Attach, container: Container) -> None:
    engine = attach(context_tokens=512, parallel_requests=3, threads=2)
    assert container.history == [
        {
            "base": "gguf/m.gguf",
            "base_sha256": BASE,
            "adapter": "gguf/l.gguf",
            "adapter_sha256": ADAPTER,
            "inference": {
                "context_tokens": 512,
                "batch_tokens": 512,
                "threads": 2,
                "gpu_layers": -1,
                "parallel_requests": 3,
            },
        }
    ]
    found = engine.complete("olá", Sampling())
    assert (found.text, found.finish) == ("olá", "stop")
    assert engine.ready()
    assert engine.slots == 3
    assert engine.identity.to_dict()["engine"] == "attached"


def test_closing_withdraws_the_wish(attach: Attach, container: Container, home: Path) -> None:
    engine = attach()
    engine.close()
    until(lambda: container.seen == b"")
    assert not engine.ready()
    assert not (home / "e" / "wanted.json").exists()
    assert attach().ready()


def test_other_files_than_asked_for_are_never_used(attach: Attach, container: Container) -> None:
    container.change = {"base_sha256": "c" * 64}
    with pytest.raises(ModelHashMismatchError):
        attach()
    container.change = {"adapter_sha256": None}
    with pytest.raises(ModelHashMismatchError):
        attach(base_hash="d" * 64)
    until(lambda: container.seen == b"")


def test_an_answer_about_an_earlier_wish_does_not_count(
    attach: Attach, container: Container
) -> None:
    container.change = {"wanted": "0" * 64}
    with pytest.raises(EngineUnavailableError, match="about another request"):
        attach(seconds=0.3)


@pytest.mark.parametrize("state", ["refused", "given up"])
def test_a_refusal_is_told_with_its_reason(
    attach: Attach, container: Container, state: str
) -> None:
    container.state = state
    with pytest.raises(EngineUnavailableError, match=f"{state}: some-id"):
        attach(seconds=3600)


def test_one_that_never_starts_is_given_up(attach: Attach, container: Container) -> None:
    container.state = "proving"
    with pytest.raises(EngineUnavailableError, match="state 'proving'"):
        attach(seconds=0.3)
    until(lambda: container.seen == b"")


def test_no_container_is_said(attach: Attach, home: Path) -> None:
    with pytest.raises(EngineUnavailableError, match=r"no state\.json"):
        attach(seconds=0.2)
    assert not (home / "e" / "wanted.json").exists()


def test_a_container_that_takes_nothing_up_is_not_waited_for(attach: Attach, home: Path) -> None:
    write_json(home / "e" / "state.json", {"state": "idle", "reason": "", "wanted": ""})
    with pytest.raises(EngineUnavailableError, match="'idle', about another request"):
        attach(seconds=86_400, attached_notice_s=0.2)
    assert not (home / "e" / "wanted.json").exists()


def test_one_that_took_it_up_may_take_its_time(attach: Attach, container: Container) -> None:
    container.state = "proving"
    clock = LateClock(container)
    assert attach(seconds=3600, attached_notice_s=15, clock=clock).ready()
    assert clock.monotonic() == LATE_S


def test_no_shared_folder_is_said(attach: Attach, home: Path) -> None:
    (home / "e").rmdir()
    with pytest.raises(InputMissingError):
        attach()


def test_one_that_dies_in_the_middle_is_an_error_and_then_over(
    attach: Attach, container: Container
) -> None:
    engine = attach()
    with pytest.raises(EngineUnavailableError, match="cut"):
        engine.complete("cut", Sampling())
    container.die()
    assert not engine.ready()
    with pytest.raises(EngineUnavailableError):
        engine.complete("olá", Sampling())
    container._serve(container.seen)
    assert engine.complete("olá", Sampling()).text == "olá"


def test_an_answer_of_another_model_is_refused(attach: Attach, container: Container) -> None:
    """Someone else changed what is wanted: the socket answers, but for other files."""
    engine = attach()
    container.say({"state": "started", "wanted": "0" * 64, "base_sha256": "c" * 64})
    with pytest.raises(EngineUnavailableError, match="promoted model"):
        engine.complete("olá", Sampling())
    assert not engine.ready()


def test_a_new_model_waits_until_the_old_one_is_let_go(
    attach: Attach, container: Container
) -> None:
    old = attach()
    with pytest.raises(EngineUnavailableError, match="another engine uses the container"):
        attach(base_hash="c" * 64, seconds=0.2)
    assert old.complete("olá", Sampling()).text == "olá"
    assert len(container.history) == 1
    old.close()
    assert attach(base_hash="c" * 64).ready()
    assert container.history[-1]["base_sha256"] == "c" * 64


def test_a_file_outside_the_models_folder_is_not_asked_for(tmp_path: Path) -> None:
    files = ModelFiles(tmp_path / "x.gguf", BASE)
    with pytest.raises(ModelUnknownError, match="outside"):
        wanted_bytes(files, InferenceSettings(), tmp_path / "models")


@pytest.mark.parametrize("state", [None, [], {}, {"wanted": 3}, {"wanted": "d"}])
def test_a_state_that_says_nothing_serves_nothing(state: object) -> None:
    assert not serves(state, "d", ModelFiles(Path("/m"), BASE))
