"""Measuring verify: the same bytes, the page cache warm, hashlib as the yardstick."""

from __future__ import annotations

import hashlib
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from appliance.bundle.medium import FolderMedium
from appliance.bundle.trust import Anchor, first_root, load_trusted
from appliance.bundle.verify import Report, verify, wanted_blocks
from appliance.core.clock import SystemClock
from appliance.core.errors import BundleDamagedError
from appliance.core.progress import NoProgress
from appliance.core.settings.bundle import BundleSettings

ROUNDS = 3


def measure(folder: Path) -> dict[str, Any]:
    """Return MB/s of hashlib alone, of verify with one worker and with two, and peak memory."""
    medium, limits = FolderMedium(folder), BundleSettings()
    trusted = load_trusted(medium, Anchor(first_root(medium, limits)), SystemClock().now(), limits)
    wanted, _ = wanted_blocks(trusted)
    total = sum(w.length for w in wanted.values())

    def plain() -> None:
        for block in wanted.values():
            with (folder / block.path).open("rb") as stream:
                hashlib.file_digest(stream, "sha256")

    def ours(workers: int) -> Callable[[], None]:
        setting = limits.model_copy(update={"workers": workers})
        return lambda: _require(verify(medium, trusted, setting, NoProgress()))

    plain()
    base, one, two = _best(plain), _best(ours(1)), _best(ours(2))
    return {
        "bytes": total,
        "hashlib_mb_s": round(total / base / 1e6, 1),
        "verify_one_mb_s": round(total / one / 1e6, 1),
        "verify_two_mb_s": round(total / two / 1e6, 1),
        "one_core_ratio": round(base / one, 3),
        "two_core_ratio": round(base / two, 3),
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }


def _require(report: Report) -> None:
    if not report.ok:
        raise BundleDamagedError(expected="a good medium to measure", found="faults")


def _best(call: Callable[[], None]) -> float:
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)
