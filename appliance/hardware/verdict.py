"""The parts of a judgement: a check, its status, and the words it is told in."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from appliance.hardware.inventory import Inventory
from appliance.hardware.profile import Profile
from appliance.hardware.texts import Words

Verdict = Literal["pass", "warn", "fail", "unknown"]
_HINTS = ("denied", "driver", "no-tool", "timeout", "not-recorded")


@dataclass(frozen=True)
class Check:
    """One line of the answer."""

    name: str
    status: Verdict
    expected: str
    found: str
    remedy: str = ""


@dataclass(frozen=True)
class Result:
    """The answer: ``ok`` only when every check passed or merely warns."""

    profile: str
    checks: list[Check]

    @property
    def ok(self) -> bool:
        """Whether nothing failed and nothing is unknown."""
        return all(c.status in {"pass", "warn"} for c in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form of ``hardware check --json``."""
        return {
            "ok": self.ok,
            "profile": self.profile,
            "checks": [asdict(c) for c in self.checks],
        }


@dataclass
class Bench:
    """Where the checks of one judgement put their findings."""

    inventory: Inventory
    profile: Profile
    say: Words
    answers: dict[str, float]
    state_path: str = "/"
    checks: list[Check] = field(default_factory=list)

    def judge(
        self,
        name: str,
        good: bool | None,  # noqa: FBT001 - the judgement itself
        expected: str,
        found: str,
        **fields: object,
    ) -> None:
        """Add a check whose truth is known (True, False) or not (None, with ``topics``)."""
        if good is None:
            self.unknown(name, expected, *str(fields.get("topics", "")).split())
            return
        if good:
            self.checks.append(Check(name, "pass", expected, found))
            return
        self.bad(name, expected, found, self.say(f"fix.{name}", **fields))

    def bad(self, name: str, expected: str, found: str, remedy: str) -> None:
        """Add a check that failed; one the profile merely advises warns."""
        status: Verdict = "warn" if name in self.profile.advised else "fail"
        self.checks.append(Check(name, status, expected, found, remedy))

    def warn(self, name: str, expected: str, found: str, remedy: str) -> None:
        """Add a check that is met, but not well."""
        self.checks.append(Check(name, "warn", expected, found, remedy))

    def unknown(self, name: str, expected: str, *topics: str) -> None:
        """Add a check that could not be made, with why and what would make it possible."""
        probe, kind, reason = self.inventory.why(*topics)
        tool = reason.split(" ", 1)[0]
        hint = self.say(f"hint.{kind if kind in _HINTS else 'other'}", tool=tool)
        found = self.say("unknown", why=f"{probe}: {self.say(f'why.{kind}')}")
        self.checks.append(
            Check(name, "unknown", expected, found, self.say("fix.unknown", hint=hint))
        )


def spelled(value: float) -> str:
    """Write a size shortly: 31, 4.5, 1900."""
    return f"{value:.1f}".rstrip("0").rstrip(".")
