"""Runs a playbook through ansible-runner; everything it writes is under ``APPLIANCE_HOME``."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from appliance.core.durable import os_errors
from appliance.core.errors import BusyError, ToolMissingError
from appliance.core.errors.host import PlaybookMissingError

EventHandler = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Play:
    """What to run, where, with which values."""

    playbook: str
    values: Mapping[str, Any]
    inventory: Path | None = None
    check: bool = False
    roles: tuple[str, ...] = ()


class Ansible(Protocol):
    """Who runs playbooks."""

    def run(self, play: Play, on_event: EventHandler) -> int:
        """Run ``play``; return Ansible's exit status. What ``on_event`` raises stops the run."""
        ...


@dataclass(frozen=True)
class RunnerAnsible:
    """ansible-runner over the playbooks of the installed bundle."""

    playbooks: Path
    work: Path
    timeout_s: float

    def run(self, play: Play, on_event: EventHandler) -> int:
        """Run the playbook in a process of its own."""
        import ansible_runner

        self._require(play.playbook)
        private = self._private_folder()
        raised: list[BaseException] = []

        def handle(event: dict[str, Any]) -> bool:
            if not raised:
                try:
                    on_event(event)
                except BaseException as error:  # noqa: BLE001 - told to the caller below
                    raised.append(error)
                    _end_now(play.playbook)
            return False  # the events' files are not kept: the audit log and the answer tell

        result = ansible_runner.run(
            private_data_dir=str(private),
            project_dir=str(self.playbooks),
            playbook=play.playbook,
            inventory=str((play.inventory or self.playbooks / "inventory" / "local.yml").resolve()),
            extravars=dict(play.values),
            envvars=self._environment(private, local=play.inventory is None),
            cmdline=_options(play),
            event_handler=handle,
            cancel_callback=lambda: bool(raised),
            timeout=int(self.timeout_s),
            quiet=True,
            suppress_env_files=False,
        )
        if raised:
            raise raised[0]
        return int(result.rc) if result.status in {"successful", "failed"} else 4

    def _require(self, playbook: str) -> None:
        if not (self.playbooks / playbook).is_file():
            raise PlaybookMissingError(
                expected=f"{playbook} in {self.playbooks}", found="no such file"
            )
        if shutil.which("ansible-playbook", path=_path()) is None:
            raise ToolMissingError(
                expected="ansible-playbook (it comes with the agent)", found="no such program"
            )

    def _private_folder(self) -> Path:
        """Make the runner's own folder anew; an earlier run's leftovers have no use."""
        private = self.work / "ansible"
        if (private / "pid").is_file() and _alive(private / "pid"):
            raise BusyError(expected="one run of the playbooks at a time", found="another one")
        with os_errors(private):
            shutil.rmtree(private, ignore_errors=True)
            private.mkdir(parents=True, mode=0o700)
            (private / "tmp").mkdir(mode=0o700)
        return private

    def _environment(self, private: Path, *, local: bool) -> dict[str, str]:
        found = {
            "PATH": _path(),
            "ANSIBLE_CONFIG": str(self.playbooks / "ansible.cfg"),
            "ANSIBLE_LOCAL_TEMP": str(private / "tmp"),
            "ANSIBLE_HOME": str(private / "home"),
            "ANSIBLE_GALAXY_DISABLE_GPG_VERIFY": "true",
            "ANSIBLE_NOCOLOR": "1",  # its words go into our errors
            "LC_ALL": "C.UTF-8",
        }
        if local:
            # Not /tmp: a run after an interrupted one may see it mounted over, when a service is
            # restarted, with the module that waits for the answer in it (seen).
            found |= dict.fromkeys(("ANSIBLE_REMOTE_TEMP", "TMPDIR"), str(private / "tmp"))
        return found


def _end_now(playbook: str) -> None:
    """End Ansible at once: work that cannot be recorded must not go on to its next task.

    The runner's own cancelling waits for a quiet moment; a fast play is over by then.
    """
    import psutil

    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            words = child.cmdline()
            if playbook in words and any(w.endswith("ansible-playbook") for w in words):
                child.kill()


def _options(play: Play) -> str:
    words = ["--diff"]
    if play.check:
        words.append("--check")
    if play.roles:
        words += ["--tags", ",".join(play.roles)]
    return " ".join(words)


def _path() -> str:
    return os.pathsep.join(
        [str(Path(sys.executable).parent), os.environ.get("PATH", "/usr/bin:/bin")]
    )


def _alive(pid_file: Path) -> bool:
    try:
        os.kill(int(pid_file.read_text()), 0)
    except (OSError, ValueError):
        return False
    return True
