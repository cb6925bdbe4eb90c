"""What the host itself says: journal lines and audit records turned into events. Pure.

Read: SSH logins and log-outs, sudo, container starts and stops, firewall changes, changes of
users and of the audit rules. Nothing a user typed is copied: a command is logged as its program
and the hash of the whole line, a name that is no account as a hash (people type passwords and
numbers where a name belongs).

Formats: systemd.journal-fields(7), journalctl(1) ``-o json``; the Linux audit record format
(``type=X msg=audit(seconds.millis:serial): key=value ...``).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from appliance.audit.guard import Scalar, reason_against
from appliance.core.clock import rfc3339

STARTED: Final = "110120"
STOPPED: Final = "110121"
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9._@-]{0,63}")
_IP: Final = re.compile(r"[0-9A-Fa-f:.]{2,45}(?:%[A-Za-z0-9]+)?")


@dataclass(frozen=True)
class HostEvent:
    """One thing that happened on the host."""

    action: str
    at: str
    source_id: str
    outcome: str | None = "success"
    user: str | None = None
    ip: str | None = None
    object_id: str | None = None
    reason: str | None = None
    subtype: tuple[str, ...] | None = None
    detail: dict[str, Scalar] = field(default_factory=dict)


def safe_name(text: str) -> str:
    """Return an account's name, or a hash of what is no such name."""
    if _NAME.fullmatch(text) and reason_against(text) is None:
        return text
    return "unknown-" + hashlib.sha256(text.encode()).hexdigest()[:12]


def safe_ip(text: str) -> str | None:
    """Return an address, or None for anything else (``?`` in audit records)."""
    return text if _IP.fullmatch(text) else None


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _program(command: str) -> str:
    word = command.split(" ", 1)[0]
    return word if re.fullmatch(r"[A-Za-z0-9/._+-]{1,200}", word) else "program"


Found = dict[str, Any]
_Rule = tuple[re.Pattern[str], Callable[[re.Match[str]], Found]]

_SSHD: Final[list[_Rule]] = [
    (
        re.compile(r"Accepted (\S+) for (\S+) from (\S+) port (\d+)"),
        lambda m: {
            "action": "host.login",
            "user": safe_name(m[2]),
            "ip": safe_ip(m[3]),
            "detail": {"method": safe_name(m[1]), "service": "ssh"},
        },
    ),
    (
        re.compile(r"Failed (\S+) for (?:invalid user )?(.*) from (\S+) port (\d+)"),
        lambda m: {
            "action": "host.login",
            "outcome": "refused",
            "user": safe_name(m[2]) if "invalid user" not in m[0] else _unknown(m[2]),
            "ip": safe_ip(m[3]),
            "detail": {"method": safe_name(m[1]), "service": "ssh"},
        },
    ),
    (
        re.compile(r"pam_unix\(sshd:session\): session closed for user (\S+)"),
        lambda m: {
            "action": "host.logout",
            "user": safe_name(m[1]),
            "detail": {"service": "ssh"},
        },
    ),
]
_SUDO: Final[list[_Rule]] = [
    (
        re.compile(
            r"\s*(\S+) : (?:(.*?) ; )?TTY=(\S+) ; PWD=.*? ; USER=(\S+) ;"
            r"(?: \S+=\S+ ;)* COMMAND=(.*)",
            re.DOTALL,
        ),
        lambda m: {
            "action": "host.sudo",
            "user": safe_name(m[1]),
            "outcome": "refused" if m[2] else "success",
            "reason": "refused by sudo" if m[2] else None,
            "object_id": _program(m[5]),
            "detail": {"as": safe_name(m[4]), "command_sha256": _hash(m[5])},
        },
    ),
]
_SYSTEMD: Final[list[_Rule]] = [
    (
        re.compile(r"Started (?:\S+-)?(?:libcontainer container )?([0-9a-f]{64})\b"),
        lambda m: _container("host.container_start", m[1], STARTED),
    ),
    (
        re.compile(r"\S*-([0-9a-f]{64})\.scope: (?:Deactivated|Succeeded)"),
        lambda m: _container("host.container_stop", m[1], STOPPED),
    ),
    (
        re.compile(r"(Started|Stopped|Reloaded|Finished) (ufw|nftables|firewalld)\.service"),
        lambda m: {
            "action": "host.firewall",
            "object_id": m[2],
            "detail": {"what": m[1].lower()},
        },
    ),
]
_PODMAN: Final[list[_Rule]] = [
    (
        re.compile(r"container (start|died|stop) ([0-9a-f]{64})"),
        lambda m: _container(
            "host.container_start" if m[1] == "start" else "host.container_stop",
            m[2],
            STARTED if m[1] == "start" else STOPPED,
        ),
    ),
]
_BY_IDENTIFIER: Final = {
    "sshd": _SSHD,
    "sshd-session": _SSHD,
    "sudo": _SUDO,
    "systemd": _SYSTEMD,
    "podman": _PODMAN,
}


def _unknown(text: str) -> str:
    return "unknown-" + hashlib.sha256(text.encode()).hexdigest()[:12]


def _container(action: str, ident: str, subtype: str) -> Found:
    return {"action": action, "object_id": f"container:{ident}", "subtype": (subtype,)}


@dataclass(frozen=True)
class JournalLine:
    """What a journal line came to: where to go on from, and an event or none."""

    cursor: str
    event: HostEvent | None


