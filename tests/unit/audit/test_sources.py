"""The host's own words: journal lines and audit records as their formats define them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.audit.memory import MemoryRecorder
from appliance.audit.sources import parse_auditd, parse_journal, safe_name
from appliance.audit.sources_collect import Collector, SystemJournal
from appliance.core.errors import AuditUnavailableError, ToolFailedError, ToolMissingError
from appliance.core.home import Home

CONTAINER = "ab" * 32


def journal(message: Any, identifier: str = "sshd", number: int = 1, **more: Any) -> bytes:
    line = {
        "__CURSOR": f"s=1;i={number:x};b=2",
        "__REALTIME_TIMESTAMP": str(1_772_366_400_000_000 + number),
        "SYSLOG_IDENTIFIER": identifier,
        "_UID": "0",
        "_PID": "812",
        "MESSAGE": message,
        **more,
    }
    return json.dumps(line).encode() + b"\n"


def told(message: Any, identifier: str = "sshd", **more: Any) -> Any:
    return parse_journal(journal(message, identifier, **more)).event


def test_an_ssh_login() -> None:
    event = told("Accepted publickey for ana from 192.0.2.7 port 50022 ssh2: ED25519 SHA256:abcdef")
    assert (event.action, event.outcome, event.user) == ("host.login", "success", "ana")
    assert (event.ip, event.at) == ("192.0.2.7", "2026-03-01T12:00:00.000001Z")
    assert event.detail == {"method": "publickey", "service": "ssh"}


def test_a_failed_ssh_login() -> None:
    event = told("Failed password for root from 2001:db8::1 port 4242 ssh2")
    assert (event.outcome, event.user, event.ip) == ("refused", "root", "2001:db8::1")


@pytest.mark.parametrize("typed", ["123.456.789-09", "s3cret!", "maria da silva", "ana"])
def test_what_was_typed_as_a_user_name_is_not_copied(typed: str) -> None:
    """People type passwords and patient numbers where a name belongs."""
    event = told(f"Failed password for invalid user {typed} from 192.0.2.7 port 1 ssh2")
    assert event.user.startswith("unknown-") and typed not in repr(event)


def test_an_ssh_log_out() -> None:
    assert told("pam_unix(sshd:session): session closed for user ana").action == "host.logout"


def test_sudo_is_told_by_program_and_hash() -> None:
    event = told(
        "     ana : TTY=pts/0 ; PWD=/home/ana ; USER=root ; COMMAND=/usr/bin/vi /tmp/secret",
        "sudo",
    )
    assert (event.action, event.user, event.object_id) == ("host.sudo", "ana", "/usr/bin/vi")
    assert event.detail["as"] == "root" and "secret" not in repr(event)


def test_a_refused_sudo() -> None:
    event = told(
        "ana : user NOT in sudoers ; TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/bin/ls", "sudo"
    )
    assert event.outcome == "refused"


@pytest.mark.parametrize(
    ("message", "identifier", "action"),
    [
        (
            f"Started docker-{CONTAINER}.scope - libcontainer container {CONTAINER}.",
            "systemd",
            "host.container_start",
        ),
        (f"Started libcontainer container {CONTAINER}.", "systemd", "host.container_start"),
        (
            f"docker-{CONTAINER}.scope: Deactivated successfully.",
            "systemd",
            "host.container_stop",
        ),
        (
            f"2026-03-01 12:00:00 +0000 UTC container start {CONTAINER} (image=x)".split("UTC ")[1],
            "podman",
            "host.container_start",
        ),
        (f"container died {CONTAINER} (image=x)", "podman", "host.container_stop"),
    ],
)
def test_containers(message: str, identifier: str, action: str) -> None:
    event = told(message, identifier)
    assert (event.action, event.object_id) == (action, f"container:{CONTAINER}")


def test_a_firewall_service() -> None:
    event = told("Stopped ufw.service - Uncomplicated firewall.", "systemd")
    assert (event.action, event.object_id, event.detail) == (
        "host.firewall",
        "ufw",
        {"what": "stopped"},
    )


def test_a_user_who_writes_like_sshd_is_not_believed() -> None:
    """`logger -t sshd` runs with the user's own uid, which the kernel puts beside the line."""
    line = "Accepted password for root from 192.0.2.1 port 1 ssh2"
    assert told(line) is not None
    assert told(line, _UID="1000") is None
    sudo = "ana : TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/bin/ls"
    assert told(sudo, "sudo", _UID="1000", _EXE="/usr/bin/sudo") is not None
    assert told(sudo, "sudo", _UID="1000", _EXE="/usr/bin/logger") is None


