"""What a program that was taken over may still do in a container: as little as possible."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

pytestmark = pytest.mark.containers
Run = Callable[..., tuple[int, str]]

CALL = (
    "import ctypes, errno, os\n"
    "c = ctypes.CDLL(None, use_errno=True)\n"
    "def call(number, *args):\n"
    "    ctypes.set_errno(0)\n"
    "    value = c.syscall(number, *args)\n"
    "    return 'done' if value >= 0 else errno.errorcode[ctypes.get_errno()]\n"
)


@pytest.mark.parametrize(
    ("name", "expression", "answer"),
    [
        ("unshare of a user name space", "call(272, 0x10000000)", "EPERM"),
        ("clone into a user name space", "call(56, 0x10000011, 0, 0, 0, 0)", "EPERM"),
        ("clone3", "call(435, 0, 0)", "ENOSYS"),
        ("setns", "call(308, 0, 0)", "EPERM"),
        ("keyctl", "call(250, 0, 0, 0, 0, 0)", "EPERM"),
        ("add_key", "call(248, 0, 0, 0, 0, 0)", "EPERM"),
        ("bpf", "call(321, 0, 0, 0)", "EPERM"),
        ("perf_event_open", "call(298, 0, 0, 0, 0, 0)", "EPERM"),
        ("ptrace", "call(101, 0, 0, 0, 0)", "EPERM"),
        ("process_vm_readv", "call(310, 0, 0, 0, 0, 0, 0)", "EPERM"),
        ("userfaultfd", "call(323, 0)", "EPERM"),
        ("io_uring_setup", "call(425, 0, 0)", "ENOSYS"),
        ("mount", "call(165, 0, 0, 0, 0, 0)", "EPERM"),
        ("mknod", "call(133, b'/tmp/device', 0o020666, 0x103)", "EPERM"),
        ("packet socket", "call(41, 17, 3, 0)", "EPERM"),
        ("personality", "call(135, 0x0040000)", "EPERM"),
    ],
)
def test_seccomp_refuses(run_hardened: Run, name: str, expression: str, answer: str) -> None:
    code, output = run_hardened(f"{CALL}print({expression})")
    assert (code, output.strip()) == (0, answer)


def test_without_the_profile_unshare_would_be_refused_otherwise(run_hardened: Run) -> None:
    """The refusal above is the profile's: with none, the kernel answers io_uring differently."""
    code, output = run_hardened(
        f"{CALL}print(call(425, 0, 0))", security_opt=["seccomp=unconfined"]
    )
    assert code == 0 and output.strip() != "ENOSYS"


def test_no_capability_no_new_privilege_no_root(run_hardened: Run) -> None:
    text = (
        "import json, os\n"
        "lines = dict(l.split(':', 1) for l in open('/proc/self/status') if ':' in l)\n"
        "print(json.dumps({k: lines[k].strip() for k in "
        "('CapEff', 'CapPrm', 'CapBnd', 'NoNewPrivs', 'Seccomp')} | {'uid': os.getuid()}))"
    )
    code, output = run_hardened(text)
    assert code == 0
    assert json.loads(output) == {
        "CapEff": "0" * 16,
        "CapPrm": "0" * 16,
        "CapBnd": "0" * 16,
        "NoNewPrivs": "1",
        "Seccomp": "2",
        "uid": 10001,
    }


def test_the_root_is_read_only_and_tmp_runs_nothing(run_hardened: Run) -> None:
    text = (
        "import errno, os\n"
        "def attempt(path):\n"
        "    try:\n"
        "        open(path, 'w').close(); return 'written'\n"
        "    except OSError as error:\n"
        "        return errno.errorcode[error.errno]\n"
        "print(attempt('/usr/lib/x'), attempt('/etc/passwd'), attempt('/tmp/x'))\n"
        "print([l.split()[3] for l in open('/proc/mounts') if l.split()[1] == '/'][0][:2])\n"
    )
    code, output = run_hardened(text)
    first, second = output.split("\n")[:2]
    assert code == 0
    assert first.split()[2] == "written"
    assert set(first.split()[:2]) <= {"EROFS", "EACCES"}
    assert second == "ro"


def test_a_program_put_into_tmp_does_not_run(run_hardened: Run) -> None:
    text = (
        "import os, shutil\n"
        "shutil.copy('/usr/bin/python3.11', '/tmp/p'); os.chmod('/tmp/p', 0o755)\n"
        "try:\n"
        "    os.execv('/tmp/p', ['/tmp/p', '-c', 'print(1)'])\n"
        "except PermissionError:\n"
        "    print('refused')\n"
    )
    tmpfs = {"/tmp": "rw,noexec,nosuid,nodev,size=64m,mode=1777"}  # as the services have it
    assert run_hardened(text, tmpfs=tmpfs) == (0, "refused\n")


def test_a_fork_bomb_meets_the_pid_limit(run_hardened: Run) -> None:
    text = (
        "import os, time\n"
        "made = 0\n"
        "try:\n"
        "    for _ in range(500):\n"
        "        if os.fork() == 0:\n"
        "            time.sleep(20); os._exit(0)\n"
        "        made += 1\n"
        "except BlockingIOError:\n"
        "    print('stopped', made, flush=True); os._exit(0)\n"
        "print('never stopped', flush=True)\n"
        "os._exit(1)\n"
    )
    code, output = run_hardened(text, pids_limit=64)
    assert code == 0 and output.split()[0] == "stopped" and int(output.split()[1]) < 64


def test_memory_beyond_the_limit_ends_the_program(run_hardened: Run) -> None:
    text = "print('starts', flush=True); b = bytearray(512 << 20); print('had it')"
    code, output = run_hardened(text, mem_limit="64m", memswap_limit="64m")
    assert (code, output) == (137, "starts\n")


def test_without_a_network_there_is_only_loopback(run_hardened: Run) -> None:
    text = (
        "import errno, os, socket\n"
        "print(os.listdir('/sys/class/net'))\n"
        "s = socket.socket(); s.settimeout(3)\n"
        "print(errno.errorcode[s.connect_ex(('192.0.2.1', 443))])\n"
    )
    code, output = run_hardened(text)
    assert code == 0 and output.splitlines() == ["['lo']", "ENETUNREACH"]


def test_no_shell_can_be_started(run_hardened: Run) -> None:
    text = (
        "import subprocess\n"
        "try:\n"
        "    subprocess.run('id', shell=True)\n"
        "except FileNotFoundError:\n"
        "    print('no shell')\n"
    )
    assert run_hardened(text) == (0, "no shell\n")
