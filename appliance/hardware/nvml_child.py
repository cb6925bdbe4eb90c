"""The child that speaks NVML: run as a script, it answers every line with one line of JSON.

It imports nothing of the appliance; its argument is the folder that holds pynvml.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any


def _try(call: Callable[..., Any], *arguments: Any) -> Any:
    """Return what NVML answers, or None where the card or the driver does not support it."""
    import pynvml

    try:
        value = call(*arguments)
    except pynvml.NVMLError:
        return None
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _link(n: Any, card: Any) -> dict[str, Any]:
    bar1 = _try(n.nvmlDeviceGetBAR1MemoryInfo, card)
    return {
        "pcie_gen": _try(n.nvmlDeviceGetCurrPcieLinkGeneration, card),
        "pcie_gen_max": _try(n.nvmlDeviceGetMaxPcieLinkGeneration, card),
        "pcie_width": _try(n.nvmlDeviceGetCurrPcieLinkWidth, card),
        "pcie_width_max": _try(n.nvmlDeviceGetMaxPcieLinkWidth, card),
        "bar1_bytes": bar1.bar1Total if bar1 else None,
    }


def _health(n: Any, card: Any) -> dict[str, Any]:
    limits = _try(n.nvmlDeviceGetPowerManagementLimitConstraints, card)
    ecc = _try(n.nvmlDeviceGetEccMode, card)
    draw = _try(n.nvmlDeviceGetPowerUsage, card)
    limit = _try(n.nvmlDeviceGetPowerManagementLimit, card)
    fatal, volatile = n.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, n.NVML_VOLATILE_ECC
    mig = _try(n.nvmlDeviceGetMigMode, card)
    return {
        "power_limit_mw": limit,
        "power_limit_max_mw": limits[1] if limits else None,
        "power_mw": draw,
        "temperature_c": _try(n.nvmlDeviceGetTemperature, card, n.NVML_TEMPERATURE_GPU),
        "throttle_reasons": _try(n.nvmlDeviceGetCurrentClocksThrottleReasons, card),
        "ecc": bool(ecc[0]) if ecc else None,
        "ecc_uncorrected": _try(n.nvmlDeviceGetTotalEccErrors, card, fatal, volatile),
        "mig": bool(mig[0]) if mig else None,
    }


def _card(n: Any, index: int) -> dict[str, Any]:
    card = n.nvmlDeviceGetHandleByIndex(index)
    memory = _try(n.nvmlDeviceGetMemoryInfo, card)
    address = _try(n.nvmlDeviceGetPciInfo, card)
    use = _try(n.nvmlDeviceGetUtilizationRates, card)
    compute = _try(n.nvmlDeviceGetCudaComputeCapability, card)
    bus = getattr(address, "busId", None)
    links = [_try(n.nvmlDeviceGetNvLinkState, card, i) for i in range(18)]
    return {
        "name": _try(n.nvmlDeviceGetName, card),
        "bus_id": bus.decode() if isinstance(bus, bytes) else bus,
        "memory_bytes": memory.total if memory else None,
        "memory_used_bytes": memory.used if memory else None,
        "utilisation_percent": use.gpu if use else None,
        "compute": f"{compute[0]}.{compute[1]}" if compute else None,
        "nvlinks": sum(1 for state in links if state == 1),
        **_link(n, card),
        **_health(n, card),
    }


def snapshot(n: Any) -> dict[str, Any]:
    """Describe every card through the initialised NVML module ``n`` (pynvml)."""
    count = n.nvmlDeviceGetCount()
    cuda = _try(n.nvmlSystemGetCudaDriverVersion_v2)
    handles = [n.nvmlDeviceGetHandleByIndex(i) for i in range(count)]
    peers = [
        {
            "a": a,
            "b": b,
            "read": _try(n.nvmlDeviceGetP2PStatus, handles[a], handles[b], 0),
            "common": _try(n.nvmlDeviceGetTopologyCommonAncestor, handles[a], handles[b]),
        }
        for a in range(count)
        for b in range(a + 1, count)
    ]
    return {
        "driver": _try(n.nvmlSystemGetDriverVersion),
        "cuda": f"{cuda // 1000}.{cuda % 1000 // 10}" if cuda else None,
        "gpus": [_card(n, index) for index in range(count)],
        "peers": peers,
    }


def main() -> None:
    """Answer each line on standard input with one line of JSON."""
    sys.path.append(sys.argv[1])
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception as error:  # noqa: BLE001 - whatever it is, the parent must get a line
        pynvml_error: str | None = str(error) or type(error).__name__
    else:
        pynvml_error = None
    for _ in sys.stdin:
        if pynvml_error is None:
            try:
                answer = snapshot(pynvml)
            except Exception as error:  # noqa: BLE001 - as above: a card may fall off the bus
                answer = {"error": str(error) or type(error).__name__}
        else:
            answer = {"error": pynvml_error}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
