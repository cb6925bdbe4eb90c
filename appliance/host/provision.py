"""``host plan`` and ``host provision``: the playbooks, a role at a time in the audit log.

Ansible does the work; whether it is done is judged by looking at the machine.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import yaml

from appliance.audit.recorder import Receipt, Recorder
from appliance.core.durable import read_json, write_json
from appliance.core.errors import ApplianceError
from appliance.core.errors.host import HostPreflightError, ProvisionFailedError
from appliance.core.progress import NoProgress, Progress
from appliance.core.settings.host import HostSettings
from appliance.host.ansible_events import OUTSIDE, Failure, RoleTally, Tally
from appliance.host.ansible_run import Ansible, Play

SITE, VERIFY = "site.yml", "verify.yml"
_PREFLIGHT = "preflight"


def site_values(site: HostSettings, content: Path, today: date) -> dict[str, Any]:
    """Return the settings as the playbooks' variables; no secret is among them."""
    value = site.model_dump(mode="json")
    return {
        "site_content": str(content),
        "site_home": value["home"],
        "site_data_disk": value["data_disk"],
        "storage_label": value["data_label"],
        "storage_tpm": value["tpm"],
        "preflight_tpm": value["tpm"],
        "preflight_data_label": value["data_label"],
        "site_passphrase_file": value["passphrase_file"],
        "site_recovery_file": value["recovery_file"],
        "site_admin": value["admin"],
        "site_admin_keys": list(value["admin_keys"]),
        "site_date": today.isoformat(),
        "site_address": value["address"],
        "site_interface": value["interface"],
        "site_gateway": value["gateway"],
        "site_networks": value["networks"],
        "site_outbound": list(value["outbound"]),
        "site_time_servers": list(value["time_servers"]),
        "site_timezone": value["timezone"],
        "site_backup_recipients": list(value["backup_recipients"]),
        "site_backup_folder": value["backup_folder"],
        "site_container_pool": value["container_pool"],
        "site_foreign_firewall": value["foreign_firewall"],
    }


@dataclass
class Provisioner:
    """Runs the playbooks and writes what each role did into the audit log."""

    ansible: Ansible
    recorder: Recorder
    progress: Progress = field(default_factory=NoProgress)
    state_file: Path | None = None

    def plan(self, values: dict[str, Any], **where: Any) -> Tally:
        """Run in check mode and return what would change; nothing is changed.

        Raises:
            ProvisionFailedError: the playbooks did not run, so nothing is known.
        """
        return self._look(Play(SITE, values, check=True, **where))

    def provision(self, values: dict[str, Any], **where: Any) -> Tally:
        """Run for real; raise when a task failed. The same call again goes on from there."""
        tally = Tally()
        book = RoleBook(self.recorder, self.state_file)
        self.recorder.event(
            "host.provision_begins", detail={"roles_named": len(where.get("roles", ()))}
        )
        watch = self._watcher(tally)

        def handle(event: dict[str, Any]) -> None:
            watch(event)
            role = _starting_role(event)
            if role is not None:
                book.enter(role, tally)

        try:
            status = self.ansible.run(Play(SITE, values, **where), handle)
        except BaseException as error:
            book.broken(error, tally)
            raise
        self.progress.close()
        book.leave(tally)
        _require_success(status, tally)
        return tally

    def verify_there(self, values: dict[str, Any], **where: Any) -> Tally:
        """Let the playbooks look at another machine (over SSH); nothing is changed.

        Raises:
            ProvisionFailedError: the playbooks did not run, so nothing is known.
        """
        return self._look(Play(VERIFY, values, **where))

    def _look(self, play: Play) -> Tally:
        tally = Tally()
        status = self.ansible.run(play, self._watcher(tally))
        self.progress.close()
        if not tally.failures:  # those are the answer
            _require_success(status, tally)
        return tally

    def _watcher(self, tally: Tally) -> Any:
        def handle(event: dict[str, Any]) -> None:
            role = tally.add(event)
            if role is not None:
                done = sum(one.tasks for one in tally.roles.values())
                self.progress.update(done, None, f"{role}: {tally.task.rpartition(' : ')[2]}")

        return handle


