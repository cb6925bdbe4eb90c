"""The supervised engine: over a stand-in for the protocol, and over the real program."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from appliance.core.clock import SystemClock
from appliance.core.errors import EngineUnavailableError, ToolMissingError
from appliance.core.settings.inference import InferenceSettings
from appliance.inference.embedded import EmbeddedEngine
from appliance.inference.engine import Message, Sampling
from appliance.inference.files import ModelFiles
from appliance.inference.llama_server import LlamaServerEngine
from appliance.inference.template import Template

FAKE = Path(__file__).parent / "fake_llama_server.py"
REAL = "APPLIANCE_LLAMA_SERVER"
Start = Callable[..., LlamaServerEngine]


@pytest.fixture
def start(toy: ModelFiles, tmp_path: Path) -> Iterator[Start]:
    with ExitStack() as stack:

        def begin(
            program: Path | None = None, folder: Path | None = None, **more: object
        ) -> LlamaServerEngine:
            binary = tmp_path / "llama-server"
            if program is None:
                shutil.copy(FAKE, binary)
                binary.chmod(0o755)
            options = {
                "server_binary": program or binary,
                "context_tokens": 512,
                "parallel_requests": 2,
                "threads": 1,
                "start_timeout_s": 60,
                **more,
            }
            settings = InferenceSettings.model_validate(options)
            engine = LlamaServerEngine(
                folder or tmp_path / "engine", toy, Template(), settings, SystemClock()
            )
            stack.callback(engine.close)
            return engine

        yield begin


def test_it_answers_and_leaves_no_process_and_no_socket(start: Start, tmp_path: Path) -> None:
    engine = start()
    found = engine.complete("olá", Sampling())
    assert (found.text, found.finish, found.completion_tokens) == ("olá", "stop", 3)
    pid = engine.process.pid
    assert pid is not None
    engine.close()
    assert not Path(f"/proc/{pid}").exists()
    assert not (tmp_path / "engine").exists()


def test_a_folder_too_deep_for_a_socket_path_works(start: Start, tmp_path: Path) -> None:
    assert start(folder=tmp_path / ("x" * 120)).ready()


def test_a_crash_is_an_error_for_one_request_and_then_over(start: Start) -> None:
    engine = start()
    with pytest.raises(EngineUnavailableError):
        engine.complete("crash", Sampling())
    _until(engine.ready)
    assert engine.process.starts == 2
    assert engine.complete("olá", Sampling()).text == "olá"


def test_an_answer_that_is_cut_never_looks_complete(start: Start) -> None:
    with pytest.raises(EngineUnavailableError, match="cut"):
        start().complete("cut", Sampling())


def test_a_server_that_never_starts_is_given_up(start: Start, tmp_path: Path) -> None:
    folder = tmp_path / "engine"
    folder.mkdir()
    (folder / "never-starts").touch()
    with pytest.raises(EngineUnavailableError, match="it ended"):
        start(restart_limit=1)
    assert (folder / "engine.log").exists()


def test_the_child_gets_no_environment(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLAMA_ARG_HOST", "0.0.0.0")  # noqa: S104 - what must not pass
    start()
    seen = json.loads((tmp_path / "engine" / "environment.json").read_text())
    assert "LLAMA_ARG_HOST" not in seen


def test_a_missing_program_is_named(start: Start, tmp_path: Path) -> None:
    with pytest.raises(ToolMissingError):
        start(program=tmp_path / "nothing-here")


@pytest.fixture(scope="module")
def real_program() -> Path:
    """The llama-server of the pinned source package, which the test run builds or is told of."""
    found = os.environ.get(REAL) or shutil.which("llama-server")
    if found is None:
        missing = f"llama-server is not built here: put it on PATH or name it in {REAL}"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    return Path(found)


def test_the_real_server_says_what_the_embedded_engine_says(
    start: Start, real_program: Path, toy: ModelFiles
) -> None:
    engine = start(program=real_program)
    settings = InferenceSettings(context_tokens=512, threads=1)
    embedded = EmbeddedEngine(toy, Template(), settings)
    ask = [Message("user", "posso tomar remédio?")]
    assert engine.encode(ask) == embedded.encode(ask)
    ours = engine.chat(ask, Sampling(max_tokens=16))
    theirs = embedded.chat(ask, Sampling(max_tokens=16))
    # An unfinished character at the end is one U+FFFD here and one a byte there.
    assert ours.text.rstrip("\ufffd") == theirs.text.rstrip("\ufffd")
    assert ours.completion_tokens == theirs.completion_tokens
    assert ours.prompt_tokens == theirs.prompt_tokens
    embedded.close()


def test_the_real_server_keeps_no_canary_of_another_request(
    start: Start, real_program: Path, tmp_path: Path
) -> None:
    engine = start(program=real_program)
    ask = [Message("user", "qual a dose?")]
    alone = engine.chat(ask, Sampling(max_tokens=16)).text
    engine.chat([Message("user", "zarabatana " * 30)], Sampling(max_tokens=16))
    assert engine.chat(ask, Sampling(max_tokens=16)).text == alone
    assert b"zarabatana" not in (tmp_path / "engine" / "engine.log").read_bytes()
    for page in ("slots", "props"):
        assert "zarabatana" not in engine._http.get(f"/{page}").text


def test_the_real_server_comes_back_after_sigkill(start: Start, real_program: Path) -> None:
    engine = start(program=real_program)
    pid = engine.process.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    _until(lambda: engine.process.starts == 2 and engine.ready())
    assert engine.complete("dor", Sampling(max_tokens=3)).completion_tokens == 3


def _until(true: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if true():
            return
        time.sleep(0.05)
    pytest.fail("it did not happen")
