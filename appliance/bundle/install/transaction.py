"""The journal of a change of version, and what to do when it was cut off.

Life of an update (each line is one durable journal entry before the work it names):

    stage      blocks are proven and copied       cut: nothing to undo, the copies are kept
    activate   the new version is made ready      cut: nothing to undo
    copy       state the migrations will change   cut: nothing to undo
    migrate    the migrations run                 cut: the copies are put back
    switch     the link ``current`` is renamed    cut: link and copies are put back
    health     the new version is tried           cut: link and copies are put back
    finish     floors are raised, old ones go     cut: finished forward

So until ``finish`` the earlier version is what a restart finds.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from typing import Literal

from appliance.bundle.install.lifecycle import restore_state
from appliance.bundle.install.stage import Hook, no_hook
from appliance.bundle.install.store import Store
from appliance.core.durable import fsync_dir, read_json, write_json
from appliance.core.errors import StateDamagedError

Phase = Literal["stage", "activate", "copy", "migrate", "switch", "health", "finish"]
PHASES: tuple[Phase, ...] = ("stage", "activate", "copy", "migrate", "switch", "health", "finish")


@dataclass
class Transaction:
    """One change of version: what it is, from where to where, and how far it came."""

    kind: str
    bundle: str
    source: str | None
    target: str
    phase: Phase = "stage"

    @property
    def saved_name(self) -> str:
        """The folder of copied state of this change."""
        return self.target

    def past(self, phase: Phase) -> bool:
        """True when ``phase`` was begun."""
        return PHASES.index(self.phase) >= PHASES.index(phase)


class Journal:
    """The durable record of the transaction under way."""

    def __init__(self, store: Store, hook: Hook = no_hook) -> None:
        """Keep it in ``store``; ``hook`` is where tests cut the power."""
        self.store, self.hook = store, hook

    def enter(self, transaction: Transaction, phase: Phase) -> None:
        """Record that ``phase`` begins."""
        self.hook(f"before:{phase}")
        transaction.phase = phase
        write_json(self.store.journal, asdict(transaction))
        self.hook(f"begun:{phase}")

    def clear(self) -> None:
        """Record that nothing is under way."""
        self.hook("before:clear")
        self.store.journal.unlink(missing_ok=True)
        fsync_dir(self.store.root)

    def read(self) -> Transaction | None:
        """Return the transaction that was under way, if any."""
        if not self.store.journal.is_file():
            return None
        value = read_json(self.store.journal)
        try:
            found = Transaction(**value)
        except TypeError as error:
            raise StateDamagedError(expected="a journal entry", found="other") from error
        if found.phase not in PHASES:
            raise StateDamagedError(expected="a known phase", found=str(found.phase)[:20])
        return found

    def undo(self, transaction: Transaction) -> str:
        """Put everything back as it was before ``transaction``; safe to repeat."""
        if transaction.past("switch"):
            self.store.switch(transaction.source)
        self.hook("undo:switched")
        saved = self.store.saved / transaction.saved_name
        if transaction.past("migrate"):
            restore_state(self.store.home, saved)
        self.hook("undo:restored")
        if transaction.kind != "rollback" and transaction.target != transaction.source:
            shutil.rmtree(saved, ignore_errors=True)
        self.clear()
        return f"{transaction.kind} was cut off at {transaction.phase} and undone"
