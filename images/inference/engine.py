# ruff: noqa: INP001 - the program of one image, part of no package
"""The first process of the inference container: runs llama-server for the model that is wanted.

The gateway writes ``wanted.json`` into the shared folder: the GGUF files below ``/models`` and
their SHA-256. This process proves the files (nothing that was not registered reaches llama.cpp's
loader: CVE-2025-53630, CVE-2026-27940), starts llama-server on a Unix socket beside it, starts it
again when it ends, and changes to other files when others are wanted. ``state.json`` says what
it does. There is no network in this container and nothing listens on one.

``wanted.json``: ``{"base": "NAME", "base_sha256": "...", "adapter": "NAME", "adapter_sha256":
"...", "inference": {...}}``; the adapter may be absent, ``inference`` holds settings of the
``[inference]`` table. ``state.json``: ``{"state": "...", "reason": "...", "wanted": SHA-256 of the
``wanted.json`` it is about, "base_sha256": "...", "adapter_sha256": "..."}``.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from appliance.core.canonical import sha256_hex
from appliance.core.durable import write_json
from appliance.core.errors import ApplianceError, ToolMissingError
from appliance.core.settings.inference import InferenceSettings
from appliance.inference.files import ModelFiles
from appliance.inference.restart import RestartPolicy
from appliance.inference.supervisor import SOCKET, server_arguments

SERVER = Path("/usr/bin/llama-server")
MODELS = Path(os.environ.get("APPLIANCE_MODELS", "/models"))
FOLDER = Path(os.environ.get("APPLIANCE_ENGINE", "/run/engine"))
POLL_S = 0.2
WANTED_MAX_BYTES = 16_384
HASH = r"^[0-9a-f]{64}$"
# One name below the models' folder: letters, digits, dots, dashes; no way out of it.
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*$"


class Wanted(BaseModel):
    """What the gateway asks for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base: str = Field(pattern=NAME, max_length=512)
    base_sha256: str = Field(pattern=HASH)
    adapter: str | None = Field(None, pattern=NAME, max_length=512)
    adapter_sha256: str | None = Field(None, pattern=HASH)
    inference: dict[str, Any] = Field(default_factory=dict)

    def files(self) -> ModelFiles:
        """Return the files and their hashes."""
        adapter = MODELS / self.adapter if self.adapter else None
        return ModelFiles(MODELS / self.base, self.base_sha256, adapter, self.adapter_sha256)

    def arguments(self) -> list[str]:
        """Return llama-server's arguments."""
        return server_arguments(self.files(), InferenceSettings(**self.inference))


@dataclass
class Engine:
    """The child and what it serves."""

    wanted: Wanted | None = None
    digest: str = ""
    child: subprocess.Popen[bytes] | None = None
    stopping: bool = False

    def say(self, state: str, reason: str = "") -> None:
        """Tell the gateway (and people) what goes on."""
        value: dict[str, Any] = {"state": state, "reason": reason, "wanted": self.digest}
        if self.wanted is not None:
            value["base_sha256"] = self.wanted.base_sha256
            value["adapter_sha256"] = self.wanted.adapter_sha256
        write_json(FOLDER / "state.json", value, mode=0o640)
        sys.stdout.write(json.dumps(value) + "\n")

    def start(self) -> None:
        """Prove the files and start llama-server."""
        assert self.wanted is not None
        self.say("proving")
        if not SERVER.is_file():
            raise ToolMissingError(expected=str(SERVER), found="an image without it")
        self.wanted.files().verify()
        (FOLDER / SOCKET).unlink(missing_ok=True)
        # No environment: LLAMA_ARG_* would change the arguments.
        self.child = subprocess.Popen(
            [str(SERVER), *self.wanted.arguments()],
            cwd=FOLDER,
            env={},
            stdin=subprocess.DEVNULL,
            stdout=sys.stdout,
            stderr=sys.stderr,
        )
        self.say("started")

    def end(self) -> None:
        """End the child: asked first, then made to."""
        if self.child is not None and self.child.poll() is None:
            self.child.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.child.wait(InferenceSettings().stop_timeout_s)
            self.child.kill()
            self.child.wait()
        self.child = None
        (FOLDER / SOCKET).unlink(missing_ok=True)


def read_wanted() -> bytes:
    """Return the bytes of ``wanted.json``, empty when nothing is wanted."""
    path = FOLDER / "wanted.json"
    if not path.is_file():
        return b""
    with path.open("rb") as stream:
        return stream.read(WANTED_MAX_BYTES + 1)


def run(engine: Engine) -> None:
    """Follow what is wanted until told to stop."""
    seen = b""
    settings = InferenceSettings()
    policy = RestartPolicy(settings.restart_limit, settings.restart_window_s)
    engine.say("idle")
    while not engine.stopping:
        data = read_wanted()
        if data != seen:
            seen = data
            engine.end()
            policy = RestartPolicy(settings.restart_limit, settings.restart_window_s)
            _change(engine, data)
        elif engine.child is not None and engine.child.poll() is not None:
            code, engine.child = engine.child.returncode, None
            delay = policy.next_delay(time.monotonic())
            if delay is None:
                engine.say("given up", f"llama-server ended with {code}")
                continue
            time.sleep(delay)
            _start(engine)
        time.sleep(POLL_S)
    engine.end()
    engine.say("stopped")


def _change(engine: Engine, data: bytes) -> None:
    engine.wanted = None
    engine.digest = sha256_hex(data) if data else ""
    if not data:
        engine.say("idle")
        return
    try:
        engine.wanted = Wanted.model_validate_json(data)  # a cut, too long text is no JSON
        engine.wanted.arguments()
    except (ValidationError, ValueError) as error:
        engine.wanted = None
        engine.say("refused", f"wanted.json: {type(error).__name__}")
        return
    _start(engine)


def _start(engine: Engine) -> None:
    try:
        engine.start()
    except ApplianceError as error:
        engine.say("refused", error.id)


def main() -> int:
    """Run until SIGTERM."""
    engine = Engine()

    def stop(_signal: int, _frame: FrameType | None) -> None:
        engine.stopping = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    os.umask(0o007)
    run(engine)
    return 0


if __name__ == "__main__":
    sys.exit(main())
