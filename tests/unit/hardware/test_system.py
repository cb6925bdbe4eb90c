"""Programs that hang, babble or are not there; files of a copied /sys."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from appliance.hardware import trees
from appliance.hardware.probing import SMI, adjtimex, collect, gpu_readings, smart_disks
from appliance.hardware.readings import Reading, Status
from appliance.hardware.system import LiveSystem


def program(folder: Path, name: str, body: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
    path.chmod(0o755)


def system(folder: Path, seconds: float = 5.0, max_bytes: int = 100_000) -> LiveSystem:
    return LiveSystem(seconds, max_bytes, search_path=f"{folder}:/usr/bin:/bin")


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    reading = system(tmp_path).run(("nvidia-smi",))
    assert reading == Reading(Status.NO_TOOL, reason="nvidia-smi is not installed")


def test_a_program_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    program(tmp_path, "nvidia-smi", f"sleep 60 & echo $! > {tmp_path}/child; sleep 60")
    start = time.monotonic()
    reading = system(tmp_path, seconds=1.0).run(SMI)
    assert reading.status is Status.TIMEOUT
    assert time.monotonic() - start < 30
    child = int((tmp_path / "child").read_text(encoding="utf-8"))
    for _ in range(200):
        try:
            state = Path(f"/proc/{child}/stat").read_text(encoding="utf-8").split()[2]
        except FileNotFoundError:
            break
        if state == "Z":
            break
        time.sleep(0.05)
    else:
        pytest.fail("the child of a killed program lives on")


def test_a_program_that_babbles_is_ended(tmp_path: Path) -> None:
    program(tmp_path, "lsblk", "while :; do echo aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa; done")
    reading = system(tmp_path, seconds=30).run(("lsblk",))
    assert reading.status is Status.FAILED
    assert "more than" in reading.reason


def test_programs_run_in_the_c_locale_without_the_callers_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANG", "pt_BR.UTF-8")
    monkeypatch.setenv("SECRET", "hidden")
    program(tmp_path, "show", 'echo "$LC_ALL $LANG $SECRET"')
    assert system(tmp_path).run(("show",)).text.strip() == "C C"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("echo Permission denied >&2; exit 1", Status.DENIED),
        ("echo You must be root >&2; exit 1", Status.DENIED),
        ("echo something else >&2; exit 3", Status.FAILED),
        ("printf '\\377\\376'", Status.OK),
    ],
)
def test_how_a_program_ended_is_told(tmp_path: Path, body: str, status: Status) -> None:
    program(tmp_path, "tool", body)
    assert system(tmp_path).run(("tool",)).status is status


def test_smartctls_findings_are_not_its_failure(tmp_path: Path) -> None:
    program(tmp_path, "smartctl", 'echo \'{"smart_status": {"passed": false}}\'; exit 8')
    assert system(tmp_path).run(("smartctl",)).json() == {"smart_status": {"passed": False}}


def test_nvidia_smi_is_asked_only_when_nvml_cannot_answer(tmp_path: Path) -> None:
    program(tmp_path, "nvidia-smi", "echo asked")
    answered = Reading(Status.OK, "{}")
    got = gpu_readings(system(tmp_path), lambda: answered, lambda: True)
    assert got["nvidia-smi"].status is Status.ABSENT
    got = gpu_readings(system(tmp_path), lambda: Reading(Status.TIMEOUT), lambda: True)
    assert got["nvidia-smi"].text == "asked\n"
    got = gpu_readings(system(tmp_path), lambda: answered, lambda: False)
    assert {r.status for r in got.values()} == {Status.ABSENT}


def write(root: Path, path: str, text: str) -> None:
    target = root / path.lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")


@pytest.fixture
def sysfs(tmp_path: Path) -> LiveSystem:
    root = tmp_path / "root"
    card = "/sys/devices/pci0000:00/0000:00:01.0/0000:01:00.0"
    for name, text in {
        "class": "0x030000\n", "vendor": "0x10de\n", "device": "0x2b85\n",
        "current_link_width": "8\n", "max_link_width": "16\n",
        "current_link_speed": "32.0 GT/s PCIe\n",
        "resource": "0x0000000000000000 0x0000000003ffffff 0x0000000000040200\n"
        "0x0000000000000000 0x0000000000000000 0x0000000000000000\n",
    }.items():  # fmt: skip
        write(root, f"{card}/{name}", text)
    write(root, "/sys/devices/pci0000:00/0000:00:01.0/class", "0x060400\n")
    links = root / "sys/bus/pci/devices"
    links.mkdir(parents=True)
    (links / "0000:01:00.0").symlink_to(root / card.lstrip("/"))
    (links / "0000:00:01.0").symlink_to(root / "sys/devices/pci0000:00/0000:00:01.0")
    (root / card.lstrip("/") / "driver").symlink_to("../../../bus/pci/drivers/nvidia")
    write(root, "/sys/class/tpm/tpm0/tpm_version_major", "2\n")
    guid = "8be4df61-93ca-11d2-aa0d-00e098032b8c"
    write(root, f"/sys/firmware/efi/efivars/SecureBoot-{guid}", "\x06\x00\x00\x00\x01")
    write(root, "/sys/class/hwmon/hwmon0/name", "k10temp\n")
    write(root, "/sys/class/hwmon/hwmon0/temp1_input", "47250\n")
    write(root, "/sys/class/net/eth0/address", "02:00:00:00:00:01\n")
    write(root, "/sys/class/net/eth0/speed", "1000\n")
    block = "processor\t: 0\nphysical id\t: {}\nmodel name\t: Test\ncpu cores\t: 4\n"
    write(root, "/proc/cpuinfo", "\n".join(block.format(n) for n in (0, 0, 1, 1)))
    return LiveSystem(root=str(root), search_path=str(tmp_path / "nothing"))


def test_pci_shows_link_driver_bars_and_parent(sysfs: LiveSystem) -> None:
    table = trees.pci(sysfs).json()
    assert set(table) == {"0000:00:01.0", "0000:01:00.0"}
    card = table["0000:01:00.0"]
    assert (card["current_link_width"], card["driver"]) == ("8", "nvidia")
    assert (card["parent"], card["bars"][:2]) == ("0000:00:01.0", [1 << 26, 0])


def test_the_other_trees(sysfs: LiveSystem) -> None:
    assert trees.tpm(sysfs).json() == {"tpm0": {"tpm_version_major": "2"}}
    assert trees.efi(sysfs).json() == {"uefi": True, "SecureBoot": 1, "SetupMode": None}
    assert trees.sensors(sysfs).json()["hwmon0"]["temp1_input"] == "47250"
    assert "address" not in trees.net(sysfs).text
    assert trees.cpuinfo(sysfs).text.count("processor") == 2
    assert trees.edac(sysfs).status is Status.ABSENT


def test_everything_is_collected_once_and_nothing_raises(sysfs: LiveSystem) -> None:
    probes = collect(sysfs, lambda: Reading(Status.FAILED), nvidia_present=lambda: False)
    assert probes.read("lsblk").status is Status.NO_TOOL
    assert probes.read("pci").ok
    assert probes.read("no such probe").status is Status.NOT_RECORDED


def test_a_folder_where_a_file_should_be_is_no_crash(tmp_path: Path) -> None:
    assert LiveSystem().text(str(tmp_path)).status is Status.FAILED
    assert LiveSystem().text(str(tmp_path / "none")).status is Status.ABSENT
    assert LiveSystem().text(f"{os.devnull}/x").status is Status.ABSENT


def test_the_kernel_tells_of_its_clock() -> None:
    value = adjtimex().json()
    assert 0 <= value["state"] <= 5
    assert 0 <= value["status"] < 1 << 16


def test_only_real_disks_are_asked_for_their_health() -> None:
    rows = [{"name": n} for n in ("nvme0n1", "sda", "vda", "zram0", "loop1", "sd;rm")]
    reading = Reading(Status.OK, json.dumps({"blockdevices": rows}))
    assert smart_disks(reading) == ["nvme0n1", "sda"]
    assert smart_disks(Reading(Status.OK, "[]")) == []