def parse_journal(line: bytes) -> JournalLine:
    """Read one line of ``journalctl -o json``; raise ``ValueError`` when it is not one."""
    value = json.loads(line)
    if not isinstance(value, dict) or "__CURSOR" not in value:
        raise ValueError("not a line of the journal")
    cursor = str(value["__CURSOR"])
    message = value.get("MESSAGE")
    if isinstance(message, list):  # not UTF-8: the journal gives the bytes
        message = bytes(message).decode("utf-8", "replace")
    rules = _BY_IDENTIFIER.get(str(value.get("SYSLOG_IDENTIFIER")), [])
    if not isinstance(message, str) or not _vouched(value):
        return JournalLine(cursor, None)
    for pattern, make in rules:
        match = pattern.match(message)
        if match:
            seconds = int(value["__REALTIME_TIMESTAMP"]) / 1_000_000
            at = rfc3339(datetime.fromtimestamp(seconds, UTC))
            return JournalLine(cursor, _event(make(match), at, f"journal:{_hash(cursor)[:24]}"))
    return JournalLine(cursor, None)


def _vouched(value: dict[str, Any]) -> bool:
    """Say whether the kernel's own fields fit the program the line claims to come from.

    Anybody can write ``sshd: Accepted ...`` with logger(1); ``_UID`` and ``_EXE`` he cannot choose.
    sudo runs under its caller's uid, so there the program file decides.
    """
    if str(value.get("_UID", "0")) == "0":
        return True
    return value.get("SYSLOG_IDENTIFIER") == "sudo" and value.get("_EXE") in _SUDO_FILES


def _event(found: Found, at: str, source_id: str) -> HostEvent:
    return HostEvent(at=at, source_id=source_id, **found)


_RECORD: Final = re.compile(r"type=(\S+) msg=audit\((\d+)\.(\d+):(\d+)\): ?(.*)", re.DOTALL)
_FIELD: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_-]*)=(\"[^\"]*\"|'[^']*'|\S+)")
_SUDO_FILES: Final = {"/usr/bin/sudo", "/usr/lib/cargo/bin/sudo", "/usr/bin/sudo.ws"}
_NO_LOGIN: Final = "4294967295"


def _fields(text: str) -> dict[str, str]:
    """Read ``key=value`` pairs; those inside ``msg='...'`` count as the record's own."""
    found: dict[str, str] = {}
    for key, value in _FIELD.findall(text.split("\x1d", 1)[0]):
        if key == "msg" and value.startswith("'"):
            found.update(_fields(value[1:-1]))
        else:
            found[key] = value.strip('"')
    return found


def _who(fields: dict[str, str]) -> str | None:
    """Return who logged in, whatever the user became since: the audit user id."""
    auid = fields.get("auid", _NO_LOGIN)
    return f"uid:{auid}" if auid.isdecimal() and auid not in {_NO_LOGIN, "-1"} else None


def _outcome(fields: dict[str, str]) -> str:
    return "success" if fields.get("res", "success") in {"success", "1", "yes"} else "refused"


def _audit_login(fields: dict[str, str]) -> Found:
    name = fields.get("acct")
    return {
        "action": "host.login",
        "user": safe_name(name) if name else _who(fields),
        "ip": safe_ip(fields.get("addr", "?")),
        "detail": {"service": safe_name(fields.get("exe", "login").rsplit("/", 1)[-1])},
    }


def _audit_command(fields: dict[str, str]) -> Found:
    text = fields.get("cmd", "")
    if re.fullmatch(r"(?:[0-9A-F]{2})+", text):
        text = bytes.fromhex(text).decode("utf-8", "replace")
    return {
        "action": "host.sudo",
        "user": _who(fields),
        "object_id": _program(text),
        "detail": {"command_sha256": _hash(text)},
    }


def _audit_firewall(fields: dict[str, str]) -> Found:
    return {
        "action": "host.firewall",
        "user": _who(fields),
        "object_id": safe_name(fields.get("table", "table").split(":")[0]),
        "detail": {"op": safe_name(fields.get("op", "change"))},
    }


def _audit_users(fields: dict[str, str]) -> Found:
    name = fields.get("acct") or fields.get("id") or "account"
    return {
        "action": "users.host",
        "user": _who(fields),
        "object_id": safe_name(name) if not name.isdecimal() else f"uid:{name}",
        "detail": {"op": safe_name(fields.get("op", "change"))},
    }


def _audit_rules(fields: dict[str, str]) -> Found:
    return {
        "action": "host.audit_rules",
        "user": _who(fields),
        "detail": {"op": safe_name(fields.get("op", "change"))},
    }


# Told by the journal too: skipped when the journal is read as well.
_DOUBLE: Final[dict[str, Callable[[dict[str, str]], Found]]] = {
    "USER_LOGIN": _audit_login,
    "USER_CMD": _audit_command,
}
_ALWAYS: Final[dict[str, Callable[[dict[str, str]], Found]]] = {
    "NETFILTER_CFG": _audit_firewall,
    "CONFIG_CHANGE": _audit_rules,
    "DAEMON_END": _audit_rules,
    "DAEMON_START": _audit_rules,
    **dict.fromkeys(
        ["ADD_USER", "DEL_USER", "ADD_GROUP", "DEL_GROUP", "USER_CHAUTHTOK", "USER_MGMT"],
        _audit_users,
    ),
}


def parse_auditd(line: str, *, with_journal: bool = False) -> HostEvent | None:
    """Read one record of ``audit.log``; None when it is none of those that are kept."""
    match = _RECORD.match(line)
    if match is None:
        return None
    kinds = _ALWAYS if with_journal else {**_ALWAYS, **_DOUBLE}
    make = kinds.get(match[1])
    if make is None:
        return None
    fields = _fields(match[5])
    at = datetime.fromtimestamp(int(match[2]), UTC).replace(microsecond=int(match[3]) * 1000)
    found = {"outcome": _outcome(fields), **make(fields)}
    found["detail"] = {**found["detail"], "record": match[1].lower(), "serial": int(match[4])}
    return _event(found, rfc3339(at), f"auditd:{_hash(line)[:24]}")
