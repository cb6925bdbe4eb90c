"""The cards: driver, module, kernel, container access. Only where there are cards."""

from __future__ import annotations

import re

from appliance.host.checks import Check, Question
from appliance.host.machine import Machine

_NVIDIA = "0x10de"
_DISPLAY = "0x03"
CDI_FILES = ("/etc/cdi/nvidia.yaml", "/run/cdi/nvidia.yaml", "/var/run/cdi/nvidia.yaml")
_AGAIN = "Run: appliance host provision."


def nvidia_checks(machine: Machine) -> list[Check]:
    """Return the checks of the cards; one line saying that there is none where there is none."""
    cards = _cards(machine)
    if not cards:
        there = Question("nvidia", "what the cards need, where there are cards", "")
        return [there.judged(ok=True, found="no NVIDIA card on the PCI bus")]
    return [
        _module(machine),
        _match(machine),
        _held(machine),
        _cdi(machine, cards),
        *_smi(machine, cards),
    ]


def _cards(machine: Machine) -> int:
    base = "/sys/bus/pci/devices"
    return sum(
        machine.text(f"{base}/{slot}/vendor").text.strip() == _NVIDIA
        and machine.text(f"{base}/{slot}/class").text.startswith(_DISPLAY)
        for slot in machine.children(base)
    )


def _module(machine: Machine) -> Check:
    question = Question(
        "nvidia-module",
        "the open kernel module is loaded",
        f"{_AGAIN} Cards of the 50 series answer 'No devices found' to the closed one.",
    )
    reading = machine.text("/proc/driver/nvidia/version")
    found = reading.text.splitlines()[0] if reading.text else "no module is loaded"
    return question.judged("Open Kernel Module" in found, found)


def _match(machine: Machine) -> Check:
    question = Question(
        "nvidia-driver",
        "library and module of one version",
        "Restart the machine, then look again.",
    )
    reading = machine.run(["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"])
    if not reading.ok:
        return question.unknown(reading)
    library = sorted({line.strip() for line in reading.text.splitlines() if line.strip()})
    version = re.search(
        r"\b(\d+\.\d+(?:\.\d+)?)\b", machine.text("/proc/driver/nvidia/version").text
    )
    module = version[1] if version else "none"
    return question.judged(library == [module], f"library {', '.join(library)}, module {module}")


def _held(machine: Machine) -> Check:
    question = Question(
        "nvidia-hold",
        "kernel and driver packages held together",
        f"{_AGAIN} A kernel without its module leaves the cards unseen.",
    )
    reading = machine.run(["apt-mark", "showhold"])
    if not reading.ok:
        return question.unknown(reading)
    held = reading.text.split()
    kernel = any(name.startswith("linux-image") for name in held)
    driver = any(
        name.startswith(("nvidia-", "libnvidia-", "linux-modules-nvidia")) for name in held
    )
    missing = [word for word, there in (("kernel", kernel), ("driver", driver)) if not there]
    return question.differing(
        [f"{word} not held" for word in missing], f"{len(held)} packages held"
    )


def _cdi(machine: Machine, cards: int) -> Check:
    question = Question(
        "nvidia-cdi", f"a CDI description of {cards} cards", "Run: nvidia-ctk cdi generate."
    )
    text = next((r.text for r in map(machine.text, CDI_FILES) if r.ok), "")
    if not text:
        return question.judged(ok=False, found="none")
    named = len(set(re.findall(r"^\s*-?\s*name:\s*['\"]?(\d+)['\"]?\s*$", text, re.MULTILINE)))
    return question.judged("nvidia.com/gpu" in text and named >= cards, f"{named} cards described")


def _smi(machine: Machine, cards: int) -> list[Check]:
    persistence = Question("nvidia-persistence", "persistence mode on for every card", _AGAIN)
    reading = machine.run(["nvidia-smi", "--query-gpu=persistence_mode", "--format=csv,noheader"])
    if not reading.ok:
        return [persistence.unknown(reading)]
    modes = [line.strip() for line in reading.text.splitlines() if line.strip()]
    ok = len(modes) == cards and set(modes) == {"Enabled"}
    return [persistence.judged(ok, f"{', '.join(modes)} on {len(modes)} of {cards} cards")]
