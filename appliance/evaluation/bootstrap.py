"""Intervals by the percentile bootstrap (Efron, 1979): resample the items, look at the spread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

DIGITS = 6  # more are noise, and would make equal results hash differently


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with the ends of its interval."""

    mean: float
    low: float
    high: float
    items: int

    def to_dict(self) -> dict[str, float]:
        """Return the JSON form."""
        return {
            "mean": round(self.mean, DIGITS),
            "low": round(self.low, DIGITS),
            "high": round(self.high, DIGITS),
            "items": self.items,
        }


def mean_interval(
    values: Sequence[float], *, samples: int, confidence: float, seed: int
) -> Interval:
    """Return the mean of ``values`` (one or more) and its percentile interval.

    Items are drawn with replacement ``samples`` times; the interval holds the middle
    ``confidence`` of the resampled means. The same seed gives the same interval.
    """
    data = np.asarray(values, dtype=np.float64)
    if data.size == 0:
        raise ValueError("an interval needs at least one value")
    random = np.random.default_rng(seed)
    means = np.empty(samples)
    for i in range(samples):  # one row at a time: samples x items would not fit for large sets
        means[i] = data[random.integers(0, data.size, data.size)].mean()
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(means, [tail, 1.0 - tail])
    return Interval(float(data.mean()), float(low), float(high), int(data.size))
