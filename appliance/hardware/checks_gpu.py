"""The checks of the graphics cards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from appliance.hardware.inventory import Gpu
from appliance.hardware.profile import GpuRule
from appliance.hardware.values import version
from appliance.hardware.verdict import Bench, spelled

GIB = 1 << 30
# nvmlClocksEventReasons (nvml.h): those that mean trouble; idle, application clocks and the
# software power cap (normal under full load) do not.
TROUBLE = {
    0x08: "reason_hw",
    0x20: "reason_sw_thermal",
    0x40: "reason_hw_thermal",
    0x80: "reason_power_brake",
}
_TROUBLES = sum(TROUBLE)
# A BAR1 this share of the card's memory or more is a resized one; without it, it is 256 MiB.
_RESIZED = 0.9


def gpu_checks(bench: Bench) -> None:
    """Judge the cards, if the profile asks for any."""
    rule = bench.profile.gpu
    if rule is None:
        return
    gpus = bench.inventory.gpus
    wanted = bench.say("cards", count=rule.count, models=_models(bench, rule))
    if gpus is None:
        bench.unknown("gpu.count", wanted, "pci", "nvml", "nvidia-smi")
        return
    known = [g for g in gpus if g.name in rule.models]
    found = ", ".join(_named(g) for g in gpus) or bench.say("none")
    bench.judge("gpu.count", len(gpus) >= rule.count, wanted, found)
    if not gpus:
        return
    bench.judge("gpu.model", len(known) == len(gpus), _models(bench, rule), found)
    _driver(bench, rule)
    _memory(bench, rule, gpus)
    _links(bench, rule, gpus)
    _condition(bench, rule, gpus)


def _named(gpu: Gpu) -> str:
    return gpu.name or f"PCI {gpu.pci_id or gpu.bus_id}"


def _models(bench: Bench, rule: GpuRule) -> str:
    return f" {bench.say('or')} ".join(rule.models)


def _driver(bench: Bench, rule: GpuRule) -> None:
    """Driver version, CUDA and the kind of kernel module."""
    say, driver = bench.say, bench.inventory.driver
    wanted = say("version_min", version=rule.driver_min)
    loaded = driver.version
    answering = driver.source in {"nvml", "nvidia-smi"}
    if loaded is None:
        bench.unknown("gpu.driver", wanted, "nvml", "nvidia-version")
    elif not loaded:
        bench.judge("gpu.driver", False, wanted, say("no_driver"), version=rule.driver_min)  # noqa: FBT003 - judged: no
    elif not answering and driver.open_module is not False:
        bench.unknown("gpu.driver", wanted, "nvml", "nvidia-smi")
    else:
        good = (version(loaded) or ()) >= (version(rule.driver_min) or ())
        bench.judge("gpu.driver", good, wanted, loaded, version=rule.driver_min)
    _cuda(bench, rule)
    if rule.open_module and loaded != "":
        module = driver.open_module
        text = {True: say("open_module"), False: say("closed_module"), None: ""}[module]
        bench.judge("gpu.kernel_module", module, say("open_module"), text, topics="nvidia-version")


def _cuda(bench: Bench, rule: GpuRule) -> None:
    cuda = version(bench.inventory.driver.cuda)
    wanted = bench.say("version_min", version=rule.cuda_min)
    good = None if cuda is None else cuda >= (version(rule.cuda_min) or ())
    if bench.inventory.driver.version == "":
        return  # the driver's own check says what to do
    found = bench.inventory.driver.cuda or ""
    bench.judge("gpu.cuda", good, wanted, found, version=rule.cuda_min, topics="nvml nvidia-smi")


@dataclass(frozen=True)
class Measure:
    """One value of every card: how to read it, when it is good, how to show it."""

    name: str
    wanted: str
    value: Callable[[Gpu], Any]
    good: Callable[[Any], bool]
    show: Callable[[Any], str] = str


def _each(bench: Bench, what: Measure, gpus: list[Gpu], **fields: object) -> None:
    """Judge one value of every card: a bad one decides, else an unknown one, else it passes."""
    values = [(g, what.value(g)) for g in gpus]
    shown = ", ".join(f"{g.bus_id}: {'?' if v is None else what.show(v)}" for g, v in values)
    known = [what.good(v) for _, v in values if v is not None]
    if known and not all(known):
        bench.judge(what.name, False, what.wanted, shown, **fields)  # noqa: FBT003 - judged: no
    elif len(known) < len(values):
        bench.unknown(what.name, what.wanted, "nvml", "nvidia-smi", "nvidia-version", "pci")
    else:
        bench.judge(what.name, True, what.wanted, shown)  # noqa: FBT003 - judged: yes


def _memory(bench: Bench, rule: GpuRule, gpus: list[Gpu]) -> None:
    wanted = bench.say("at_least", value=spelled(rule.memory_gib_min), unit="GiB")
    measure = Measure(
        "gpu.memory",
        bench.say("each_card", value=wanted),
        lambda g: g.vram_bytes,
        lambda v: v >= rule.memory_gib_min * GIB,
        lambda v: f"{spelled(v / GIB)} GiB",
    )
    _each(bench, measure, gpus)


def _links(bench: Bench, rule: GpuRule, gpus: list[Gpu]) -> None:
    """PCIe width now and generation at most (an idle card lowers its generation, not its width)."""
    if (need := rule.pcie_width_min) is not None:
        width = Measure(
            "gpu.pcie_width",
            f"x{need}",
            lambda g: g.pcie_width,
            lambda v: v >= need,
            lambda v: f"x{v}",
        )
        _each(bench, width, gpus, width=need)
    if (least := rule.pcie_generation_min) is not None:
        wanted = bench.say("version_min", version=least)
        generation = Measure(
            "gpu.pcie_generation", wanted, lambda g: g.pcie_gen_max, lambda v: v >= least
        )
        _each(bench, generation, gpus, generation=least)
    if rule.resizable_bar:
        floor = rule.memory_gib_min * GIB * _RESIZED
        bar = Measure(
            "gpu.resizable_bar",
            bench.say("on"),
            lambda g: g.bar1_bytes,
            lambda v: v >= floor,
            lambda v: f"BAR1 {spelled(v / (1 << 20))} MiB",
        )
        _each(bench, bar, gpus)


def _condition(bench: Bench, rule: GpuRule, gpus: list[Gpu]) -> None:
    """Speed, heat, power, error correction and partitioning, as the driver tells them."""
    if bench.inventory.driver.version == "":
        return  # nothing can be asked without a driver; its own check failed
    say = bench.say
    names = {bit: say(key) for bit, key in TROUBLE.items()}

    def reasons(value: int) -> str:
        return ", ".join(n for bit, n in names.items() if value & bit) or say("not_throttled")

    full = say("not_throttled")
    speed = Measure(
        "gpu.throttling", full, lambda g: g.throttle_reasons, lambda v: not v & _TROUBLES, reasons
    )
    _each(bench, speed, gpus)
    if (hottest := rule.temperature_c_max) is not None:
        most = say("at_most", value=hottest, unit="C")
        heat = Measure(
            "gpu.temperature",
            most,
            lambda g: g.temperature_c,
            lambda v: v <= hottest,
            lambda v: f"{v:g} C",
        )
        _each(bench, heat, gpus)
    _power(bench, rule, gpus)
    mig = Measure(
        "gpu.mig", say("off"), _mig, lambda v: not v, lambda v: say("on") if v else say("off")
    )
    _each(bench, mig, gpus)


def _power(bench: Bench, rule: GpuRule, gpus: list[Gpu]) -> None:
    """Power limit and error correction, where the profile asks for them."""
    say = bench.say
    if (watt := rule.power_limit_w_min) is not None:
        limit = Measure(
            "gpu.power_limit",
            say("at_least", value=watt, unit="W"),
            lambda g: g.power_limit_w,
            lambda v: v >= watt,
            lambda v: f"{v:g} W",
        )
        _each(bench, limit, gpus, watt=watt)
    if rule.ecc:
        ecc = Measure(
            "gpu.ecc",
            say("no_ecc_errors"),
            _ecc_errors,
            lambda v: v == 0,
            lambda v: say("off") if v < 0 else f"{v}",
        )
        _each(bench, ecc, gpus)


def _ecc_errors(gpu: Gpu) -> int | None:
    """Uncorrected errors; -1 when error correction is off."""
    return -1 if gpu.ecc is False else gpu.ecc_uncorrected


def _mig(gpu: Gpu) -> bool | None:
    """Whether the card is partitioned; GeForce cards cannot be, and NVML says "not supported"."""
    if gpu.mig is None and "GeForce" in (gpu.name or ""):
        return False
    return gpu.mig
