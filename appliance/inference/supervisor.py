"""``llama-server`` as a child on a Unix socket: started, watched, started again, ended."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import threading
from pathlib import Path

import httpx

from appliance.core.clock import Clock
from appliance.core.durable import os_errors
from appliance.core.errors import EngineUnavailableError, ToolMissingError
from appliance.core.settings.inference import InferenceSettings
from appliance.inference.files import ModelFiles
from appliance.inference.restart import RestartPolicy

SOCKET = "engine.sock"
LOG = "engine.log"
POLL_S = 0.05


def server_arguments(files: ModelFiles, settings: InferenceSettings) -> list[str]:
    """Return the arguments of ``llama-server``, each named: defaults differ between versions.

    No text of one request may reach another (llama.cpp #27148 restored another conversation
    from the RAM prompt cache, #26207 reused a prompt over adapters): every prompt cache is off.
    The template is a built-in name, so the one in the file is not read (CVE-2024-34359); the
    requests bring tokens and use none. No web page, no slots page, no network for downloads.
    """
    slots = settings.parallel_requests
    adapter = ["--lora", str(files.adapter)] if files.adapter else []
    return [
        *("--model", str(files.base), *adapter),
        *("--host", SOCKET),
        *("--ctx-size", str(settings.context_tokens * slots), "--parallel", str(slots)),
        "--no-kv-unified",
        *("--batch-size", str(settings.batch_tokens), "--ubatch-size", str(settings.batch_tokens)),
        *("--threads", str(settings.threads), "--threads-http", str(slots + 2)),
        *("--gpu-layers", str(settings.gpu_layers) if settings.gpu_layers >= 0 else "all"),
        *("--cache-ram", "0", "--no-cache-idle-slots", "--no-cache-prompt"),
        *("--ctx-checkpoints", "0", "--no-slots", "--no-ui", "--offline"),
        *("--no-jinja", "--chat-template", "chatml"),
        *("--log-verbosity", "2"),
    ]


def find_server(settings: InferenceSettings) -> Path:
    """Return the ``llama-server`` program."""
    named = settings.server_binary
    found = named if named is not None and named.is_file() else shutil.which("llama-server")
    if found is None or (named is not None and not named.is_file()):
        raise ToolMissingError(
            expected="the llama-server program (inference.server_binary, or on PATH)",
            found=f"no file {named}" if named else "none on PATH",
            remedy="Build it from the pinned source package, or set inference.engine = 'embedded'.",
        )
    return Path(found)


def answers(socket: str) -> bool:
    """Ask ``/health`` on a Unix socket: true once the model is loaded."""
    try:
        with httpx.Client(transport=httpx.HTTPTransport(uds=socket)) as client:
            return client.get("http://engine/health", timeout=2.0).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


class LlamaServerProcess:
    """The child process and the thread that watches it.

    The child's working folder is ``folder``, so its socket is named without a path (a Unix
    socket's path has 107 bytes at most). It dies with this process (``setpriv --pdeathsig``)
    and gets an empty environment: ``LLAMA_ARG_*`` variables would change its flags.
    """

    def __init__(
        self, folder: Path, files: ModelFiles, settings: InferenceSettings, clock: Clock
    ) -> None:
        """Prepare; :meth:`start` starts."""
        self._folder = folder
        self._files = files
        self._settings = settings
        self._clock = clock
        self._stopping = threading.Event()
        self._child: subprocess.Popen[bytes] | None = None
        self._gave_up = False
        self._starts = 0
        self._thread = threading.Thread(target=self._watch, name="engine-watch", daemon=True)
        with os_errors(folder):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Named through a descriptor the path is short, however deep the folder lies.
        self._fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self.socket = f"/proc/self/fd/{self._fd}/{SOCKET}"

    @property
    def pid(self) -> int | None:
        """The child's process id while it runs."""
        return self._child.pid if self._child and self._child.poll() is None else None

    @property
    def starts(self) -> int:
        """How many times the child was started."""
        return self._starts

    def start(self) -> None:
        """Start the child and return once it answers."""
        self._server = find_server(self._settings)
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            raise ToolMissingError(expected="setpriv (package util-linux)", found="none on PATH")
        self._setpriv = setpriv
        self._thread.start()
        deadline = self._clock.monotonic() + self._settings.start_timeout_s
        while not self.healthy():
            if self._gave_up or self._clock.monotonic() > deadline:
                self.stop()
                raise EngineUnavailableError(
                    expected=f"llama-server ready in {self._settings.start_timeout_s:.0f} s",
                    found=f"{'it ended' if self._gave_up else 'no answer'}; see {LOG}",
                )
            self._stopping.wait(POLL_S)

    def healthy(self) -> bool:
        """Ask the child's ``/health``: true once the model is loaded."""
        return self.pid is not None and answers(self.socket)

    def stop(self) -> None:
        """End the child: asked first, then made to."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        (self._folder / SOCKET).unlink(missing_ok=True)
        if not self._gave_up:  # else the log says why
            shutil.rmtree(self._folder, ignore_errors=True)

    def _watch(self) -> None:
        policy = RestartPolicy(self._settings.restart_limit, self._settings.restart_window_s)
        while not self._stopping.is_set():
            self._spawn()
            while self.pid is not None and not self._stopping.wait(POLL_S):
                pass
            if self._stopping.is_set():
                break
            delay = policy.next_delay(self._clock.monotonic())
            if delay is None:
                self._gave_up = True
                return
            self._stopping.wait(delay)
        self._end()

    def _spawn(self) -> None:
        # Started by the watching thread: the kernel sends pdeathsig when the parent *thread* ends.
        (self._folder / SOCKET).unlink(missing_ok=True)
        command = [self._setpriv, "--pdeathsig", "TERM", str(self._server.absolute())]
        with (self._folder / LOG).open("wb") as log:
            self._child = subprocess.Popen(
                [*command, *server_arguments(self._files, self._settings)],
                cwd=self._folder,
                env={},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._starts += 1

    def _end(self) -> None:
        child = self._child
        if child is None or child.poll() is not None:
            return
        child.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(self._settings.stop_timeout_s)
        if child.poll() is None:
            child.kill()
            child.wait()