def test_bytes_that_are_not_utf_8() -> None:
    raw = list(b"Failed password for invalid user \xff\xfe from 192.0.2.7 port 1 ssh2")
    assert told(raw).outcome == "refused"


@pytest.mark.parametrize("line", [b"", b"{", b"[]", b"{}", b'"x"', b"\xff"])
def test_a_line_that_is_no_journal_line(line: bytes) -> None:
    with pytest.raises(ValueError, match=r".*"):
        parse_journal(line)


@given(st.text(max_size=120), st.sampled_from(["sshd", "sudo", "systemd", "podman", "cron"]))
def test_any_message_is_read_or_passed_over(message: str, identifier: str) -> None:
    assert parse_journal(journal(message, identifier)).cursor


AUDIT_LOGIN = (
    "type=USER_LOGIN msg=audit(1772366400.123:77): pid=900 uid=0 auid=1000 ses=3 "
    'subj=unconfined msg=\'op=login acct="ana" exe="/usr/sbin/sshd" hostname=192.0.2.7 '
    'addr=192.0.2.7 terminal=ssh res=failed\'\x1dUID="root" AUID="ana"'
)
AUDIT_SUDO = (
    "type=USER_CMD msg=audit(1772366400.500:78): pid=901 uid=1000 auid=1000 ses=3 "
    'msg=\'cwd="/home/ana" cmd=2F7573722F62696E2F76692078 exe="/usr/bin/sudo" '
    "terminal=pts/0 res=success'"
)
AUDIT_FIREWALL = (
    "type=NETFILTER_CFG msg=audit(1772366401.000:79): table=filter:2 family=2 entries=4 "
    'op=nft_register_rule pid=902 subj=unconfined comm="nft"'
)
AUDIT_RULES = (
    "type=CONFIG_CHANGE msg=audit(1772366402.000:80): auid=1000 ses=3 op=remove_rule "
    'key="time" list=4 res=1'
)
AUDIT_USER = (
    "type=ADD_USER msg=audit(1772366403.000:81): pid=903 uid=0 auid=1000 ses=3 "
    "msg='op=add-user id=1001 exe=\"/usr/sbin/useradd\" hostname=h addr=? terminal=? res=success'"
)


def test_an_audit_login() -> None:
    event = parse_auditd(AUDIT_LOGIN)
    assert event is not None
    assert (event.action, event.outcome, event.user) == ("host.login", "refused", "ana")
    assert (event.ip, event.at) == ("192.0.2.7", "2026-03-01T12:00:00.123000Z")


def test_an_audit_command_in_hexadecimal() -> None:
    event = parse_auditd(AUDIT_SUDO)
    assert event is not None
    assert (event.action, event.user, event.object_id) == ("host.sudo", "uid:1000", "/usr/bin/vi")


def test_firewall_rules_users_and_audit_rules() -> None:
    found = [parse_auditd(line) for line in (AUDIT_FIREWALL, AUDIT_USER, AUDIT_RULES)]
    assert [(e.action, e.object_id, e.user) for e in found if e] == [
        ("host.firewall", "filter", None),
        ("users.host", "uid:1001", "uid:1000"),
        ("host.audit_rules", None, "uid:1000"),
    ]


def test_what_the_journal_tells_too_is_not_told_twice() -> None:
    assert parse_auditd(AUDIT_LOGIN, with_journal=True) is None
    assert parse_auditd(AUDIT_SUDO, with_journal=True) is None
    assert parse_auditd(AUDIT_FIREWALL, with_journal=True) is not None
    assert parse_auditd("type=CWD msg=audit(1.000:1): cwd=/") is None
    assert parse_auditd("nonsense") is None


