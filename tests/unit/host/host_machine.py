"""A machine in memory that is as declared; tests spoil one thing at a time."""

from __future__ import annotations

import json

from appliance.core.settings.host import HostSettings, Networks
from appliance.host.declaration import Declaration
from appliance.host.firewall_rules import Opening
from appliance.host.machine import FixedMachine
from appliance.host.verify_system import SYSCTLS

SITE = HostSettings(networks=Networks(admin=("10.1.0.0/24",), clients=("10.2.0.0/16",)))
DECLARED = Declaration(
    SITE,
    host_ports=(Opening("10.1.0.0/24", 22, "tcp"),),
    published=(Opening("10.2.0.0/16", 8443, "tcp"),),
    services=("gateway", "inference"),
)
DOCKER_USER = """-P INPUT DROP
-P FORWARD DROP
-P OUTPUT DROP
-N DOCKER-USER
-N appliance-docker
-A DOCKER-USER -j appliance-docker
-A DOCKER-USER -j RETURN
-A appliance-docker -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN
-A appliance-docker -m conntrack --ctstate INVALID -j DROP
-A appliance-docker -s 172.30.0.0/16 -d 172.30.0.0/16 -j RETURN
-A appliance-docker ! -s 172.30.0.0/16 ! -d 172.30.0.0/16 -j RETURN
-A appliance-docker -s 10.2.0.0/16 -d 172.30.0.0/16 -p tcp -m conntrack --ctstate NEW --ctdir ORIGINAL --ctorigdstport 8443 -j RETURN
-A appliance-docker -m limit --limit 6/min --limit-burst 10 -j LOG --log-prefix "[APPLIANCE BLOCK] "
-A appliance-docker -j DROP
"""  # noqa: E501 - as iptables prints it
DOCKER_USER6 = """-P INPUT DROP
-P FORWARD DROP
-P OUTPUT DROP
-N DOCKER-USER
-N appliance-docker
-A DOCKER-USER -j appliance-docker
-A appliance-docker -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN
-A appliance-docker -j DROP
"""
LUKS = {
    "keyslots": {
        "0": {"key_size": 64, "kdf": {"type": "argon2id"}},
        "1": {"key_size": 64, "kdf": {"type": "pbkdf2"}},
        "2": {"key_size": 64, "kdf": {"type": "pbkdf2"}},
    },
    "tokens": {
        "0": {"type": "systemd-recovery", "keyslots": ["1"]},
        "1": {"type": "systemd-tpm2", "keyslots": ["2"]},
    },
    "segments": {"0": {"encryption": "aes-xts-plain64"}},
}
SSHD = """permitrootlogin no
passwordauthentication no
kbdinteractiveauthentication no
permitemptypasswords no
pubkeyauthentication yes
hostbasedauthentication no
permituserenvironment no
x11forwarding no
gatewayports no
maxauthtries 3
logingracetime 30
clientaliveinterval 300
allowgroups appliance-ssh
"""
INFO = {
    "ServerVersion": "26.1",
    "SecurityOptions": ["name=apparmor", "name=seccomp,profile=builtin", "name=cgroupns"],
    "CgroupVersion": "2",
    "LiveRestoreEnabled": True,
    "LoggingDriver": "json-file",
    "RegistryConfig": {"InsecureRegistryCIDRs": ["127.0.0.0/8"]},
    "Swarm": {"LocalNodeState": "inactive"},
}
CONTAINERS = [
    {
        "Labels": f"org.hospital-ai-appliance.service={name},x=y",
        "State": "running",
        "Status": "Up 2 hours (healthy)",
        "Ports": "127.0.0.1:8443->8443/tcp" if name == "gateway" else "",
    }
    for name in ("gateway", "inference")
]
DUMP = "cryptsetup luksDump --dump-json-metadata /dev/vdb"
PS = "docker ps --all --no-trunc --format {{json .}}"
INFO_COMMAND = "docker info --format {{json .}}"


def lines(rows: list[dict[str, str]]) -> str:
    return "\n".join(json.dumps(row) for row in rows)


def good() -> FixedMachine:
    mounted = {"source": "/dev/mapper/appliance-data", "options": "rw,nosuid,nodev,relatime"}
    machine = FixedMachine(
        files={
            "/etc/crypttab": "appliance-data UUID=1b4e none luks,tpm2-device=auto\n",
            "/proc/swaps": "Filename Type Size Used Priority\n",
            "/sys/module/apparmor/parameters/enabled": "Y\n",
            "/sys/kernel/security/apparmor/profiles": "docker-default (enforce)\n"
            "appliance-service (enforce)\nfirefox (unconfined)\n",
        },
        programs={
            "findmnt --json --mountpoint /srv/appliance": json.dumps({"filesystems": [mounted]}),
            "findmnt --json --mountpoint /": "{}",
            "cryptsetup status appliance-data": "  type:    LUKS2\n  device:  /dev/vdb\n",
            DUMP: json.dumps(LUKS),
            "ufw status verbose": "Status: active\nLogging: on (low)\n"
            "Default: deny (incoming), deny (outgoing), deny (routed)\n",
            "iptables -S": DOCKER_USER,
            "ip6tables -S": DOCKER_USER6,
            "sshd -T": SSHD,
            "timedatectl show --property=NTPSynchronized --value": "yes\n",
            "auditctl -s": "enabled 2\nfailure 1\npid 611\nlost 0\nbacklog 0\n",
            "auditctl -l": "-w /etc/passwd -p wa\n-w /etc/sudoers -p wa\n-a always -S adjtimex\n",
            INFO_COMMAND: json.dumps(INFO),
            "docker network inspect bridge": json.dumps(
                [{"Options": {"com.docker.network.bridge.enable_icc": "false"}}]
            ),
            "ss --no-header --listening --tcp --numeric --processes": "LISTEN 0 4096 "
            '0.0.0.0:22 0.0.0.0:* users:(("sshd",pid=1,fd=3))\n'
            'LISTEN 0 4096 127.0.0.1:8443 0.0.0.0:* users:(("dockerd",pid=2,fd=4))\n',
            PS: lines(CONTAINERS),
        },
    )
    for name, values in SYSCTLS.items():
        machine.files["/proc/sys/" + name.replace(".", "/")] = values[0] + "\n"
    return machine
