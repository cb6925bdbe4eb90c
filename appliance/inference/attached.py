"""``llama-server`` in the inference container: asked for through a shared folder, not started here.

The container's first process (``images/inference/engine.py``) proves the files named in
``wanted.json``, serves them on ``engine.sock`` beside it and says in ``state.json`` what it does.
"""

from __future__ import annotations

import os
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx

from appliance.core.canonical import canonical_json, sha256_hex
from appliance.core.clock import Clock
from appliance.core.durable import exclusive, os_errors, read_json, write_bytes
from appliance.core.errors import (
    ApplianceError,
    BusyError,
    EngineUnavailableError,
    ModelHashMismatchError,
    ModelUnknownError,
)
from appliance.core.settings.inference import InferenceSettings
from appliance.inference.engine import Identity
from appliance.inference.files import ModelFiles
from appliance.inference.llama_server import SocketEngine
from appliance.inference.supervisor import SOCKET, answers
from appliance.inference.template import Template

WANTED = "wanted.json"
STATE = "state.json"
LOCK = "gateway.lock"
POLL_S = 0.05
# What server_arguments() makes of the settings; the rest concerns this side only.
PASSED = ("context_tokens", "batch_tokens", "threads", "gpu_layers", "parallel_requests")
ENDED = ("refused", "given up")
REMEDY = "Look at the inference container's log and its state.json; is the service running?"


def wanted_bytes(files: ModelFiles, settings: InferenceSettings, models: Path) -> bytes:
    """Return ``wanted.json`` for ``files``, which lie below ``models``."""
    value: dict[str, Any] = {
        "base": _name(files.base, models),
        "base_sha256": files.base_hash,
        "inference": {key: getattr(settings, key) for key in PASSED},
    }
    if files.adapter is not None:
        value |= {
            "adapter": _name(files.adapter, models),
            "adapter_sha256": files.adapter_hash,
        }
    return canonical_json(value) + b"\n"


def _name(path: Path, models: Path) -> str:
    try:
        return path.relative_to(models).as_posix()
    except ValueError as error:
        raise ModelUnknownError(
            expected="a model in the home's models folder, which the inference container sees",
            found=f"{path.name} outside of it",
        ) from error


def serves(state: Any, digest: str, files: ModelFiles) -> bool:
    """Say whether ``state`` tells that ``files`` are served, as asked for in ``digest``.

    Raises:
        EngineUnavailableError: it will not serve what was asked for, and says why.
        ModelHashMismatchError: it serves other files as the answer.
    """
    if not isinstance(state, dict) or state.get("wanted") != digest:
        return False  # still about what was wanted before
    name = state.get("state")
    if name in ENDED:
        raise EngineUnavailableError(
            expected="the inference container to serve the promoted model",
            found=f"{name}: {str(state.get('reason'))[:200]}",
            remedy=REMEDY,
        )
    if name != "started":
        return False
    found = (state.get("base_sha256"), state.get("adapter_sha256"))
    if found != (files.base_hash, files.adapter_hash):
        raise ModelHashMismatchError(
            expected=f"the inference container to serve {files.base_hash}"
            f" with adapter {files.adapter_hash}",
            found=f"{found[0]} with adapter {found[1]}",
            remedy="Restart the inference service from the bundle's image; ask who changed it.",
        )
    return True


class AttachedServer:
    """What one gateway asks of the container, from :meth:`start` to :meth:`stop`.

    Only one asks at a time: the next waits until the running answers of the one before have
    ended, so an answer begun under one model is never continued, or begun again, by another.
    """

    def __init__(
        self, folder: Path, files: ModelFiles, wanted: bytes, settings: InferenceSettings
    ) -> None:
        """Prepare; :meth:`start` asks."""
        self._folder = folder
        self._files = files
        self._wanted = wanted
        self._digest = sha256_hex(wanted)
        self._timeout_s = settings.start_timeout_s
        self._notice_s = settings.attached_notice_s
        self._pause = threading.Event()
        self._held = ExitStack()
        with os_errors(folder):
            # Named through a descriptor the path is short, however deep the folder lies.
            fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._held.callback(os.close, fd)
        self.socket = f"/proc/self/fd/{fd}/{SOCKET}"

    def start(self, clock: Clock) -> None:
        """Ask for the files and return once the container serves them."""
        deadline = clock.monotonic() + self._timeout_s
        try:
            while not self._take():
                self._wait(clock, deadline, "another engine uses the container")
            write_bytes(self._folder / WANTED, self._wanted)
            noticed_by = min(deadline, clock.monotonic() + self._notice_s)
            while not self._ours() or not answers(self.socket):
                self._wait(clock, deadline if self._noticed() else noticed_by, self._seen())
        except ApplianceError:
            self.stop()
            raise

    def _take(self) -> bool:
        try:
            self._held.enter_context(exclusive(self._folder / LOCK, what="gateway"))
        except BusyError:
            return False
        # Pushed after the lock: withdrawn before it is let go.
        self._held.callback(self._withdraw)
        return True

    def _wait(self, clock: Clock, deadline: float, found: str) -> None:
        if clock.monotonic() > deadline:
            raise EngineUnavailableError(
                expected=f"the inference container to answer in {self._notice_s:.0f} s"
                f" and to be ready in {self._timeout_s:.0f} s",
                found=found,
                remedy=REMEDY,
            )
        self._pause.wait(POLL_S)

    def _state(self) -> Any:
        try:
            return read_json(self._folder / STATE)
        except ApplianceError:
            return None

    def _noticed(self) -> bool:
        state = self._state()
        return isinstance(state, dict) and state.get("wanted") == self._digest

    def _seen(self) -> str:
        state = self._state()
        if not isinstance(state, dict):
            return f"no {STATE}"
        about = "" if state.get("wanted") == self._digest else ", about another request"
        return f"state {str(state.get('state'))[:40]!r}{about}"

    def _ours(self) -> bool:
        return serves(self._state(), self._digest, self._files)

    def healthy(self) -> bool:
        """Say whether the container serves the files now."""
        try:
            return self._ours() and answers(self.socket)
        except ApplianceError:
            return False

    def check_answer(self, _response: httpx.Response) -> None:
        """Refuse an answer unless it is known to come from the files asked for.

        The container says what it will serve before the socket for it exists: a connection that
        was made while (and so before) it still names our files leads to our files.
        """
        if not self._ours():
            raise EngineUnavailableError(
                expected="an answer from the promoted model", found=self._seen(), remedy=REMEDY
            )

    def stop(self) -> None:
        """Withdraw the wish: the container ends its ``llama-server``."""
        self._held.close()

    def _withdraw(self) -> None:
        path = self._folder / WANTED
        with os_errors(path):
            path.unlink(missing_ok=True)


class AttachedEngine(SocketEngine):
    """The ``llama-server`` of the inference container.

    The files were proven by the registry on this side and are proven by the container before it
    loads them; their names and hashes cross the boundary, their bytes do not.
    """

    def __init__(
        self,
        files: ModelFiles,
        template: Template,
        settings: InferenceSettings,
        models: Path,
        clock: Clock,
    ) -> None:
        """Ask for ``files``, which lie below ``models``, and wait until they are served."""
        fitting = files.fitting(settings)
        wanted = wanted_bytes(files, fitting, models)
        self.server = AttachedServer(settings.attached_folder, files, wanted, fitting)
        self.server.start(clock)
        identity = Identity("attached", files.base_hash, files.adapter_hash, template.hash)
        super().__init__(identity, self.server, template, fitting, self.server.check_answer)
