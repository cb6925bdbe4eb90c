"""The checks of the graphics cards."""

from __future__ import annotations

from collections.abc import Callable
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


def _each(
    bench: Bench,
    name: str,
    wanted: str,
    gpus: list[Gpu],
    measure: Callable[[Gpu], Any],
    good: Callable[[Any], bool],
    show: Callable[[Any], str] = str,
    **fields: object,
) -> None:
    """Judge one value of every card: a bad one decides, else an unknown one, else it passes."""
    values = [(g, measure(g)) for g in gpus]
    shown = ", ".join(f"{g.bus_id}: {'?' if v is None else show(v)}" for g, v in values)
    known = [good(v) for _, v in values if v is not None]
    if known and not all(known):
        bench.judge(name, False, wanted, shown, **fields)  # noqa: FBT003 - judged: no
    elif len(known) < len(values):
        bench.unknown(name, wanted, "nvml", "nvidia-smi", "nvidia-version", "pci")
    else:
        bench.judge(name, True, wanted, shown)  # noqa: FBT003 - judged: yes


def _memory(bench: Bench, rule: GpuRule, gpus: list[Gpu]) -> None:
    wanted = bench.say("at_least", value=spelled(rule.memory_gib_min), unit="GiB")
    _each(
        bench,
        "gpu.memory",
        bench.say("each_card", value=wanted),
        gpus,
        lambda g: g.vram_bytes,
        lambda v: v >= rule.memory_gib_min * GIB,
        lambda v: f"{spelled(v / GIB)} GiB",
    )


def _links(bench: Bench, rule: GpuRule, gpus: list[Gpu]) -> None:
    """PCIe width now and generation at most (an idle card lowers its generation, not its width)."""
    if rule.pcie_width_min is not None:
        need = rule.pcie_width_min
        _each(bench, "gpu.pcie_width", f"x{need}", gpus, lambda g: g.pcie_width,
              lambda v: v >= need, lambda v: f"x{v}", width=need)  # fmt: skip
    if rule.pcie_generation_min is not None:
        least = rule.pcie_generation_min
        wanted = bench.say("version_min", version=least)
        _each(bench, "gpu.pcie_generation", wanted, gpus, lambda g: g.pcie_gen_max,
              lambda v: v >= least, generation=least)  # fmt: skip
    if rule.resizable_bar:
        floor = rule.memory_gib_min * GIB * _RESIZED
        _each(bench, "gpu.resizable_bar", bench.say("on"), gpus, lambda g: g.bar1_bytes,
              lambda v: v >= floor, lambda v: f"BAR1 {spelled(v / (1 << 20))} MiB")  # fmt: skip


def _condition(bench: Bench, rule: GpuRule, gpus: list[Gpu]) -> None:
    """Speed, heat, power, error correction and partitioning, as the driver tells them."""
    if bench.inventory.driver.version == "":
        return  # nothing can be asked without a driver; its own check failed
    say = bench.say
    names = {bit: say(key) for bit, key in TROUBLE.items()}

    def reasons(value: int) -> str:
        return ", ".join(n for bit, n in names.items() if value & bit) or say("not_throttled")

    _each(bench, "gpu.throttling", say("not_throttled"), gpus, lambda g: g.throttle_reasons,
          lambda v: not any(v & bit for bit in TROUBLE), reasons)  # fmt: skip
    if (hottest := rule.temperature_c_max) is not None:
        wanted = say("at_most", value=hottest, unit="C")
        _each(bench, "gpu.temperature", wanted, gpus, lambda g: g.temperature_c,
              lambda v: v <= hottest, lambda v: f"{v:g} C")  # fmt: skip
    if (watt := rule.power_limit_w_min) is not None:
        wanted = say("at_least", value=watt, unit="W")
        _each(bench, "gpu.power_limit", wanted, gpus, lambda g: g.power_limit_w,
              lambda v: v >= watt, lambda v: f"{v:g} W", watt=watt)  # fmt: skip
    if rule.ecc:
        _each(bench, "gpu.ecc", say("no_ecc_errors"), gpus, _ecc_errors, lambda v: v == 0,
              lambda v: say("off") if v < 0 else f"{v}")  # fmt: skip
    _each(bench, "gpu.mig", say("off"), gpus, _mig, lambda v: not v,
          lambda v: say("on") if v else say("off"))  # fmt: skip


def _ecc_errors(gpu: Gpu) -> int | None:
    """Uncorrected errors; -1 when error correction is off."""
    return -1 if gpu.ecc is False else gpu.ecc_uncorrected


def _mig(gpu: Gpu) -> bool | None:
    """Whether the card is partitioned; GeForce cards cannot be, and NVML says "not supported"."""
    if gpu.mig is None and "GeForce" in (gpu.name or ""):
        return False
    return gpu.mig