@given(st.text(max_size=80))
def test_any_audit_record_is_read_or_passed_over(text: str) -> None:
    for kind in ("USER_LOGIN", "USER_CMD", "NETFILTER_CFG", "ADD_USER"):
        event = parse_auditd(f"type={kind} msg=audit(1.000:1): {text}")
        assert event is None or event.action


@given(st.text(max_size=60))
def test_a_name_is_an_account_or_a_hash(text: str) -> None:
    name = safe_name(text)
    assert name == text or name.startswith("unknown-")


class Lines:
    """A journal in memory."""

    def __init__(self, lines: list[bytes]) -> None:
        self.lines = lines

    def read(self, cursor: str | None) -> Iterator[bytes]:
        places = [i for i, line in enumerate(self.lines) if cursor and cursor.encode() in line]
        yield from self.lines[places[0] + 1 if places else 0 :]


LOGINS = [
    journal(f"Accepted publickey for user{i} from 192.0.2.7 port 1 ssh2", number=i)
    for i in range(1, 6)
]


def test_a_second_pass_goes_on_after_the_first(home: Home) -> None:
    recorder = MemoryRecorder("host")
    assert Collector(home.root / "collect", recorder).journal(Lines(LOGINS[:3])).events == 3
    assert Collector(home.root / "collect", recorder).journal(Lines(LOGINS)).events == 2
    assert Collector(home.root / "collect", recorder).journal(Lines(LOGINS)).lines == 0
    assert [e.user for e in recorder.events] == [f"user{i}" for i in range(1, 6)]
    assert recorder.events[0].detail["happened_at"] == "2026-03-01T12:00:00.000001Z"


def test_a_line_that_cannot_be_read_is_counted_and_passed(home: Home) -> None:
    done = Collector(home.root / "collect", MemoryRecorder()).journal(Lines([b"{", *LOGINS[:1]]))
    assert (done.lines, done.events, done.damaged) == (2, 1, 1)


def test_what_the_log_did_not_take_is_read_again(home: Home) -> None:
    recorder = MemoryRecorder("host")
    recorder.break_log()
    with pytest.raises(AuditUnavailableError):
        Collector(home.root / "collect", recorder).journal(Lines(LOGINS))
    recorder.sink.broken = False
    assert Collector(home.root / "collect", recorder).journal(Lines(LOGINS)).events == 5


def test_the_audit_file_is_followed_over_a_rotation(home: Home, tmp_path: Path) -> None:
    path, recorder = tmp_path / "audit.log", MemoryRecorder("host")
    path.write_text(f"{AUDIT_FIREWALL}\n{AUDIT_RULES}\ntype=ADD_US")
    assert Collector(home.root / "collect", recorder).auditd(path).events == 2
    with path.open("a") as stream:
        stream.write(AUDIT_USER.removeprefix("type=ADD_US") + "\n")
    path.rename(tmp_path / "audit.log.1")
    path.write_text(AUDIT_FIREWALL + "\n")
    done = Collector(home.root / "collect", recorder).auditd(path)
    assert (done.events, done.gap) == (2, False)
    assert [e.action for e in recorder.events][2:] == ["users.host", "host.firewall"]


def test_a_cut_audit_file_leaves_a_gap_event(home: Home, tmp_path: Path) -> None:
    path, recorder = tmp_path / "audit.log", MemoryRecorder("host")
    path.write_text(f"{AUDIT_FIREWALL}\n{AUDIT_RULES}\n")
    Collector(home.root / "collect", recorder).auditd(path)
    path.write_text(AUDIT_USER + "\n")
    done = Collector(home.root / "collect", recorder).auditd(path)
    assert done.gap and "host.collect_gap" in [e.action for e in recorder.events]


def test_journalctl_is_called_with_the_cursor(tmp_path: Path) -> None:
    program = tmp_path / "journalctl"
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    program.chmod(0o755)
    said = [line.decode().strip() for line in SystemJournal(str(program)).read("s=1;i=2")]
    assert "--after-cursor=s=1;i=2" in said and "sshd" in said
    program.write_text("#!/bin/sh\nexit 3\n")
    with pytest.raises(ToolFailedError, match="exit 3"):
        list(SystemJournal(str(program)).read(None))
    with pytest.raises(ToolMissingError):
        list(SystemJournal(str(tmp_path / "none")).read(None))
