"""Read the promotions from the audit log, each proven to be under a signed checkpoint.

Who edits a tile, or a search index, cannot make the gateway serve another model: an entry counts
only when its inclusion proof (RFC 6962, section 2.1.1) leads to the root that the log's key signed.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator

from appliance.audit import wire
from appliance.audit.client import connect
from appliance.audit.evidence import Part
from appliance.audit.layout import shards
from appliance.audit.proof import make_proof, verify_proof
from appliance.core.errors import ApplianceError, StateDamagedError
from appliance.core.home import Home
from appliance.registry.promotions import LoggedAction

# Canonical JSON has one spelling, so entries of no interest are told without parsing them.
OUTCOME = b'"phase":"outcome"'
ACTION = b'"action":"models.'


class AuditPromotionLog:
    """The audit log of a home, as far as promotions need it.

    What was read once is remembered: the next call reads the entries that came since.
    """

    def __init__(self, home: Home) -> None:
        """Read the log of ``home``."""
        self._home = home
        self._next: dict[int, int] = {}  # shard number -> first entry not yet read
        self._found: list[LoggedAction] = []

    def finished(self, actions: tuple[str, ...]) -> Iterator[LoggedAction]:
        """Yield the outcomes of ``actions`` (of the models group), in log order.

        An event somebody appended by hand is no outcome of an intent and does not count.

        Raises:
            StateDamagedError: an entry is not what the signed checkpoint covers.
        """
        self._let_sign()
        for shard in shards(self._home.audit):
            if not shard.checkpoint.is_file():
                continue
            part = Part(shard)
            start = max(part.first, self._next.get(shard.number, 0))
            new = [
                found
                for index, entry in part.entries(start, part.size)
                if OUTCOME in entry
                and ACTION in entry
                and (found := _proven(part, index, entry)) is not None
            ]
            self._found += new
            self._next[shard.number] = part.size
        yield from (found for found in self._found if found.action in actions)

    def _let_sign(self) -> None:
        """Ask a running writer to sign what it has, so that a promotion just made is seen."""
        with contextlib.suppress(ApplianceError):  # without a writer the checkpoint is complete
            sink = connect(self._home, start=False)
            try:
                sink.ask(wire.SYNC)
            finally:
                sink.close()


def _proven(part: Part, index: int, entry: bytes) -> LoggedAction | None:
    proof = make_proof(index, part.size, part.read, part.note.encode())
    if not verify_proof(proof, entry, part.key).ok:
        raise StateDamagedError(
            expected=f"entry {index} of {part.key.name} as its checkpoint covers it",
            found="another entry",
            remedy="Run `appliance audit verify`; nothing is served until the log is whole.",
        )
    value = json.loads(entry)
    if value["phase"] != "outcome":
        return None
    return LoggedAction(
        index=index,
        action=str(value["action"]),
        object_id=str(value.get("object_id", "")),
        outcome=str(value.get("outcome", "")),
        at=str(value["written"]["at"]),
        user=str(value.get("user", "")),
        uid=int(value["written"]["uid"]),
        component=str(value["component"]),
        detail=dict(value.get("detail", {})),
    )
