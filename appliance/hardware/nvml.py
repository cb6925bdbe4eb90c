"""NVML in a process of its own, because a wedged driver never returns from a call.

Run as a module it answers every line on its input with one line of JSON; the watch keeps one such
child and asks it again and again, the check asks once.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from appliance.hardware.readings import Reading, Status

DRIVER_FILES = ("/proc/driver/nvidia/version", "/dev/nvidiactl", "/dev/dxg")


def driver_present() -> bool:
    """Whether a driver is loaded that NVML could talk to (/dev/dxg is WSL's)."""
    return any(Path(path).exists() for path in DRIVER_FILES)


class NvmlChild:
    """A child that speaks NVML; killed when it does not answer in ``seconds``."""

    def __init__(self, seconds: float, command: list[str] | None = None) -> None:
        """Start nothing yet: the child starts with the first question."""
        self._seconds = seconds
        self._command = command or [sys.executable, "-m", "appliance.hardware.nvml"]
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self) -> Reading:
        """Return one snapshot of all cards as JSON text."""
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        try:
            line = self._exchange(self._process)
        except (OSError, TimeoutError) as error:
            timeout = isinstance(error, TimeoutError)
            self.close()
            if timeout:
                return Reading(Status.TIMEOUT, reason=f"NVML gave no answer in {self._seconds:g} s")
            return Reading(Status.FAILED, reason="the NVML helper ended early")
        return _reading(line)

    def _exchange(self, process: subprocess.Popen[bytes]) -> bytes:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
        deadline = time.monotonic() + self._seconds
        data = b""
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while not data.endswith(b"\n"):
                left = deadline - time.monotonic()
                if left <= 0 or not selector.select(left):
                    raise TimeoutError
                chunk = os.read(process.stdout.fileno(), 65536)
                if not chunk:
                    raise BrokenPipeError
                data += chunk
        return data

    def close(self) -> None:
        """End the child."""
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(OSError):
            process.kill()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.2)


def _reading(line: bytes) -> Reading:
    try:
        value = json.loads(line)
    except ValueError:
        return Reading(Status.FAILED, reason="the NVML helper printed garbage")
    if "error" in value:
        return Reading(Status.FAILED, reason=str(value["error"]))
    return Reading(Status.OK, json.dumps(value, indent=1, sort_keys=True))


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
