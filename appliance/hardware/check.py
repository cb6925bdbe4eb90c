"""`hardware check`: collect or replay, judge, record."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from appliance.core.durable import read_json, write_json
from appliance.core.home import Home
from appliance.core.settings.hardware import HardwareSettings
from appliance.hardware.catalogue import catalogue_file
from appliance.hardware.inventory import Inventory
from appliance.hardware.judge import judge
from appliance.hardware.parse import parse
from appliance.hardware.probing import FILES, TREES, collect, gpu_readings
from appliance.hardware.profile import load_profile
from appliance.hardware.readings import FixedProbes
from appliance.hardware.recording import Recording, load_recording, save_recording
from appliance.hardware.verdict import Result


@dataclass(frozen=True)
class CheckRequest:
    """What is asked of one check."""

    profile: str
    record: Path | None = None
    replay: Path | None = None
    answers: dict[str, float] = field(default_factory=dict)
    language: str = "en"


def card_names() -> dict[str, str]:
    """Return PCI id -> card name, from the catalogue."""
    cards = catalogue_file("gpus.yaml")["gpus"]
    return {pci: card["name"] for card in cards for pci in card["pci_ids"]}


def probe_machine(settings: HardwareSettings) -> FixedProbes:
    """Collect the readings of this machine."""
    from appliance.hardware.nvml import NvmlChild, driver_present
    from appliance.hardware.system import LiveSystem

    system = LiveSystem(settings.command_seconds, settings.command_max_bytes)
    child = NvmlChild(settings.command_seconds)
    try:
        return collect(system, child.ask, nvidia_present=driver_present)
    finally:
        child.close()


def probe_plan(settings: HardwareSettings) -> FixedProbes:
    """Collect only what a plan needs: cards, processor and memory; no programs but NVML's."""
    from appliance.hardware.nvml import NvmlChild, driver_present
    from appliance.hardware.system import LiveSystem

    system = LiveSystem(settings.command_seconds, settings.command_max_bytes)
    child = NvmlChild(settings.command_seconds)
    try:
        readings = gpu_readings(system, child.ask, driver_present)
    finally:
        child.close()
    readings |= {name: TREES[name](system) for name in ("pci", "cpuinfo")}
    readings["meminfo"] = system.text(FILES["meminfo"])
    return FixedProbes(readings)


def answers_file(home: Home) -> Path:
    """Return where the installer's answers are kept."""
    return home.root / "hardware" / "answers.json"


def _answers(request: CheckRequest, home: Home) -> dict[str, float]:
    """Return the answers kept and given; those given are kept."""
    path = answers_file(home)
    kept = {str(k): float(v) for k, v in read_json(path).items()} if path.is_file() else {}
    if request.answers:
        write_json(path, kept | request.answers)
    return kept | request.answers


def take_inventory(replay: Path | None, settings: HardwareSettings) -> Inventory:
    """Return everything known of this machine, or of a recorded one."""
    if replay is not None:
        return parse(load_recording(replay, settings.file_max_bytes).probes, card_names())
    return parse(probe_machine(settings), card_names())


def run_check(
    request: CheckRequest, settings: HardwareSettings, home: Home
) -> tuple[Result, Inventory]:
    """Judge this machine, or a recording, by a profile."""
    profile = load_profile(request.profile)
    if request.replay is not None:
        recording = load_recording(request.replay, settings.file_max_bytes)
        probes, answers = recording.probes, recording.answers | request.answers
        state_path = "/"
    else:
        probes, answers = probe_machine(settings), _answers(request, home)
        state_path = str(home.root)
    if request.record is not None:
        save_recording(request.record, Recording(probes, answers, real=True))
    inventory = parse(probes, card_names())
    result = judge(
        inventory,
        profile,
        language=request.language,
        answers=answers,
        state_path=state_path,
    )
    return result, inventory
