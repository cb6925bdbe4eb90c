"""When a crashed engine may be started again."""

from __future__ import annotations

from dataclasses import dataclass, field

FIRST_DELAY_S = 0.2  # a crash that is over is answered at once
LONGEST_DELAY_S = 10.0  # a model on a slow disk must not be read without a pause


@dataclass
class RestartPolicy:
    """At most ``limit`` restarts in any ``window_s`` seconds, each after a longer pause."""

    limit: int
    window_s: float
    _crashes: list[float] = field(default_factory=list)

    def next_delay(self, now: float) -> float | None:
        """Note a crash at ``now`` (monotonic seconds); return the pause, or None to give up."""
        self._crashes = [at for at in self._crashes if now - at < self.window_s]
        self._crashes.append(now)
        if len(self._crashes) > self.limit:
            return None
        return float(min(LONGEST_DELAY_S, FIRST_DELAY_S * 2 ** (len(self._crashes) - 1)))
