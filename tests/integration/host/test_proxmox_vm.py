"""`host vm` over real HTTPS against a server that checks every call by the published API."""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from appliance.audit.memory import MemoryRecorder
from appliance.core.errors.host import (
    ProxmoxAnswerError,
    ProxmoxRefusedError,
    ProxmoxTaskError,
    ProxmoxUnreachableError,
    VmConflictError,
)
from appliance.host.vm.client import Access, Patience, ProxmoxerClient
from appliance.host.vm.service import Machines
from appliance.host.vm.spec import Seed, VmSpec
from tests.integration.host.proxmox_simulator import GIB, TOKEN, Api, Server, serving

SPEC = VmSpec(node="pve1", name="hospital-ai", storage="fast", gpus=("gpu0", "gpu1"), data_gib=1000)
QUICK = Patience(task_s=5, poll_s=0.01)


@pytest.fixture(scope="session")
def api(shared_dir: Path) -> Api:
    return Api(shared_dir / "vectors" / "proxmox" / "apidata.js")


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "pve1")])
    now = dt.datetime.now(tz=dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("tls")
    cert, private = folder / "cert.pem", folder / "key.pem"
    cert.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return cert, private


@pytest.fixture
def server(api: Api) -> Server:
    return Server(api)


@pytest.fixture
def port(server: Server, certificate: tuple[Path, Path]) -> Iterator[int]:
    with serving(server, *certificate) as found:
        yield found


@pytest.fixture
def access(port: int, certificate: tuple[Path, Path]) -> Access:
    secret = TOKEN.rpartition("=")[2]
    return Access(
        "127.0.0.1", "appliance@pve!install", secret, str(certificate[0]), port, timeout_s=2
    )


@pytest.fixture
def machines(access: Access) -> Machines:
    return Machines(ProxmoxerClient(access), MemoryRecorder(), QUICK)


def test_a_machine_is_made_with_both_cards_by_mapping(machines: Machines, server: Server) -> None:
    done = machines.create(SPEC)
    config = server.machines[done["vmid"]]
    assert done["changed"] is True
    assert config["hostpci0"] == "mapping=gpu0,pcie=1"
    assert config["hostpci1"] == "mapping=gpu1,pcie=1"
    assert (config["bios"], config["machine"]) == ("ovmf", "q35")
    assert "version=v2.0" in config["tpmstate0"]
    assert "size=1000G" in config["scsi1"]
    assert not [key for key in config if key.startswith("net")]


def test_making_it_again_changes_nothing(machines: Machines, server: Server) -> None:
    machines.create(SPEC)
    before = json.dumps(server.machines, sort_keys=True)
    again = machines.create(SPEC)
    assert again["changed"] is False
    assert json.dumps(server.machines, sort_keys=True) == before
    assert [c[0] for c in server.calls].count("POST") == 1


def test_a_changed_description_changes_only_what_differs(
    machines: Machines, server: Server
) -> None:
    vmid = machines.create(SPEC)["vmid"]
    wider = SPEC.model_copy(update={"cores": 24, "gpus": ("gpu0",), "bridge": "vmbr9"})
    done = machines.create(wider)
    assert set(done["set"]) == {"cores", "net0", "description"}
    assert done["unset"] == ["hostpci1"]
    assert server.machines[vmid]["cores"] == "24"
    assert "hostpci1" not in server.machines[vmid]
    assert machines.create(wider)["changed"] is False


def test_a_plan_changes_nothing(machines: Machines, server: Server) -> None:
    found = machines.plan(SPEC)
    assert found.kind == "create"
    assert not found.problems
    assert server.machines == {}
    assert {call[0] for call in server.calls} == {"GET"}


def test_the_seed_is_attached(machines: Machines, server: Server) -> None:
    seed = Seed(kind="autoinstall", installer="local:iso/ubuntu.iso", data="local:iso/seed.iso")
    vmid = machines.create(SPEC.model_copy(update={"seed": seed}))["vmid"]
    assert server.machines[vmid]["ide2"] == "local:iso/ubuntu.iso,media=cdrom"
    assert server.machines[vmid]["boot"] == "order=scsi0;ide2"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"gpus": ("gpu0", "gpu7")}, "no PCI resource mapping gpu7"),
        ({"gpus": ("gpu0", "gpu0")}, "named twice"),
        ({"storage": "nowhere"}, "no storage nowhere"),
        ({"node": "pve9"}, "no node pve9"),
        ({"memory_gib": 512}, "memory"),
        ({"bridge": "vmbr0"}, "not isolated: it has the ports eno1"),
        ({"bridge": "vmbr5"}, "no bridge vmbr5"),
        ({"data_gib": 9000}, "GiB free"),
    ],
)
def test_what_cannot_work_is_said_and_nothing_is_made(
    machines: Machines, server: Server, change: dict[str, Any], words: str
) -> None:
    with pytest.raises(VmConflictError) as caught:
        machines.create(SPEC.model_copy(update=change))
    assert words in caught.value.found
    assert server.machines == {}


