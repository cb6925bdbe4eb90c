"""What a look at the machine says: one line a check, and what to do where it is not right.

What could not be looked at is ``unknown`` and never ``pass``; an unknown fails the whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from appliance.host.machine import Reading

Verdict = Literal["pass", "warn", "fail", "unknown"]
_SHOWN = 300


@dataclass(frozen=True)
class Check:
    """One thing looked at."""

    name: str
    status: Verdict
    expected: str
    found: str
    remedy: str = ""

    @property
    def ok(self) -> bool:
        """Whether the machine may be called right in this."""
        return self.status in {"pass", "warn"}

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return asdict(self)


@dataclass(frozen=True)
class Question:
    """A check before it is answered: its name, what is expected, what to do when it is not so."""

    name: str
    expected: str
    remedy: str

    def judged(self, ok: bool, found: str, *, otherwise: Verdict = "fail") -> Check:  # noqa: FBT001 - the verdict is what a call is about
        """Answer with yes or no."""
        status: Verdict = "pass" if ok else otherwise
        shown = " ".join(found.split())[:_SHOWN] or "nothing"
        return Check(self.name, status, self.expected, shown, "" if ok else self.remedy)

    def unknown(self, reading: Reading | str) -> Check:
        """Answer that it could not be looked at."""
        reason = reading if isinstance(reading, str) else reading.reason or reading.status.value
        remedy = "Run the same command as root; install what is named." if reason else self.remedy
        return Check(self.name, "unknown", self.expected, reason[:_SHOWN], remedy)

    def differing(self, wrong: Sequence[str], right: str) -> Check:
        """Answer with the list of what is wrong; an empty list passes."""
        return self.judged(not wrong, "; ".join(wrong) or right)


def summary(checks: Iterable[Check]) -> dict[str, int]:
    """Count the verdicts."""
    counts = {"pass": 0, "warn": 0, "fail": 0, "unknown": 0}
    for check in checks:
        counts[check.status] += 1
    return counts


def as_answer(checks: Sequence[Check]) -> dict[str, Any]:
    """Return the answer as one JSON object."""
    return {
        "ok": bool(checks) and all(check.ok for check in checks),
        "counts": summary(checks),
        "checks": [check.to_dict() for check in checks],
    }


def as_lines(checks: Sequence[Check]) -> list[str]:
    """Return the answer for people: what is right in a line, what is not with what to do."""
    lines = []
    for check in checks:
        lines.append(f"{check.status.upper():<8}{check.name:<24} {check.found}")
        if check.status != "pass":
            lines.append(f"{'':<8}expected: {check.expected}")
            lines.append(f"{'':<8}to do:    {check.remedy}")
    return lines
