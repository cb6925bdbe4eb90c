"""The proof, step by step: each says what was done, whether it held, how long it took."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.vm import setup
from tests.vm.guest import DATA_DISK, Done, Guest, GuestError

LOG = "/var/log/proof-progress.log"
_MOUNTED = "mountpoint -q /srv/appliance"
_CLOSE = "umount /srv/appliance 2>/dev/null; cryptsetup close appliance-data 2>/dev/null; true"


@dataclass
class Step:
    """One step and what came of it."""

    name: str
    ok: bool
    seconds: float
    detail: str = ""


@dataclass
class Proof:
    """Runs steps on one guest and keeps the account."""

    guest: Guest
    folder: Path
    roles: tuple[str, ...]
    prefix: str = setup.COMMAND  # the agent's command line in the guest
    home: str = setup.HOME
    recovery: str = "/media/stick/recovery.key"
    steps: list[Step] = field(default_factory=list)

    def step(self, name: str, work: Callable[[], str]) -> bool:
        """Do one step; a failure is kept and told, later steps still run where they can."""
        began = time.monotonic()
        try:
            detail, ok = work(), True
        except (
            GuestError,
            subprocess.SubprocessError,
            TimeoutError,
            ValueError,
            KeyError,
        ) as error:
            detail, ok = str(error)[-3000:], False
        self.steps.append(Step(name, ok, round(time.monotonic() - began, 1), detail))
        mark = "ok " if ok else "BAD"
        sys.stderr.write(f"{mark} {self.steps[-1].seconds:7.1f}s {name}: {detail[:300]}\n")
        return ok

    def json(self, command: str, timeout: float = 1800) -> tuple[Done, dict[str, Any]]:
        """Run a command of the agent with --json; return how it ended and its object."""
        done = self.guest.run(f"{self.prefix} {command} --json 2>>{LOG}", timeout)
        line = next((x for x in reversed(done.out.splitlines()) if x.startswith("{")), "{}")
        return done, json.loads(line)

    def provision(self, *, again: bool) -> str:
        """Provision; a second run has to change nothing."""
        named = "".join(f" --role {role}" for role in self.roles)
        done, value = self.json(f"host provision{named}", 5400)
        if "changed" not in value:
            raise GuestError(f"exit {done.rc}: {value or self.guest.run(f'tail -n 5 {LOG}').out}")
        failed = [
            c["name"] for c in value["verify"]["checks"] if c["status"] in {"fail", "unknown"}
        ]
        if again and value["changed"]:
            raise GuestError(f"the second run changed {value['changed']}: {_changed(value)}")
        return f"{value['changed']} changes; not yet as declared: {', '.join(failed) or 'nothing'}"

    def verify(self, *parts: str) -> str:
        """Let `host verify` look at the named parts; every check has to pass."""
        done, value = self.json("host verify" + "".join(f" --part {part}" for part in parts))
        bad = [f"{c['name']}: {c['found']}" for c in value["checks"] if c["status"] != "pass"]
        if done.rc != 0 or bad:
            raise GuestError("; ".join(bad))
        return f"{len(value['checks'])} checks pass"

    def log_elsewhere(self) -> str:
        """Copy the audit log out and verify it on this machine."""
        coded = self.guest.must(
            f"tar -C {self.home} --exclude=keys -cz audit 2>/dev/null | base64 -w0", 120
        )
        target = self.folder / "audit-copy"
        target.mkdir(exist_ok=True)
        archive = target / "audit.tar.gz"
        archive.write_bytes(base64.b64decode(coded))
        subprocess.run(["tar", "-C", str(target), "-xzf", str(archive)], check=True)
        log = next((target / "audit").glob("log-*"))
        key = self.guest.must(f"cat {self.home}/audit/log-0001/log.vkey").strip()  # the paper copy
        command = [sys.executable, "-m", "appliance.cli.main", "audit", "verify", "--json"]
        command += ["--log", str(log), "--vkey", key]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
        value = json.loads(done.stdout)
        if done.returncode != 0 or not value["ok"]:
            raise GuestError(f"exit {done.returncode}: {done.stdout[-500:]} {done.stderr[-500:]}")
        return f"{value['size']} entries verify"

    def reboot(self, *, clear_tpm: bool = False) -> str:
        """Shut down, perhaps lose what the TPM knew, start again."""
        self.guest.must("sync")
        self.guest.stop()
        if clear_tpm:
            self.guest.clear_tpm()
        return f"up after {self.guest.start():.0f} s"

    def unlocked_by_tpm(self) -> str:
        """Wait for the volume that nobody typed anything for."""
        self.guest.must(f"for n in $(seq 90); do {_MOUNTED} && exit 0; sleep 2; done; exit 1", 240)
        return self.guest.must("findmnt -no SOURCE,OPTIONS /srv/appliance").strip()

    def still_locked(self) -> str:
        """Make sure that a cleared TPM opens nothing: the negative control."""
        options = "tpm2-device=auto,headless=1"
        attach = f"/lib/systemd/systemd-cryptsetup attach proof {DATA_DISK} - {options}"
        self.guest.run(f"for n in $(seq 10); do {_MOUNTED} && exit; sleep 2; done", 60)
        done = self.guest.run(f"timeout 60 {attach}; test -e /dev/mapper/proof", 120)
        if done.rc == 0 or self.guest.run(_MOUNTED).rc == 0:
            raise GuestError("the volume is open although the TPM was cleared")
        return "a TPM that was cleared opens nothing"

    def opened_with(self, what: str) -> str:
        """Open the volume with the passphrase or with the recovery key."""
        if what == "passphrase":
            say = f"printf %s {setup.PASSPHRASE}"
        else:
            if self.recovery.startswith("/media/stick/"):
                setup.plug_in(self.guest)
            say = f"tr -d '\\n' < {self.recovery}"
        self.guest.must(_CLOSE)
        self.guest.must(
            f"{say} | cryptsetup open --type luks2 --key-file - {DATA_DISK} appliance-data"
            " && mount /dev/mapper/appliance-data /srv/appliance",
            240,
        )
        return self.guest.must("findmnt -no SOURCE /srv/appliance").strip()

    def report(self) -> dict[str, Any]:
        """Return the account as one JSON object."""
        return {
            "ok": bool(self.steps) and all(step.ok for step in self.steps),
            "seconds": round(sum(step.seconds for step in self.steps), 1),
            "steps": [asdict(step) for step in self.steps],
        }


def _changed(value: dict[str, Any]) -> list[str]:
    return [f"{r['role']}: {c['task']}" for r in value["roles"] for c in r["changes"]]


def run(proof: Proof, parts: tuple[str, ...]) -> None:
    """Do the whole proof; what depends on a step that failed is not tried."""
    guest, step = proof.guest, proof.step
    if not step("boot the blank machine", lambda: f"up after {guest.start():.0f} s"):
        return
    step("it has no network card", lambda: guest.must('test "$(ls /sys/class/net)" = lo') or "lo")
    if not step("install the agent", lambda: setup.install_agent(guest, setup.Site())):
        return
    if not step("provision", lambda: proof.provision(again=False)):
        return
    step("a second run changes nothing", lambda: proof.provision(again=True))
    step("host verify", lambda: proof.verify(*parts))
    step("the log verifies on another machine", proof.log_elsewhere)
    if not step("reboot", proof.reboot):
        return
    step("the TPM unlocks the volume", proof.unlocked_by_tpm)
    step("host verify after the reboot", lambda: proof.verify(*parts))
    if not step("reboot with a cleared TPM", lambda: proof.reboot(clear_tpm=True)):
        return
    step("a cleared TPM opens nothing", proof.still_locked)
    step("the passphrase opens it", lambda: proof.opened_with("passphrase"))
    step("the recovery key opens it", lambda: proof.opened_with("recovery key"))