def test_a_storage_for_other_things_is_refused(machines: Machines) -> None:
    with pytest.raises(ProxmoxRefusedError):
        machines.create(SPEC.model_copy(update={"storage": "local"}))


def test_somebody_elses_machine_is_never_touched(machines: Machines, server: Server) -> None:
    server.machines[200] = {"name": SPEC.name, "tags": "other", "description": "mail server"}
    before = dict(server.machines[200])
    with pytest.raises(VmConflictError):
        machines.create(SPEC)
    with pytest.raises(VmConflictError):
        machines.destroy(SPEC.name)
    assert server.machines[200] == before


def test_a_taken_number_is_a_conflict(machines: Machines, server: Server) -> None:
    server.machines[300] = {"name": "other"}
    with pytest.raises(VmConflictError) as caught:
        machines.create(SPEC.model_copy(update={"vmid": 300}))
    assert "300" in caught.value.found


def test_a_lock_is_waited_out_by_the_person(machines: Machines, server: Server) -> None:
    vmid = machines.create(SPEC)["vmid"]
    server.locks[vmid] = "backup"
    with pytest.raises(VmConflictError) as caught:
        machines.create(SPEC.model_copy(update={"cores": 8}))
    assert "backup" in caught.value.found
    with pytest.raises(VmConflictError):
        machines.destroy(SPEC.name)


def test_only_a_stopped_machine_is_removed(machines: Machines, server: Server) -> None:
    vmid = machines.create(SPEC)["vmid"]
    server.running[vmid] = "running"
    assert machines.status("", SPEC.name)["status"] == "running"
    with pytest.raises(VmConflictError):
        machines.destroy(SPEC.name)
    server.running[vmid] = "stopped"
    assert machines.destroy(SPEC.name)["changed"] is True
    assert machines.destroy(SPEC.name)["changed"] is False
    assert machines.status("", SPEC.name)["exists"] is False


def test_a_failed_task_is_a_failure_in_the_log(access: Access, server: Server) -> None:
    recorder = MemoryRecorder()
    server.faults["task"] = "unable to create image: no space left"
    with pytest.raises(ProxmoxTaskError) as caught:
        Machines(ProxmoxerClient(access), recorder, QUICK).create(SPEC)
    assert "no space left" in caught.value.found
    assert recorder.events[-1].outcome == "failure"


def test_a_task_that_never_ends_is_given_up(access: Access, server: Server) -> None:
    server.task_polls = 10_000
    patience = replace(QUICK, task_s=0.1)
    with pytest.raises(ProxmoxTaskError):
        Machines(ProxmoxerClient(access), MemoryRecorder(), patience).create(SPEC)


def test_a_server_that_says_ok_and_made_nothing_is_not_believed(
    machines: Machines, server: Server
) -> None:
    server.faults["forgets"] = True
    with pytest.raises(ProxmoxAnswerError):
        machines.create(SPEC)


@pytest.mark.parametrize("garbage", [b"<html>", b'{"data": 7}', b'{"data": [{"vmid": "x"}]}', b""])
def test_a_lying_server_is_refused(machines: Machines, server: Server, garbage: bytes) -> None:
    server.faults["garbage"] = garbage or b" "
    with pytest.raises(ProxmoxAnswerError):
        machines.plan(SPEC)


