"""The child that speaks NVML, and what happens when it does not."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

from appliance.hardware.nvml import NvmlChild
from appliance.hardware.nvml_child import snapshot
from appliance.hardware.parse_gpu import parse_gpus
from appliance.hardware.readings import FixedProbes, Reading, Status


def child(code: str, seconds: float = 10.0) -> NvmlChild:
    return NvmlChild(seconds, [sys.executable, "-I", "-S", "-c", code])


ANSWER = "import sys\nfor line in sys.stdin: print('{\"gpus\": []}', flush=True)"


def test_one_child_answers_again_and_again() -> None:
    asked = child(ANSWER)
    first = asked.ask()
    process = asked._process
    assert asked.ask() == first
    assert asked._process is process
    assert first.json() == {"gpus": []}
    asked.close()


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("import time; time.sleep(60)", Status.TIMEOUT),
        ("import sys,time; print('{', end='', flush=True); time.sleep(60)", Status.TIMEOUT),
        ("raise SystemExit(3)", Status.FAILED),
        ("import sys; sys.stdin.readline(); print('no json')", Status.FAILED),
        ("import sys\nwhile True: sys.stdout.write('x' * 65536)", Status.FAILED),
        ("import sys; sys.stdin.readline(); print('[1]')", Status.FAILED),
        ("import sys; sys.stdin.readline(); print('{\"error\": \"Driver Not Loaded\"}')",
         Status.FAILED),
    ],
)  # fmt: skip
def test_a_child_that_does_not_answer_well_is_not_known(code: str, status: Status) -> None:
    seconds = 0.5 if status is Status.TIMEOUT else 20.0
    asked = child(code, seconds)
    assert asked.ask().status is status
    asked.close()


def test_a_new_child_is_started_after_one_died() -> None:
    code = 'import sys; sys.stdin.readline(); print(\'{"driver": "1"}\', flush=True)'
    asked = child(code)
    assert asked.ask().ok
    assert asked._process is not None
    asked._process.wait(10)
    assert asked.ask().ok
    asked.close()


def test_the_real_child_says_that_there_is_no_library_here() -> None:
    asked = NvmlChild(20.0)
    reading = asked.ask()
    asked.close()
    assert reading.status in {Status.OK, Status.FAILED}
    assert reading.ok or "Not Found" in reading.reason or "Not Loaded" in reading.reason


def fake_nvml(*, supported: bool) -> Any:
    """pynvml's functions of a machine with one card that supports everything or nothing."""

    def answer(value: Any) -> Any:
        def call(*_: Any) -> Any:
            if not supported:
                raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
            return value

        return call

    values: dict[str, Any] = {
        "nvmlSystemGetDriverVersion": "570.153.02",
        "nvmlSystemGetCudaDriverVersion_v2": 12080,
        "nvmlDeviceGetName": b"NVIDIA GeForce RTX 5090",
        "nvmlDeviceGetMemoryInfo": SimpleNamespace(total=34190917632, used=1),
        "nvmlDeviceGetPciInfo": SimpleNamespace(busId=b"00000000:01:00.0"),
        "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=7),
        "nvmlDeviceGetCudaComputeCapability": (12, 0),
        "nvmlDeviceGetNvLinkState": 0,
        "nvmlDeviceGetBAR1MemoryInfo": SimpleNamespace(bar1Total=1 << 35),
        "nvmlDeviceGetCurrPcieLinkGeneration": 1,
        "nvmlDeviceGetMaxPcieLinkGeneration": 5,
        "nvmlDeviceGetCurrPcieLinkWidth": 16,
        "nvmlDeviceGetMaxPcieLinkWidth": 16,
        "nvmlDeviceGetPowerManagementLimitConstraints": (400000, 600000),
        "nvmlDeviceGetEccMode": (0, 0),
        "nvmlDeviceGetPowerUsage": 14000,
        "nvmlDeviceGetPowerManagementLimit": 575000,
        "nvmlDeviceGetMigMode": (0, 0),
        "nvmlDeviceGetTemperature": 38,
        "nvmlDeviceGetCurrentClocksThrottleReasons": 1,
        "nvmlDeviceGetTotalEccErrors": 0,
    }
    module = SimpleNamespace(**{name: answer(value) for name, value in values.items()})
    module.nvmlDeviceGetCount = lambda: 1
    module.nvmlDeviceGetHandleByIndex = lambda index: index
    for name in ("NVML_MEMORY_ERROR_TYPE_UNCORRECTED", "NVML_VOLATILE_ECC", "NVML_TEMPERATURE_GPU"):
        setattr(module, name, getattr(pynvml, name))
    return module


def gpus(value: dict[str, Any]) -> Any:
    reading = Reading(Status.OK, json.dumps(value))
    return parse_gpus(FixedProbes({"nvml": reading}), {})


def test_a_snapshot_tells_everything_of_a_card() -> None:
    value = snapshot(fake_nvml(supported=True))
    assert (value["driver"], value["cuda"]) == ("570.153.02", "12.8")
    (card,) = gpus(value)
    assert (card.bus_id, card.name) == ("0000:01:00.0", "NVIDIA GeForce RTX 5090")
    assert (card.vram_bytes, card.compute, card.power_limit_w) == (34190917632, "12.0", 575.0)
    assert (card.pcie_gen_max, card.pcie_width, card.bar1_bytes) == (5, 16, 1 << 35)
    assert (card.ecc, card.mig, card.throttle_reasons, card.nvlinks) == (False, False, 1, 0)


def test_what_a_card_does_not_support_is_not_known() -> None:
    value = snapshot(fake_nvml(supported=False))
    assert value["driver"] is None
    (card,) = gpus(value)
    assert card.vram_bytes is None
    assert card.ecc is None
    assert card.throttle_reasons is None
