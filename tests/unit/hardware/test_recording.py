from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.core.errors.hardware import RecordingInvalidError
from appliance.hardware.readings import FixedProbes, Reading, Status
from appliance.hardware.recording import INDEX, Recording, load_recording, save_recording
from appliance.hardware.redact import MARK, redact

LIMIT = 100_000
READINGS = {
    "lsblk": Reading(Status.OK, json.dumps({"blockdevices": [{"name": "sda", "serial": "S1"}]})),
    "kernel": Reading(Status.OK, "Linux version 6.8.0-1 (builder@host7) (gcc)"),
    "tpm": Reading(Status.ABSENT, reason="none"),
}


def test_a_recording_comes_back_redacted(tmp_path: Path) -> None:
    save_recording(tmp_path / "rec", Recording(FixedProbes(READINGS), {"w": 1.0}, real=True))
    back = load_recording(tmp_path / "rec", LIMIT)
    assert back.real
    assert back.answers == {"w": 1.0}
    assert back.probes.read("lsblk").json()["blockdevices"][0] == {"name": "sda", "serial": MARK}
    assert "host7" not in back.probes.read("kernel").text
    assert back.probes.read("kernel").text.startswith("Linux version 6.8.0-1")
    assert back.probes.read("tpm") == READINGS["tpm"]


def test_recording_over_something_is_refused(tmp_path: Path) -> None:
    (tmp_path / "keep").write_text("mine", encoding="utf-8")
    with pytest.raises(RecordingInvalidError):
        save_recording(tmp_path, Recording(FixedProbes(READINGS)))
    assert (tmp_path / "keep").read_text(encoding="utf-8") == "mine"


def test_half_a_recording_says_which_half(tmp_path: Path) -> None:
    save_recording(tmp_path / "rec", Recording(FixedProbes(READINGS)))
    (tmp_path / "rec" / "lsblk.txt").unlink()
    reading = load_recording(tmp_path / "rec", LIMIT).probes.read("lsblk")
    assert reading.status is Status.NOT_RECORDED


@pytest.mark.parametrize(
    "index",
    [
        "", "{", "[]", '{"format": 2, "origin": "real", "probes": {}}',
        '{"format": 1, "origin": "real", "probes": {"../etc/passwd": {"status": "ok"}}}',
        '{"format": 1, "origin": "real", "probes": {"a": {"status": "fine"}}}',
        '{"format": 1, "origin": "real", "probes": {}, "extra": 1}',
        '{"format": 1, "origin": "real", "answers": {"a": "b"}, "probes": {}}',
    ],
)  # fmt: skip
def test_a_damaged_index_is_refused(tmp_path: Path, index: str) -> None:
    (tmp_path / INDEX).write_text(index, encoding="utf-8")
    with pytest.raises(RecordingInvalidError):
        load_recording(tmp_path, LIMIT)


def test_no_recording_and_one_too_large_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordingInvalidError):
        load_recording(tmp_path / "none", LIMIT)
    save_recording(tmp_path / "rec", Recording(FixedProbes(READINGS)))
    (tmp_path / "rec" / "kernel.txt").write_text("x" * (LIMIT + 1), encoding="utf-8")
    with pytest.raises(RecordingInvalidError):
        load_recording(tmp_path / "rec", LIMIT)


SECRETS = {
    "02:42:AC:11:00:02": "link/ether 02:42:AC:11:00:02 brd",
    "7f3c2a10-1111-2222-3333-444455556666": "UUID=7f3c2a10-1111-2222-3333-444455556666",
    "S6Z1NX0R123456": "\tSerial Number: S6Z1NX0R123456",
    "ward-pc-7": "ward-pc-7 kernel: hello",
    "nurse1": "/dev/sdb1 1 1 1 1% /media/nurse1/STICK",
    "eui.0025385b21404d5a": "wwn eui.0025385b21404d5a",
}


@pytest.mark.parametrize("secret", SECRETS)
def test_what_names_a_machine_is_taken_out_of_text(secret: str) -> None:
    shown = redact(SECRETS[secret], ("ward-pc-7",))
    assert secret not in shown
    assert MARK in shown


@pytest.mark.parametrize(
    "key", ["serial", "serial_number", "uuid", "address", "wwn", "eui64", "hostname", "asset_tag"]
)
def test_what_names_a_machine_is_taken_out_of_json(key: str) -> None:
    text = json.dumps({"outer": [{key: "VALUE123", "model": "Disk"}]})
    assert json.loads(redact(text)) == {"outer": [{key: MARK, "model": "Disk"}]}


def test_what_judging_needs_stays() -> None:
    text = json.dumps({"size": 2000398934016, "bus_id": "0000:01:00.0", "version": "570.153.02"})
    assert json.loads(redact(text, (socket.gethostname(),))) == json.loads(text)


@given(st.from_regex(r"([0-9a-f]{2}:){5}[0-9a-f]{2}", fullmatch=True), st.text(max_size=20))
def test_no_mac_survives(mac: str, around: str) -> None:
    assert mac not in redact(f"{around} {mac} {around}".replace(mac.upper(), ""))


def test_the_shipped_recordings_are_redacted() -> None:
    from appliance.hardware.catalogue import folder

    for path in (folder() / "recordings").rglob("*.txt"):
        text = path.read_text(encoding="utf-8")
        again = redact(text)
        try:
            assert json.loads(again) == json.loads(text), path
        except ValueError:
            assert again.replace(f" {MARK}", "") == text.replace(f" {MARK}", ""), path
