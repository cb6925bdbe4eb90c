"""Every shipped recording gets its right verdict, with a remedy a technician can carry out."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance.hardware.catalogue import folder
from appliance.hardware.check import card_names
from appliance.hardware.judge import CHECK_NAMES, judge
from appliance.hardware.parse import parse
from appliance.hardware.profile import load_profile
from appliance.hardware.readings import FixedProbes, Reading, Status
from appliance.hardware.recording import load_recording
from appliance.hardware.verdict import Result

TARGET = "2x-rtx-5090"
ONE = "1x-rtx-5090"
# recording -> profile, ok, the checks that did not pass (those that matter most), word of a remedy
CASES: dict[str, tuple[str, bool, dict[str, str], str]] = {
    "target-2x-rtx-5090": (TARGET, True, {}, ""),
    "target-before-install": (
        TARGET,
        False,
        {
            "disk.health": "unknown",
            "question.power_supply_watts": "unknown",
            "engine.docker": "warn",
        },
        "sudo",
    ),
    "driver-missing": (TARGET, False, {"gpu.driver": "fail", "gpu.memory": "unknown"}, "570"),
    "closed-module": (
        TARGET,
        False,
        {"gpu.kernel_module": "fail", "gpu.memory": "unknown"},
        "-open",
    ),
    "x4-slot": (TARGET, False, {"gpu.pcie_width": "fail"}, "slot wired x16"),
    "throttling": (TARGET, False, {"gpu.throttling": "fail", "gpu.temperature": "fail"}, "fans"),
    "mixed-cards": (TARGET, False, {"gpu.model": "fail", "gpu.memory": "fail"}, "equal cards"),
    "card-24-gb": (ONE, False, {"gpu.model": "fail", "gpu.memory": "fail"}, "too small"),
    "no-tpm": (TARGET, False, {"platform.tpm": "fail"}, "fTPM"),
    "no-resizable-bar": (TARGET, False, {"gpu.resizable_bar": "fail"}, "Above 4G"),
    "card-gone": (TARGET, False, {"gpu.count": "fail"}, "reseat"),
    "disk-failing": (
        TARGET,
        False,
        {"disk.health": "fail", "clock.synchronised": "fail"},
        "replace the named disk",
    ),
    "wsl": (ONE, False, {"platform.virtualisation": "fail"}, "machine itself"),
    "vm-passthrough": (TARGET, True, {"disk.system": "warn", "disk.health": "warn"}, "host"),
    "nvidia-smi-hangs": (
        TARGET,
        False,
        {"gpu.driver": "unknown", "gpu.memory": "unknown", "gpu.throttling": "unknown"},
        "restart the machine",
    ),
    "nvidia-smi-garbage": (TARGET, False, {"gpu.driver": "unknown", "gpu.cuda": "unknown"}, "root"),
    "nvidia-smi-other-locale": (
        TARGET,
        False,
        {"gpu.driver": "unknown", "gpu.memory": "unknown", "gpu.temperature": "unknown"},
        "root",
    ),
    "nvidia-smi-only": (TARGET, True, {}, ""),
    "half-a-recording": (
        TARGET,
        False,
        {"recording.complete": "unknown", "gpu.count": "unknown", "platform.tpm": "unknown"},
        "--record",
    ),
    "1x-h200": ("1x-h200", True, {}, ""),
    "1x-h100-mig": ("1x-h100", False, {"gpu.mig": "fail", "gpu.ecc": "fail"}, "-mig 0"),
    "small-machine": ("cpu-demo", True, {"clock.synchronised": "warn"}, "NTP"),
}


def judged(name: str, profile: str, language: str = "en") -> Result:
    recording = load_recording(folder() / "recordings" / name, 1_048_576)
    inventory = parse(recording.probes, card_names())
    return judge(inventory, load_profile(profile), language=language, answers=recording.answers)


def test_every_recording_is_judged_here() -> None:
    names = {p.name for p in (folder() / "recordings").iterdir() if p.is_dir()}
    assert names == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_verdict(name: str) -> None:
    profile, ok, wanted, word = CASES[name]
    result = judged(name, profile)
    got = {c.name: c for c in result.checks}
    assert result.ok is ok
    assert {k: got[k].status for k in wanted} == wanted
    if ok:
        assert all(c.status in {"pass", "warn"} for c in result.checks)
    assert word in " ".join(c.remedy for c in result.checks)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("language", ["en", "pt-BR"])
def test_each_check_says_what_to_do_unless_it_passed(name: str, language: str) -> None:
    result = judged(name, CASES[name][0], language)
    for check in result.checks:
        assert check.expected
        assert check.found
        assert bool(check.remedy) is (check.status != "pass"), check
        assert "{" not in check.remedy + check.found + check.expected


@pytest.mark.parametrize("name", CASES)
def test_languages_give_the_same_verdict(name: str) -> None:
    english, portuguese = judged(name, CASES[name][0]), judged(name, CASES[name][0], "pt-BR")
    assert [(c.name, c.status) for c in english.checks] == [
        (c.name, c.status) for c in portuguese.checks
    ]


def test_json_has_exactly_the_promised_keys() -> None:
    value = judged("target-2x-rtx-5090", TARGET).to_dict()
    assert set(value) == {"ok", "profile", "checks"}
    assert all(set(c) == {"name", "status", "expected", "found", "remedy"} for c in value["checks"])
    assert json.dumps(value)


def test_recordings_say_where_they_come_from_and_hold_no_identifiers() -> None:
    for path in (folder() / "recordings").iterdir():
        recording = load_recording(path, 1_048_576)
        assert recording.note
        assert recording.real is (path.name == "small-machine")
        if not recording.real:
            assert "not taken from a machine" in recording.note


TARGET_PROBES = load_recording(folder() / "recordings" / "target-2x-rtx-5090", 1_048_576)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sets(st.sampled_from(sorted(TARGET_PROBES.probes.readings)), min_size=1),
    st.sampled_from([s for s in Status if s not in {Status.OK, Status.ABSENT}]),
)
def test_what_is_not_known_is_never_passed(lost: set[str], status: Status) -> None:
    readings = TARGET_PROBES.probes.readings | {n: Reading(status, reason="test") for n in lost}
    whole = judge(
        parse(TARGET_PROBES.probes, card_names()),
        load_profile(TARGET),
        answers=TARGET_PROBES.answers,
    )
    less = judge(
        parse(FixedProbes(readings), card_names()),
        load_profile(TARGET),
        answers=TARGET_PROBES.answers,
    )
    passed = {c.name for c in whole.checks if c.status == "pass"}
    for check in less.checks:
        assert check.status != "pass" or check.name in passed
        assert check.status != "fail", f"{check.name}: not knowing is not failing"


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(
        st.sampled_from(sorted(TARGET_PROBES.probes.readings)),
        st.text(max_size=200)
        | st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=8),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.text(max_size=8), inner, max_size=3)
            ),
        ).map(json.dumps),
        min_size=1,
    )
)
def test_garbage_in_any_probe_never_raises(garbage: dict[str, str]) -> None:
    readings = TARGET_PROBES.probes.readings | {
        n: Reading(Status.OK, text) for n, text in garbage.items()
    }
    result = judge(parse(FixedProbes(readings), card_names()), load_profile(TARGET))
    assert result.checks


def test_the_installers_answer_decides_the_question() -> None:
    inventory = parse(TARGET_PROBES.probes, card_names())
    profile = load_profile(TARGET)
    for watts, status in ((1199.0, "fail"), (1200.0, "pass")):
        result = judge(inventory, profile, answers={"power_supply_watts": watts})
        check = next(c for c in result.checks if c.name.startswith("question."))
        assert check.status == status


def test_less_than_recommended_memory_warns_and_too_little_fails() -> None:
    inventory = parse(TARGET_PROBES.probes, card_names())
    profile = load_profile(TARGET)
    for gib, status in ((125, "pass"), (64, "warn"), (32, "fail")):
        inventory.memory = replace(inventory.memory, total_bytes=gib << 30)
        result = judge(inventory, profile, answers=TARGET_PROBES.answers)
        assert {c.name: c.status for c in result.checks}["memory.size"] == status


def test_free_space_is_that_of_the_states_own_file_system() -> None:
    inventory = parse(TARGET_PROBES.probes, card_names())
    inventory.free_bytes = {"/": 10**9, "/srv/data": 10**13}
    profile = load_profile(TARGET)
    for path, status in (("/var/lib/appliance", "fail"), ("/srv/data/appliance", "pass")):
        result = judge(inventory, profile, answers=TARGET_PROBES.answers, state_path=path)
        assert {c.name: c.status for c in result.checks}["disk.free"] == status


def test_check_names_are_those_that_can_be_advised() -> None:
    seen = {
        c.name
        for name, case in CASES.items()
        for c in judged(name, case[0]).checks
        if not c.name.startswith("question.")
    }
    assert seen <= set(CHECK_NAMES)
