"""One guest: QEMU without a network card, a software TPM, a second disk, a stick."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.vm.image import Blank

DATA_SERIAL = "PROOFDATA1"
DATA_DISK = f"/dev/disk/by-id/virtio-{DATA_SERIAL}"
STICK = "/dev/disk/by-label/BUNDLE"
LAN_TAP = "prooftap"
LAN_MAC = "52:54:00:00:00:01"

_SECURITY = "apparmor=1 security=apparmor audit=1"
# Without KVM the kernel distrusts the TSC and reads the HPET instead, each time through QEMU's
# one lock: a start of Python took half as long again (measured). QEMU gives both one counter.
_CLOCK = "tsc=reliable no_timer_check"


class GuestError(RuntimeError):
    """The guest did not do what the proof needs."""


@dataclass(frozen=True)
class Done:
    """How a command in the guest ended."""

    rc: int
    out: str
    seconds: float


@dataclass
class Guest:
    """A machine that can be started, asked, cut off and started again."""

    folder: Path
    blank: Blank
    memory_mib: int = 2048
    boot_timeout_s: float = 420.0
    stick: Path | None = None
    data_mib: int = 8192
    safe: Path | None = None  # the small stick for the safe
    lan: str = ""  # network namespace with the tap device LAN_TAP; empty: no network card at all
    # unsafe loses what the guest flushed when QEMU is killed: writeback where power is cut
    cache: str = "unsafe"
    kvm: bool = False  # a /dev/kvm that is there need not work: nested, it was seen to hang
    _children: list[subprocess.Popen[bytes]] = field(default_factory=list)
    _left_on: list[int] = field(default_factory=list)  # processes of the run we go on with
    _port: socket.socket | None = None
    _waiting: bytes = b""
    _number: int = 0

    def prepare(self) -> None:
        """Make the machine's own disks: an overlay over the blank system, an empty data disk."""
        self.folder.mkdir(parents=True, exist_ok=True)
        backing = ["-F", "raw", "-b", str(self.blank.disk.resolve())]
        _quiet(
            ["qemu-img", "create", "-q", "-f", "qcow2", *backing, str(self._file("system.qcow2"))]
        )
        _quiet(
            [
                "qemu-img",
                "create",
                "-q",
                "-f",
                "raw",
                str(self._file("data.img")),
                f"{self.data_mib}M",
            ]
        )
        self.clear_tpm()

    def clear_tpm(self) -> None:
        """Give the machine a TPM that remembers nothing, as after a reset in the firmware."""
        state = self._file("tpm")
        state.mkdir(exist_ok=True)
        for path in state.iterdir():
            path.unlink()

    def start(self) -> float:
        """Boot and wait until the machine takes commands; return the seconds it took."""
        began = time.monotonic()
        for name in ("tpm.sock", "proof.sock", "qmp.sock"):
            self._file(name).unlink(missing_ok=True)
        self._spawn(
            ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={self._file('tpm')}",
             "--ctrl", f"type=unixio,path={self._file('tpm.sock')}", "--flags", "startup-clear"],
            "swtpm.log",
        )  # fmt: skip
        self._until_there("tpm.sock")
        self._spawn(self._qemu(), "qemu.log")
        self._until_there("proof.sock")
        self._file("pids.json").write_text(json.dumps([child.pid for child in self._children]))
        self._port = self._connected("proof.sock")
        self._wait_ready(began + self.boot_timeout_s)
        return time.monotonic() - began

    def attach(self) -> None:
        """Talk to a machine that an earlier run left on; its power is not ours to cut."""
        self._port = self._connected("proof.sock")
        self._number = time.monotonic_ns()  # above every number of the earlier run
        self._left_on = json.loads(self._file("pids.json").read_text())

    def _qemu(self) -> list[str]:
        accel = ["kvm", "-cpu", "host"] if self.kvm else ["tcg,thread=multi", "-cpu", "max"]
        command = [
            "qemu-system-x86_64", "-machine", "q35", "-accel", *accel,
            "-m", str(self.memory_mib), "-smp", "2", "-display", "none",
            "-nodefaults", *self._card(),
            "-kernel", str(self.blank.kernel), "-initrd", str(self.blank.initrd),
            "-append", f"root=LABEL=system rw console=ttyS0 {_SECURITY} {_CLOCK}",
            "-drive",
            f"file={self._file('system.qcow2')},if=virtio,format=qcow2,cache={self.cache}",
            "-drive", f"file={self._file('data.img')},if=none,id=data,format=raw,cache=writeback",
            "-device", f"virtio-blk-pci,drive=data,serial={DATA_SERIAL}",
            "-chardev", f"socket,id=tpm,path={self._file('tpm.sock')}",
            "-tpmdev", "emulator,id=tpm0,chardev=tpm", "-device", "tpm-crb,tpmdev=tpm0",
            "-serial", f"file:{self._file('console.log')}",
            "-device", "virtio-serial-pci",
            "-chardev", f"socket,id=proof,path={self._file('proof.sock')},server=on,wait=off",
            "-device", "virtserialport,chardev=proof,name=proof",
            "-device", "virtio-rng-pci", "-device", "qemu-xhci",
            "-qmp", f"unix:{self._file('qmp.sock')},server=on,wait=off",
        ]  # fmt: skip
        for name, path in (("stick", self.stick), ("safe", self.safe)):
            if path is not None:
                command += ["-drive", f"file={path},if=none,id={name},format=raw",
                            "-device",
                            f"usb-storage,drive={name},id=usb-{name},removable=on"]  # fmt: skip
        return ["ip", "netns", "exec", self.lan, *command] if self.lan else command

    def _card(self) -> list[str]:
        if not self.lan:
            return ["-nic", "none"]
        tap = f"tap,ifname={LAN_TAP},script=no,downscript=no"
        return ["-nic", f"{tap},model=virtio-net-pci,mac={LAN_MAC}"]

    def run(self, command: str, timeout: float = 300.0) -> Done:
        """Run a shell line in the guest and return how it ended; never raises for its exit code."""
        assert self._port is not None
        self._number += 1
        began = time.monotonic()
        request = {"id": self._number, "command": command, "timeout": timeout}
        self._port.sendall(json.dumps(request).encode() + b"\n")
        while True:
            reply = self._line(began + timeout + 60)
            if reply.get("id") == self._number:
                return Done(reply["rc"], reply["out"], time.monotonic() - began)

    def must(self, command: str, timeout: float = 300.0) -> str:
        """Run a shell line in the guest that has to succeed; return what it printed."""
        done = self.run(command, timeout)
        if done.rc != 0:
            raise GuestError(f"`{command}` ended with {done.rc}:\n{done.out[-4000:]}")
        return done.out

    def pull(self, name: str) -> None:
        """Pull a stick out, whatever the machine is doing with it."""
        self._monitor("device_del", id=f"usb-{name}")

    def plug(self, name: str, image: Path) -> None:
        """Put a stick in."""
        node = f"{name}-{self._number}"
        file = {"driver": "file", "filename": str(image)}
        self._monitor("blockdev-add", driver="raw", file=file, **{"node-name": node})
        stick = {"driver": "usb-storage", "id": f"usb-{name}", "drive": node, "removable": True}
        self._monitor("device_add", **stick)

    def _monitor(self, command: str, **arguments: object) -> None:
        """Tell QEMU; its errors are ours."""
        with socket.socket(socket.AF_UNIX) as port:
            port.settimeout(30)
            port.connect(str(self._file("qmp.sock")))
            with port.makefile("rw", encoding="utf-8") as lines:
                lines.readline()  # the greeting
                for asked in ("qmp_capabilities", command):
                    given = arguments if asked == command else {}
                    lines.write(json.dumps({"execute": asked, "arguments": given}) + "\n")
                    lines.flush()
                    while "event" in (said := json.loads(lines.readline())):
                        pass
                    if "error" in said:
                        raise GuestError(f"QEMU, {asked}: {said['error']}")

    def stop(self, *, cut: bool = False) -> None:
        """Shut down in order, or ``cut`` the power; the disks stay."""
        qemu = self._children[-1] if self._children else None
        if not cut and (self._left_on or (qemu is not None and qemu.poll() is None)):
            with suppress(OSError, GuestError):
                self.run("(sleep 1; systemctl poweroff) >/dev/null 2>&1 & true", 30)
            self._gone(180)
        for child in reversed(self._children):
            child.kill()
            child.wait()
        for pid in reversed(self._left_on):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._children.clear()
        self._left_on.clear()
        if self._port is not None:
            self._port.close()
            self._port = None
        self._waiting = b""

    def _gone(self, seconds: float) -> None:
        """Wait until QEMU ended: the machine closes its end of the port."""
        assert self._port is not None
        deadline = time.monotonic() + seconds
        with suppress(OSError):
            while (left := deadline - time.monotonic()) > 0:
                self._port.settimeout(left)
                if not self._port.recv(65536):
                    return

    def __enter__(self) -> Self:
        """Return the guest itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Cut the power."""
        self.stop(cut=True)

    def _file(self, name: str) -> Path:
        return self.folder / name

    def _spawn(self, command: Sequence[str], log: str) -> None:
        with self._file(log).open("ab") as out:
            child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        self._children.append(child)

    def _until_there(self, name: str) -> None:
        for _ in range(300):
            if self._file(name).exists():
                return
            if self._children[-1].poll() is not None:
                break
            time.sleep(0.1)
        log = "qemu.log" if name == "proof.sock" else "swtpm.log"
        raise GuestError(f"no {name}: {self._file(log).read_text()[-2000:]}")

    def _connected(self, name: str) -> socket.socket:
        for _ in range(100):  # the file is there a moment before QEMU listens on it
            port = socket.socket(socket.AF_UNIX)
            with suppress(ConnectionRefusedError):
                port.connect(str(self._file(name)))
                return port
            port.close()
            time.sleep(0.1)
        raise GuestError(f"nobody listens on {name}")

    def _wait_ready(self, deadline: float) -> None:
        """Wait for the first answer; what was said before the guest listened is lost."""
        assert self._port is not None
        while time.monotonic() < deadline:
            self._number += 1
            request = {"id": self._number, "command": "true", "timeout": 30}
            with suppress(OSError):
                self._port.sendall(json.dumps(request).encode() + b"\n")
            with suppress(TimeoutError):
                heard = self._line(min(deadline, time.monotonic() + 5))
                # It listens. A slow machine answers every question that was put; wait for the last.
                while heard.get("id", 0) != self._number:
                    heard = self._line(deadline)
                return
            if self._children[-1].poll() is not None:
                break
        tail = self._file("console.log").read_text(errors="replace")[-2000:]
        raise GuestError(f"the machine did not come up; its console ends with:\n{tail}")

    def _line(self, deadline: float) -> dict[str, Any]:
        assert self._port is not None
        while b"\n" not in self._waiting:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self._port.settimeout(left)
            chunk = self._port.recv(65536)
            if not chunk:
                raise GuestError("the machine went away while it worked")
            self._waiting += chunk
        line, _, self._waiting = self._waiting.partition(b"\n")
        try:
            value = json.loads(line)
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}


def _quiet(command: Sequence[str]) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
