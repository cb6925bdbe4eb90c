"""The trainer in a container of its own: no network, no rights, one folder, one known image.

The image is named by its identifier, the hash of its configuration and so of every layer: what
the engine has under that name is what was proven when it was loaded (moby forgets other digests).
The worker speaks through a named pipe in its folder and ends when nobody reads there any more.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from appliance import __version__
from appliance.core.canonical import sha256_hex
from appliance.core.durable import os_errors
from appliance.core.errors import ImageRefusedError, ToolFailedError, ToolMissingError
from appliance.core.settings.training import TrainingSettings
from appliance.training.environment import OFFLINE, own_environment
from appliance.training.processes import open_pipe
from appliance.training.worker import protocol

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container

IMAGE = re.compile(r"^sha256:[0-9a-f]{64}$")
CONVERTER = Path("/usr/share/llama.cpp")  # where the image has the GGUF converters
LABEL = "org.hospital-ai-appliance.run"
VERSION = "org.opencontainers.image.version"
KILLED = 128  # above it, an engine's exit code is this and the signal


@dataclass(frozen=True)
class Box:
    """What one container may see: its run's folder, and weights it only reads."""

    run: Path
    readable: Sequence[Path] = ()
    seed: int = 0


def connect(settings: TrainingSettings) -> DockerClient:
    """Return a client of the engine, which must have the image of the settings.

    Raises:
        ToolMissingError: no engine answers.
        ImageRefusedError: another image, or one of another release.
    """
    from docker import DockerClient
    from docker.errors import DockerException, ImageNotFound

    if not IMAGE.match(settings.image):
        raise ImageRefusedError(
            expected="training.image to be the image_id of the proven trainer image",
            found=repr(settings.image[:80]),
            remedy="`./run images load trainer.oci.tar` proves the archive and prints it.",
        )
    try:
        client = DockerClient.from_env(timeout=settings.stop_seconds + 60)
        image = client.images.get(settings.image)
    except ImageNotFound as error:
        raise ImageRefusedError(
            expected=f"the engine to have {settings.image}",
            found="no such image",
            remedy="Load the trainer image from the bundle: `./run images load trainer.oci.tar`.",
        ) from error
    except DockerException as error:
        raise ToolMissingError(
            expected="a Docker engine that answers this user",
            found=type(error).__name__,
            remedy="Run the training as docs/it/images.md says, or set training.runner.",
        ) from error
    version = (image.labels or {}).get(VERSION)
    if image.id != settings.image or version != __version__:
        raise ImageRefusedError(
            expected=f"{settings.image} of release {__version__}",
            found=f"{image.id} of release {version}",
            remedy="Set training.image to the image of the installed release.",
        )
    return client


def options(box: Box, settings: TrainingSettings, user: str) -> dict[str, Any]:
    """Return the engine's arguments for ``box``: everything closed but what it names."""
    from docker.types import LogConfig, Mount

    security = ["no-new-privileges:true"]
    if settings.seccomp is not None:
        with os_errors(settings.seccomp):
            security.append(f"seccomp={settings.seccomp.read_text(encoding='utf-8')}")
    if settings.apparmor:
        security.append(f"apparmor={settings.apparmor}")
    mounts = [(path, True) for path in box.readable]
    mounts.append((box.run, False))
    return {
        "image": settings.image,
        "command": ["--channel"],
        "name": container_name(box.run),
        "labels": {LABEL: box.run.name},
        "user": user,
        "working_dir": str(box.run),
        "environment": OFFLINE | own_environment(box.run, settings, box.seed),
        "mounts": [Mount(str(p), str(p), type="bind", read_only=ro) for p, ro in mounts],
        "tmpfs": {"/tmp": "rw,noexec,nosuid,nodev,size=64m,mode=1777"},  # noqa: S108 - the container's own
        "network_mode": "none",
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opt": security,
        "ipc_mode": "private",
        "init": False,
        "mem_limit": settings.memory_mb << 20,
        "memswap_limit": settings.memory_mb << 20,
        "pids_limit": settings.pids,
        "log_config": LogConfig(type="json-file", config={"max-size": "10m", "max-file": "1"}),
        "device_requests": devices(settings.gpus),
    }


