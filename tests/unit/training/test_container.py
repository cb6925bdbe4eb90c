"""What the engine is asked for when a trainer runs in a container; no engine is needed here."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from appliance.core.errors import HomeUnusableError, ImageRefusedError
from appliance.core.settings.training import TrainingSettings
from appliance.training.container import Box, append_log, connect, container_name, devices, options

IMAGE = "sha256:" + "a" * 64


def test_everything_is_closed_but_the_folder_and_the_weights(tmp_path: Path) -> None:
    profile = tmp_path / "seccomp.json"
    profile.write_text("{}", encoding="ascii")
    run, base = tmp_path / "run", tmp_path / "base"
    settings = TrainingSettings(
        runner="container", image=IMAGE, seccomp=profile, apparmor="appliance-service"
    )
    asked = options(Box(run, readable=[base], seed=7), settings, "10001:10000")
    assert asked["image"] == IMAGE and asked["user"] == "10001:10000"
    assert asked["network_mode"] == "none" and asked["read_only"] is True
    assert asked["cap_drop"] == ["ALL"] and "cap_add" not in asked and "privileged" not in asked
    assert asked["security_opt"] == [
        "no-new-privileges:true",
        "seccomp={}",
        "apparmor=appliance-service",
    ]
    mounts = {m["Source"]: m.get("ReadOnly", False) for m in asked["mounts"]}
    assert mounts == {str(run): False, str(base): True}
    assert asked["mem_limit"] == asked["memswap_limit"] == 48 << 30
    assert asked["pids_limit"] == 1024 and asked["device_requests"] == []
    assert asked["environment"]["HF_HUB_OFFLINE"] == "1"
    assert asked["environment"]["HOME"] == str(run / "cache")
    assert not {"PATH", "PYTHONPATH", "HF_TOKEN"} & asked["environment"].keys()


def test_cards_are_asked_for_by_the_name_they_have() -> None:
    (cdi,) = devices(["nvidia.com/gpu=0", "nvidia.com/gpu=1"])
    assert (cdi["Driver"], cdi["DeviceIDs"]) == ("cdi", ["nvidia.com/gpu=0", "nvidia.com/gpu=1"])
    (every,) = devices(["all"])
    assert (every["Count"], every["Capabilities"]) == (-1, [["gpu"]])
    (some,) = devices(["0", "2"])
    assert (some["Driver"], some["DeviceIDs"]) == ("nvidia", ["0", "2"])
    assert devices([]) == []


def test_a_folder_has_one_container(tmp_path: Path) -> None:
    assert container_name(tmp_path / "a") != container_name(tmp_path / "b")
    assert container_name(tmp_path / "a") == container_name(tmp_path / "a")


@pytest.mark.parametrize("named", ["", "appliance/trainer:0.1.0", "sha256:abc", IMAGE + "a"])
def test_an_image_without_its_identifier_is_refused_before_the_engine_is_asked(named: str) -> None:
    with pytest.raises(ImageRefusedError):
        connect(TrainingSettings(runner="container", image=named))


def test_the_log_is_never_written_through_what_the_trainer_put_there(tmp_path: Path) -> None:
    secret, log = tmp_path / "secret", tmp_path / "worker.log"
    secret.write_text("keep", encoding="ascii")
    log.symlink_to(secret)
    with pytest.raises(HomeUnusableError, match="worker"):
        append_log(log, b"x")
    assert secret.read_text(encoding="ascii") == "keep"
    log.unlink()
    os.mkfifo(log)
    reader = os.open(log, os.O_RDONLY | os.O_NONBLOCK)
    append_log(log, b"x")
    assert os.read(reader, 10) == b""
    os.close(reader)
    log.unlink()
    append_log(log, b"one ")
    append_log(log, b"two")
    assert log.read_bytes() == b"one two"
