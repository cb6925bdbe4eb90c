"""Where things stand in the audit folder.

``audit/``
  ``log-0001/`` one shard: a C2SP tlog-tiles folder (``checkpoint``, ``tile/``), the verifier key
  (``log.vkey``), the write-ahead files (``wal/``), the open intents at the last checkpoint
  (``open-intents.json``);
  ``log-0002/`` the next shard, whose first entry holds the final checkpoint of the one before;
  ``keys/`` the signing key or what leads to it; ``reserve`` space kept back for the last words;
  ``index.sqlite`` the search index, rebuilt from the log at any time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from appliance.audit.note import Verifier
from appliance.core.durable import os_errors
from appliance.core.errors import AuditLogDamagedError, InputMissingError
from appliance.core.home import Home

CHECKPOINT = "checkpoint"
VKEY = "log.vkey"
WAL = "wal"
OPEN_INTENTS = "open-intents.json"
INDEX = "index.sqlite"
RESERVE = "reserve"
REMOVED = "removed"
WITNESSES = "witness"
KEYS = "keys"

_SHARD = re.compile(r"log-([0-9]{4})\Z")


@dataclass(frozen=True)
class Shard:
    """One log of the chain: its number and its tlog-tiles folder."""

    number: int
    folder: Path

    @property
    def verifier(self) -> Verifier:
        """The key that signs this shard's checkpoints."""
        with os_errors(self.folder / VKEY):
            text = (self.folder / VKEY).read_text(encoding="utf-8", errors="replace")
        return Verifier.parse(text)

    @property
    def checkpoint(self) -> Path:
        """The signed checkpoint."""
        return self.folder / CHECKPOINT


def shard_folder(audit: Path, number: int) -> Path:
    """Return the folder of shard ``number`` (1 is the first)."""
    return audit / f"log-{number:04d}"


def shards(audit: Path) -> list[Shard]:
    """Return the shards of an audit folder, oldest first; a gap in the numbers is damage."""
    found = []
    if audit.is_dir():
        for path in audit.iterdir():
            match = _SHARD.match(path.name)
            if match and path.is_dir():
                found.append(Shard(int(match[1]), path))
    found.sort(key=lambda shard: shard.number)
    numbers = [shard.number for shard in found]
    if numbers != list(range(1, len(found) + 1)):
        raise AuditLogDamagedError(
            expected="shards log-0001, log-0002 and so on without a gap",
            found=", ".join(f"log-{n:04d}" for n in numbers),
        )
    return found


def current_shard(home: Home) -> Shard:
    """Return the newest shard of ``home``; raises ``InputMissingError`` when there is no log."""
    found = shards(home.audit)
    if not found:
        raise InputMissingError(expected=f"an audit log in {home.audit}", found="none yet")
    return found[-1]
