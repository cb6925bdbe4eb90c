from __future__ import annotations

from pathlib import Path

import pytest

from appliance.core.errors.hardware import ProfileInvalidError
from appliance.hardware.catalogue import folder, shipped_profiles
from appliance.hardware.profile import load_profile, read_profile

GOOD = (folder() / "profiles" / "2x-rtx-5090.yaml").read_text(encoding="utf-8")


def test_the_named_profiles_ship_and_are_valid() -> None:
    assert set(shipped_profiles()) == {
        "2x-rtx-5090", "1x-rtx-5090", "3x-rtx-5090", "1x-h100", "1x-h200", "cpu-demo",
    }  # fmt: skip
    for name in shipped_profiles():
        assert load_profile(name).name == name


def test_the_target_asks_for_what_the_design_says() -> None:
    profile = load_profile("2x-rtx-5090")
    assert profile.gpu is not None
    assert (profile.gpu.count, profile.gpu.open_module, profile.gpu.cuda_min) == (2, True, "12.8")
    assert (profile.gpu.pcie_generation_min, profile.gpu.pcie_width_min) == (5, 16)
    assert profile.questions[0].minimum == 1200


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("gib_min: 60 ", "gib_min: -60 ", "memory.gib_min"),
        ("gib_min: 60 ", "gib_mim: 60 ", "memory.gib_mi"),
        ("count: 2", "count: 0", "gpu.count"),
        ("count: 2", "count: two", "gpu.count"),
        ("pcie_width_min: 16", "pcie_width_min: 5", "gpu.pcie_width_min"),
        ("schema: 1", "schema: 2", "schema"),
        ("name: 2x-rtx-5090", "name: ../../etc", "name"),
        ('driver_min: "570"', 'driver_min: "new"', "gpu.driver_min"),
        ("advised: [cpu.governor", "advised: [cpu.govenor", "cpu.govenor"),
    ],
)
def test_a_wrong_key_or_value_is_refused_by_name(
    tmp_path: Path, old: str, new: str, key: str
) -> None:
    assert old in GOOD
    path = tmp_path / "own.yaml"
    path.write_text(GOOD.replace(old, new), encoding="utf-8")
    with pytest.raises(ProfileInvalidError) as caught:
        load_profile(str(path))
    assert key in caught.value.found


@pytest.mark.parametrize(
    "data",
    [
        b"", b"[]", b"a: [", b"\xff\xfe", b"a: &a [*a]", b"!!python/object:os.system {}",
        b"- " * 4000, b"a: " + b"[" * 5000, b"x" * 2_000_000,
    ],
)  # fmt: skip
def test_a_file_that_is_no_profile_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "own.yaml"
    path.write_bytes(data)
    with pytest.raises(ProfileInvalidError):
        read_profile(path)


def test_an_unknown_name_lists_the_shipped_ones() -> None:
    with pytest.raises(ProfileInvalidError) as caught:
        load_profile("5x-abacus")
    assert "cpu-demo" in caught.value.expected


def test_a_hospitals_own_profile_is_read(tmp_path: Path) -> None:
    path = tmp_path / "ward.yaml"
    path.write_text(GOOD.replace("name: 2x-rtx-5090", "name: ward-server"), encoding="utf-8")
    assert load_profile(str(path)).name == "ward-server"