@pytest.mark.parametrize(
    ("status", "error"),
    [(403, ProxmoxRefusedError), (500, ProxmoxAnswerError), (503, ProxmoxAnswerError)],
)
def test_refusals_and_faults_of_the_server(
    machines: Machines, server: Server, status: int, error: type[Exception]
) -> None:
    server.faults["status"] = status
    with pytest.raises(error):
        machines.plan(SPEC)


def test_an_unknown_token_is_401(access: Access) -> None:
    wrong = replace(access, token_secret="wrong")
    with pytest.raises(ProxmoxRefusedError) as caught:
        Machines(ProxmoxerClient(wrong), MemoryRecorder(), QUICK).plan(SPEC)
    assert "401" in caught.value.found


def test_a_token_may_not_name_raw_pci(server: Server, access: Access) -> None:
    client = ProxmoxerClient(access)
    with pytest.raises(ProxmoxRefusedError):
        client.call("post", "nodes/pve1/qemu", vmid=100, hostpci0="0000:01:00,pcie=1")


def test_a_parameter_the_api_does_not_know_is_refused(access: Access) -> None:
    with pytest.raises(ProxmoxRefusedError) as caught:
        ProxmoxerClient(access).call("post", "nodes/pve1/qemu", vmid=100, nonsense=1)
    assert "400" in caught.value.found


def test_a_silent_server_and_a_foreign_certificate(access: Access, server: Server) -> None:
    with pytest.raises(ProxmoxUnreachableError):
        ProxmoxerClient(replace(access, ca=None)).call("get", "version")
    server.faults["silence"] = 3
    with pytest.raises(ProxmoxUnreachableError):
        ProxmoxerClient(replace(access, timeout_s=0.3)).call("get", "version")


def test_nobody_there(access: Access) -> None:
    with pytest.raises(ProxmoxUnreachableError):
        ProxmoxerClient(replace(access, port=1)).call("get", "version")


def _cli(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    import os

    return subprocess.run(
        [sys.executable, "-m", "appliance", "host", "vm", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, **environment},
    )


def test_the_command_plans_asks_makes_shows_and_removes(
    access: Access, server: Server, tmp_path: Path
) -> None:
    spec = tmp_path / "vm.yaml"
    spec.write_text("node: pve1\nname: hospital-ai\nstorage: fast\ngpus: [gpu0, gpu1]\n")
    secret = {"APPLIANCE_PROXMOX_TOKEN": access.token_secret}
    where = ["--server", access.host, "--port", str(access.port)]
    where += ["--token-id", access.token_id, "--ca", str(access.ca)]
    plan = _cli("create", str(spec), "--plan", "--json", *where, **secret)
    assert (plan.returncode, json.loads(plan.stdout)["action"]) == (0, "create")
    assert _cli("create", str(spec), *where, **secret).returncode == 11, "nobody said yes"
    assert server.machines == {}
    made = _cli("create", str(spec), "--yes", "--json", *where, **secret)
    assert (made.returncode, json.loads(made.stdout)["changed"]) == (0, True)
    shown = _cli("status", "hospital-ai", "--json", *where, **secret)
    assert json.loads(shown.stdout)["gpus"] == ["mapping=gpu0,pcie=1", "mapping=gpu1,pcie=1"]
    assert _cli("destroy", "hospital-ai", "--confirm", "other", *where, **secret).returncode == 1
    gone = _cli("destroy", "hospital-ai", "--confirm", "hospital-ai", *where, **secret)
    assert (gone.returncode, server.machines) == (0, {})
    assert server.free_bytes > GIB


def test_the_command_without_a_secret_or_with_a_wrong_file(tmp_path: Path) -> None:
    spec = tmp_path / "vm.yaml"
    spec.write_text("node: pve1\n")
    where = ["--server", "127.0.0.1", "--token-id", "a@pve!b"]
    assert _cli("create", str(spec), *where, APPLIANCE_PROXMOX_TOKEN="").returncode == 12
    done = _cli("create", str(spec), *where, APPLIANCE_PROXMOX_TOKEN="x")
    assert done.returncode == 100
    assert "Traceback" not in done.stderr