def devices(gpus: Sequence[str]) -> list[Any]:
    """Return the engine's request for cards: CDI names (with a slash), numbers, or all."""
    from docker.types import DeviceRequest

    if not gpus:
        return []
    if all("/" in name for name in gpus):
        return [DeviceRequest(driver="cdi", device_ids=list(gpus))]
    if list(gpus) == ["all"]:
        return [DeviceRequest(driver="nvidia", count=-1, capabilities=[["gpu"]])]
    return [DeviceRequest(driver="nvidia", device_ids=list(gpus), capabilities=[["gpu"]])]


def container_name(run: Path) -> str:
    """Return the one name of a run's container: two of the same folder cannot be."""
    return f"appliance-train-{sha256_hex(str(run).encode())[:16]}"


def create(client: DockerClient, box: Box, settings: TrainingSettings) -> Container:
    """Create the container; one of the same folder that a dead agent left is removed."""
    from docker.errors import DockerException, NotFound

    user = give(settings, box.run, *box.readable)
    try:
        with contextlib.suppress(NotFound):
            client.containers.get(container_name(box.run)).remove(force=True)
        return client.containers.create(**options(box, settings, user))
    except DockerException as error:
        raise _failed(error) from error


def give(settings: TrainingSettings, *folders: Path) -> str:
    """Return the container's user, who then owns ``folders``: this one, or for root another.

    No container runs as root. What root made in the state belongs to the services' user as well.
    """
    if os.geteuid() != 0:
        return f"{os.geteuid()}:{os.getegid()}"
    uid, gid = settings.container_user
    for folder in folders:
        with os_errors(folder):
            for path in (folder, *folder.rglob("*")):
                os.chown(path, uid, gid, follow_symlinks=False)
    return f"{uid}:{gid}"


def _failed(error: Exception) -> ToolFailedError:
    found = str(getattr(error, "explanation", None) or type(error).__name__)
    return ToolFailedError(
        expected="the container engine to run the trainer",
        found=found[:300],
        remedy="journalctl -u docker says more; the same command goes on from the last checkpoint.",
    )


class Contained:
    """A worker in a container."""

    def __init__(self, client: DockerClient, box: Box, settings: TrainingSettings) -> None:
        """Create and start the container of ``box``, with a pipe in its folder."""
        from docker.errors import DockerException

        self._log, self._seconds = box.run / protocol.LOG_FILE, settings.stop_seconds
        self.reader = open_pipe(box.run)
        try:
            self._container = create(client, box, settings)
        except BaseException:
            os.close(self.reader)
            raise
        try:
            self._container.start()
        except DockerException as error:
            self.close()
            raise _failed(error) from error

    def describe(self) -> dict[str, Any]:
        """Return the container's name."""
        return {"container": self._container.name, "image": self._container.attrs["Image"]}

    def ended(self) -> bool:
        """Say whether the container has ended; one that is gone has."""
        from docker.errors import NotFound

        try:
            self._container.reload()
        except NotFound:
            return True
        return self._container.status in {"exited", "dead"}

    def kill(self) -> None:
        """Kill everything in the container."""
        from docker.errors import DockerException

        with contextlib.suppress(DockerException):  # it ended by itself
            self._container.kill()

    def wait(self, seconds: float) -> int:
        """Return the exit code; kill the container after ``seconds``."""
        from docker.errors import NotFound

        deadline = time.monotonic() + seconds
        while not self.ended():
            if time.monotonic() > deadline:
                self.kill()
            time.sleep(0.1)
        try:
            code = int(self._container.wait(timeout=self._seconds)["StatusCode"])
        except NotFound:  # somebody removed it while it ran
            return -9
        return KILLED - code if code > KILLED else code

    def close(self) -> None:
        """Keep what the container said before the worker had its own log, and remove it."""
        from docker.errors import DockerException

        with contextlib.suppress(OSError):
            os.close(self.reader)
        try:
            with contextlib.suppress(DockerException):
                if said := self._container.logs(tail=200):
                    append_log(self._log, said)
        finally:
            with contextlib.suppress(DockerException):
                self._container.remove(force=True)


def append_log(path: Path, data: bytes) -> None:
    """Append to a log that the container's user owns, never through a link it may have put."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    with os_errors(path):
        fd = os.open(path, flags, 0o600)
        with os.fdopen(fd, "ab") as log:
            if stat.S_ISREG(os.fstat(fd).st_mode):
                log.write(data)
