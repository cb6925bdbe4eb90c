"""Roles applied by Ansible, twice, to a throwaway copy of this machine's root.

What needs a kernel of its own (device-mapper, AppArmor, systemd) is proven in the guest.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="an overlay needs root"),
]

ROOT = Path(__file__).parents[3]
BIN = Path(sys.executable).parent
PLAY = (
    f"{BIN}/ansible-playbook {ROOT}/playbooks/site.yml -e @/tmp/site.json"
    " --skip-tags preflight,apt_source,storage,packages,running"
)
SHOW = "echo '===FILE'; cat"


def _in_overlay(folder: Path, script: str) -> str:
    for program in ("visudo", "sshd", "ssh-keygen"):
        if shutil.which(program, path="/usr/sbin:/usr/bin") is None:
            pytest.fail(f"expected {program}; install sudo and openssh-server")
    folder.mkdir()
    key = folder.parent / "admin"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    values = {
        "site_admin_keys": [key.with_suffix(".pub").read_text(encoding="utf-8").strip()],
        "site_networks": {
            "admin": ["192.0.2.0/24"],
            "clients": ["198.51.100.0/24"],
            "reviewers": [],
        },
    }
    whole = "\n".join(
        [
            f"cat > /tmp/site.json <<'JSON'\n{json.dumps(values)}\nJSON",
            "ip link set lo up",
            "export ANSIBLE_LOCAL_TEMP=/tmp/ansible ANSIBLE_NOCOLOR=1 HOME=/tmp",
            f"export ANSIBLE_CONFIG={ROOT}/playbooks/ansible.cfg PATH={BIN}:$PATH",
            script,
        ]
    )
    overlay = str(Path(__file__).with_name("overlay.sh"))
    done = subprocess.run(
        ["unshare", "-mnpfui", overlay, str(folder), str(ROOT), "/bin/sh", "-c", whole],
        capture_output=True,
        text=True,
        check=False,
        timeout=560,
        env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8"},
    )
    return done.stdout + done.stderr


def _recaps(text: str) -> list[dict[str, int]]:
    rows = re.findall(r"^this-machine +: (.*)$", text, re.MULTILINE)
    return [{k: int(v) for k, v in re.findall(r"(\w+)=(\d+)", row)} for row in rows]


def test_roles_apply_on_a_blank_root_and_again_change_nothing(tmp_path: Path) -> None:
    play = f"{PLAY} --tags docker,firewall,hardening"
    show = (
        f"{SHOW} /etc/docker/daemon.json; {SHOW} /etc/ufw/appliance.rules; {SHOW} /etc/login.defs"
    )
    text = _in_overlay(tmp_path / "overlay", f"{play}; {play}; {show}")
    first, second = _recaps(text)
    assert first["failed"] == second["failed"] == 0, text
    assert first["changed"] > 20
    assert second["changed"] == 0, text
    _, daemon, rules, login = text.split("===FILE\n")
    engine = json.loads(daemon)
    assert engine["no-new-privileges"] is True and engine["icc"] is False
    assert engine["ip"] == "127.0.0.1"
    assert "-s 198.51.100.0/24 -d 172.30.0.0/16 -p tcp" in rules
    assert re.search(r"^PASS_MAX_DAYS 365$", login, re.MULTILINE)


def test_ssh_changes_only_after_a_second_session_was_let_in(tmp_path: Path) -> None:
    play = f"{PLAY} --tags users_ssh"
    used = "/etc/ssh/sshd_config.d/10-appliance.conf"
    refused = f"touch /etc/nologin; {play}; ls {used}; rm /etc/nologin"
    let_in = (
        f"{play}; echo '===FILE'; cat {used}; {play}; cat ~appliance-admin/.ssh/authorized_keys"
    )
    text = _in_overlay(tmp_path / "overlay", f"{refused}; {let_in}")
    locked, opened, again = _recaps(text)
    assert locked["failed"] == 1
    assert "The settings in use were not changed" in text
    assert f"cannot access '{used}'" in text
    assert opened["failed"] == 0 and opened["changed"] > 0, text
    assert again["changed"] == 0, text
    assert "PasswordAuthentication no" in text.split("===FILE\n")[1]
    assert "appliance-lock-out-trial" not in text.split("PLAY RECAP")[-1]
