"""Where `hardware plan` gets its machine from: a profile, cards, a recording, or this machine."""

from __future__ import annotations

from pathlib import Path

from appliance.core.errors.hardware import RecordingInvalidError
from appliance.core.home import Home
from appliance.core.settings.hardware import HardwareSettings
from appliance.hardware.bench_store import last_bench
from appliance.hardware.check import card_names, probe_plan
from appliance.hardware.machine import from_cards, from_inventory, from_profile, measured
from appliance.hardware.parse import parse
from appliance.hardware.plan import Machine
from appliance.hardware.profile import load_profile
from appliance.hardware.recording import load_recording

# A smaller model is timed by the cost of each call, not by the memory: it says nothing of others.
SMALLEST_MODEL_BYTES = 100_000_000


def machine_for(
    settings: HardwareSettings,
    home: Home,
    *,
    profile: str | None,
    cards: str | None,
    replay: Path | None,
) -> Machine:
    """Return the machine to plan for; this one's measurements count for this one only."""
    if cards is not None:
        return from_cards(cards)
    if profile is not None:
        return from_profile(load_profile(profile))
    if replay is not None:
        probes = load_recording(replay, settings.file_max_bytes).probes
    else:
        probes = probe_plan(settings)
    machine = from_inventory(parse(probes, card_names()))
    if machine is None:
        raise RecordingInvalidError(
            expected="cards or main memory that can be read", found="neither could be read"
        )
    return machine if replay is not None else with_bench(machine, home)


def with_bench(machine: Machine, home: Home) -> Machine:
    """Replace assumed speeds by those `hardware bench` measured on these very places."""
    last = last_bench(home, with_model=True)
    if last is None or last.machine != machine.name:
        return machine
    if last.decode_efficiency is None or last.prompt_flops is None:
        return machine
    if (last.model_read_bytes or 0) < SMALLEST_MODEL_BYTES:
        return machine
    return measured(
        machine,
        bandwidth=last.memory_bandwidth,
        decode=last.decode_efficiency,
        prompt_flops=last.prompt_flops,
    )
