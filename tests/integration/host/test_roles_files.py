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
from datetime import UTC, datetime
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
LOOK = f"{BIN}/ansible-playbook {ROOT}/playbooks/site.yml -e @/tmp/site.json --tags preflight"
DISK = """
truncate -s 64M /run/disk; {fill}
loop=$(losetup -f --show /run/disk); trap 'losetup -d "$loop"' EXIT
mkdir -p /dev/disk/by-id; ln -s "$loop" /dev/disk/by-id/appliance-test
sha256sum < /run/disk
"""
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


def test_preflight_names_everything_that_is_wrong_and_changes_nothing(tmp_path: Path) -> None:
    neighbour = """
ip netns add other; ip link add lan0 type veth peer name p0 netns other
ip -n other addr add 192.0.2.7/24 dev p0; ip -n other link set p0 up; ip link set lan0 up
iptables -A FORWARD -s 203.0.113.9 -j DROP
"""
    bad = {
        "site_data_disk": "/dev/disk/by-id/appliance-test",
        "site_admin_keys": [],
        "site_date": "2001-01-01",
        "site_address": "192.0.2.7/24",
        "site_interface": "lan0",
    }
    text = _in_overlay(
        tmp_path / "overlay",
        DISK.format(fill="mkfs.ext4 -q /run/disk")
        + neighbour
        + f"{LOOK} -e '{json.dumps(bad)}'; sha256sum < /run/disk; iptables -S FORWARD",
    )
    for said in (
        "found ext4 on it",
        "expected at least 6144 MiB, found 64 MiB",
        "passphrase in /run/appliance-setup/passphrase, found no file",
        "recovery key: expected a folder on another medium",
        "TPM: expected version 2, found none",
        "days off",
        "at least one public key of an administrator, found none",
        "expected 192.0.2.7/24 to be free, found another device with it",
        "found 1: -A FORWARD -s 203.0.113.9/32 -j DROP",
    ):
        assert said in text, f"{said}\n{text}"
    (recap,) = _recaps(text)
    assert recap["failed"] == 1 and recap["changed"] == 0
    before, after = re.findall(r"^([0-9a-f]{64})  -$", text, re.MULTILINE)
    assert before == after
    assert "-A FORWARD -s 203.0.113.9/32 -j DROP" in text.split("PLAY RECAP")[-1]


def test_preflight_lets_a_blank_disk_and_a_free_address_pass(tmp_path: Path) -> None:
    ready = """
ip link add lan0 type veth peer name p0; ip link set p0 up; ip link set lan0 up
mkdir -p /run/appliance-setup /tmp/safe; umask 077
echo correct-horse-battery-staple > /run/appliance-setup/passphrase
"""
    good = {
        "site_data_disk": "/dev/disk/by-id/appliance-test",
        "site_recovery_file": "/tmp/safe/key",
        "site_date": datetime.now(UTC).date().isoformat(),
        "site_address": "192.0.2.7/24",
        "site_interface": "lan0",
        "preflight_tpm": False,
        "preflight_data_mib": 32,
        "preflight_memory_mib": 100,
        "preflight_system_free_mib": 10,
    }
    play = f"{LOOK} -e '{json.dumps(good)}'"
    text = _in_overlay(tmp_path / "overlay", DISK.format(fill=":") + ready + play)
    (recap,) = _recaps(text)
    assert recap["failed"] == 0 and recap["changed"] == 0, text


def test_the_cards_are_planned_from_recorded_facts_and_nothing_is_written(tmp_path: Path) -> None:
    recorded = {"cards": [{"address": f"0000:0{n}:00.0", "device": "0x2b85"} for n in (1, 2)]}
    record = f"echo '{json.dumps(recorded)}' > /tmp/cards.json"
    play = f"{PLAY} --tags nvidia -e nvidia_recorded=/tmp/cards.json -e nvidia_power_limit_w=450"
    look = "ls /etc/appliance /etc/modprobe.d/appliance-nvidia.conf"
    text = _in_overlay(tmp_path / "overlay", f"{record}; {play} --check --diff; {play}; {look}")
    planned, refused = _recaps(text)
    assert planned["failed"] == 0, text
    assert planned["changed"] >= 3
    assert "+ExecStart=/usr/bin/nvidia-smi --power-limit=450" in text
    assert refused["failed"] == 1
    assert "Expected check mode with recorded facts" in text
    assert "cannot access '/etc/modprobe.d/appliance-nvidia.conf'" in text
