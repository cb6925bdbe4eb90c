"""What changed between two looks at a machine. Pure: states in, changes and the next state out.

A value that is not known is never a change: the last known one stays. A card or disk that is gone
stays in the state as missing until a person accepts the machine as it is now.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from appliance.hardware.inventory import Inventory

Kind = Literal[
    "card_gone", "card_back", "card_added", "link_width_dropped", "link_width_restored",
    "driver_changed", "disk_failing", "disk_gone", "disk_back", "disk_added",
    "clock_unsynchronised", "clock_synchronised", "tpm_changed",
]  # fmt: skip


class CardState(BaseModel):
    """A card as last known."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str | None = None
    width: int | None = None
    best_width: int | None = None
    present: bool = True


class DiskState(BaseModel):
    """A disk as last known."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    healthy: bool | None = None
    present: bool = True


class State(BaseModel):
    """What the watch remembers between looks and restarts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    cards: dict[Annotated[str, Field(max_length=32)], CardState] | None = None
    disks: dict[Annotated[str, Field(max_length=32)], DiskState] | None = None
    driver: str | None = None
    clock: bool | None = None
    tpm: str | None = None


@dataclass(frozen=True)
class Change:
    """One thing that changed: its kind, where, and the two values."""

    kind: Kind
    where: str
    before: str
    after: str

    def detail(self) -> dict[str, str]:
        """Return what the audit log keeps of it."""
        return {"where": self.where, "before": self.before, "after": self.after}


def state_of(inventory: Inventory) -> State:
    """Return the state an inventory shows."""
    cards = disks = None
    if inventory.gpus is not None:
        cards = {
            g.bus_id: CardState(name=g.name, width=g.pcie_width, best_width=g.pcie_width)
            for g in inventory.gpus
        }
    if inventory.disks is not None:
        disks = {d.name: DiskState(healthy=d.healthy) for d in inventory.disks}
    return State(
        cards=cards,
        disks=disks,
        driver=inventory.driver.version,
        clock=inventory.platform.time_synchronised,
        tpm=inventory.platform.tpm,
    )


def compare(before: State, now: State) -> tuple[list[Change], State]:
    """Return what changed and the state to remember (the first known value is no change)."""
    found: list[Change] = []
    cards = _cards(before.cards, now.cards, found)
    disks = _disks(before.disks, now.disks, found)
    driver, clock, tpm = before.driver, before.clock, before.tpm
    if now.driver is not None:
        if driver is not None and now.driver != driver:
            found.append(Change("driver_changed", "driver", driver or "none", now.driver or "none"))
        driver = now.driver
    if now.clock is not None:
        # A clock that starts unsynchronised is told once, too: the log's times depend on it.
        if now.clock is False and clock is not False:
            found.append(Change("clock_unsynchronised", "clock", _word(clock), "no"))
        elif now.clock and clock is False:
            found.append(Change("clock_synchronised", "clock", "no", "yes"))
        clock = now.clock
    if now.tpm is not None:
        if tpm is not None and now.tpm != tpm:
            found.append(Change("tpm_changed", "tpm", tpm or "none", now.tpm or "none"))
        tpm = now.tpm
    return found, State(cards=cards, disks=disks, driver=driver, clock=clock, tpm=tpm)


def _word(value: bool | None) -> str:  # noqa: FBT001 - a value to spell
    return {True: "yes", False: "no", None: "unknown"}[value]


def _cards(
    before: dict[str, CardState] | None, now: dict[str, CardState] | None, found: list[Change]
) -> dict[str, CardState] | None:
    if now is None:
        return before
    if before is None:
        return {where: _merged(card, card) for where, card in now.items()}
    kept: dict[str, CardState] = {}
    for where in sorted(before.keys() | now.keys()):
        old, new = before.get(where), now.get(where)
        if old is None and new is not None:
            found.append(Change("card_added", where, "absent", new.name or "card"))
            kept[where] = _merged(new, new)
        elif old is not None and new is None:
            if old.present:
                found.append(Change("card_gone", where, old.name or "card", "absent"))
            kept[where] = old.model_copy(update={"present": False})
        elif old is not None and new is not None:
            if not old.present:
                found.append(Change("card_back", where, "absent", new.name or "card"))
            found.extend(_width(where, old, new))
            kept[where] = _merged(old, new)
    return kept


def _width(where: str, old: CardState, new: CardState) -> Iterator[Change]:
    if old.width is None or new.width is None or old.width == new.width:
        return
    kind: Kind = "link_width_dropped" if new.width < old.width else "link_width_restored"
    yield Change(kind, where, f"x{old.width}", f"x{new.width}")


def _merged(old: CardState, new: CardState) -> CardState:
    widths = [w for w in (old.best_width, new.width) if w is not None]
    return CardState(
        name=new.name or old.name,
        width=new.width if new.width is not None else old.width,
        best_width=max(widths, default=None),
        present=True,
    )


def _disks(
    before: dict[str, DiskState] | None, now: dict[str, DiskState] | None, found: list[Change]
) -> dict[str, DiskState] | None:
    if now is None:
        return before
    kept: dict[str, DiskState] = {}
    for where in sorted((before or {}).keys() | now.keys()):
        old, new = (before or {}).get(where), now.get(where)
        if new is None and old is not None:
            if old.present:
                found.append(Change("disk_gone", where, "present", "absent"))
            kept[where] = old.model_copy(update={"present": False})
        elif new is not None:
            if old is None and before is not None:
                found.append(Change("disk_added", where, "absent", "present"))
            elif old is not None and not old.present:
                found.append(Change("disk_back", where, "absent", "present"))
            was = old.healthy if old is not None else None
            # A disk that is failing at the first look is told, too.
            if new.healthy is False and was is not False:
                found.append(Change("disk_failing", where, _word(was), "no"))
            kept[where] = DiskState(healthy=new.healthy if new.healthy is not None else was)
    return kept