def _starting_role(event: dict[str, Any]) -> str | None:
    if event.get("event") != "playbook_on_task_start":
        return None
    role = (event.get("event_data") or {}).get("role")
    return str(role) if role else None


@dataclass
class RoleBook:
    """Intent and outcome of every role in the audit log, and how far the run came on disk."""

    recorder: Recorder
    state_file: Path | None
    _open: tuple[str, Receipt] | None = None

    def enter(self, role: str, tally: Tally) -> None:
        """Write the intent of ``role`` before its first task, the outcome of the one before."""
        if self._open is not None and self._open[0] == role:
            return
        self.leave(tally)
        self._open = (role, self.recorder.intent("host.role", object_id=role))

    def leave(self, tally: Tally, reason: str | None = None) -> None:
        """Write the outcome of the role that is open."""
        if self._open is None:
            return
        (role, intent), self._open = self._open, None
        one = tally.roles.get(role, RoleTally(role))
        failed = bool(one.failures) or reason is not None
        detail = {"tasks": one.tasks, "changed": len(one.changes), "failed": len(one.failures)}
        why = reason or ("a task failed" if failed else None)
        self.recorder.outcome(intent, "failure" if failed else "success", reason=why, detail=detail)
        self._note(tally)

    def broken(self, error: BaseException, tally: Tally) -> None:
        """Write the outcome of a run that was interrupted; the log itself may be what broke."""
        try:
            self.leave(tally, getattr(error, "id", type(error).__name__))
        except ApplianceError:
            self._note(tally)  # without an outcome the log says so itself when it starts again

    def _note(self, tally: Tally) -> None:
        if self.state_file is not None:
            roles = {name: len(one.failures) == 0 for name, one in tally.roles.items()}
            self.state_file.parent.mkdir(parents=True, exist_ok=True)
            write_json(self.state_file, {"roles": roles, "changed": tally.changed})


def last_run(state_file: Path) -> dict[str, Any] | None:
    """Return how far the last run came, or None when there was none."""
    return dict(read_json(state_file)) if state_file.is_file() else None


def _require_success(status: int, tally: Tally) -> None:
    failures = tally.failures
    if status == 0:
        return
    first = failures[0] if failures else _without_task(status, tally)
    kind = HostPreflightError if first.role == _PREFLIGHT else ProvisionFailedError
    raise kind(expected=f"{first.role}: {first.task}", found=first.message)


def _without_task(status: int, tally: Tally) -> Failure:
    return Failure(OUTSIDE, tally.task or "the playbooks run", "", tally.said or f"status {status}")


def reasons(playbooks: Path, roles: Iterable[str]) -> dict[str, str]:
    """Return why each role is there, from its ``meta/argument_specs.yml``."""
    found = {}
    for role in roles:
        path = playbooks / "roles" / role / "meta" / "argument_specs.yml"
        if path.is_file():
            value = yaml.safe_load(path.read_text(encoding="utf-8"))
            found[role] = str(value["argument_specs"]["main"].get("short_description", ""))
    return found


def plan_answer(tally: Tally, why: dict[str, str]) -> dict[str, Any]:
    """Return what would change, role by role, as one JSON object."""
    roles = [{**one.to_dict(), "why": why.get(one.name, "")} for one in tally.roles.values()]
    return {
        "ok": not tally.failures,
        "would_change": tally.changed,
        "roles": roles,
        "problems": [failure.to_dict() for failure in tally.failures],
    }


def plan_lines(answer: dict[str, Any]) -> list[str]:
    """Return the plan for people."""
    lines = []
    for role in answer["roles"]:
        if role["changes"] or role["failures"]:
            lines.append(f"{role['role']}: {role['why']}")
        for change in role["changes"]:
            size = f" (-{change['lines_out']} +{change['lines_in']} lines)"
            told = size if change["lines_out"] or change["lines_in"] else ""
            lines.append(f"  {change['task'].rpartition(' : ')[2]}: {change['target']}{told}")
    lines += [f"PROBLEM {p['role']}: {p['message']}" for p in answer["problems"]]
    return lines or ["nothing would change"]
