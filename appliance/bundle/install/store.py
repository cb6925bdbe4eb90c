"""Where installed versions live, and what this machine has accepted so far."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from appliance.bundle.model import Entry, Manifest, entry_of, parse_manifest
from appliance.bundle.trust import Anchor, Trusted
from appliance.bundle.tufapi import Metadata, Targets
from appliance.core.durable import fsync_dir, os_errors, read_json, write_bytes, write_json
from appliance.core.errors import StateDamagedError
from appliance.core.home import Home

READY = "ready.json"


@dataclass(frozen=True)
class Version:
    """One version on disk: proven content, and what activation made of it in ``activated``."""

    folder: Path

    @property
    def id(self) -> str:
        """The folder's name: version and the first digits of the bundle's hash."""
        return self.folder.name

    @property
    def content(self) -> Path:
        """The proven files, as on the medium's list."""
        return self.folder / "content"

    @property
    def activated(self) -> Path:
        """What activation made: virtual environments, unpacked collections."""
        return self.folder / "activated"

    @property
    def ready(self) -> bool:
        """True when activation ended well."""
        return (self.folder / READY).is_file()

    def manifest(self) -> Manifest:
        """Return its ``bundle.json``."""
        with os_errors(self.folder):
            return parse_manifest((self.content / "bundle.json").read_bytes())

    def record(self) -> dict[str, Any]:
        """Return ``ready.json``: bundle id, installed date, root."""
        value = read_json(self.folder / READY)
        if not isinstance(value, dict) or "bundle" not in value:
            raise StateDamagedError(expected="a version's record", found=f"other in {self.id}")
        return value

    def metadata(self, name: str) -> bytes:
        """Return a metadata file as it was proven when this version was staged."""
        with os_errors(self.folder):
            return (self.folder / "metadata" / name).read_bytes()

    def entries(self) -> tuple[Entry, ...]:
        """Return the files its signed list named when it was installed."""
        targets = Metadata[Targets].from_bytes(self.metadata("targets.json")).signed.targets
        return tuple(
            entry_of(p, t.length, t.hashes["sha256"], dict(t.custom or {}))
            for p, t in sorted(targets.items())
        )


class Store:
    """``<home>/bundle``: versions, the switch, the floors, the journal."""

    def __init__(self, home: Home) -> None:
        """Use the bundle folder of ``home``."""
        self.home = home
        self.root = home.root / "bundle"
        self.versions_folder = self.root / "versions"
        self.staging = self.root / "staging"
        self.saved = self.root / "saved"
        self.logs = self.root / "logs"
        self.current_link = self.root / "current"
        self.journal = self.root / "transaction.json"
        self.after = self.root / "after.json"
        self.leftovers = self.root / "images.json"
        self.lock = self.root / "lock"
        self._trust = self.root / "trust"

    def current(self) -> Version | None:
        """Return the version in use."""
        try:
            target = self.current_link.readlink()
        except FileNotFoundError:
            return None
        version = Version(self.versions_folder / target.name)
        if not version.folder.is_dir():
            raise StateDamagedError(expected=f"the version {target.name}", found="no such folder")
        return version

    def switch(self, version_id: str | None) -> None:
        """Make ``version_id`` the current one: one rename, so there is never none or two."""
        with os_errors(self.current_link):
            if version_id is None:
                self.current_link.unlink(missing_ok=True)
            else:
                temp = self.root / f".current.{os.getpid()}"
                temp.unlink(missing_ok=True)
                temp.symlink_to(Path("versions") / version_id)
                temp.replace(self.current_link)
            fsync_dir(self.root)

    def version(self, version_id: str) -> Version:
        """Return a version by its id, ready or not."""
        return Version(self.versions_folder / version_id)

    def versions(self) -> list[Version]:
        """Return the ready versions, the one installed last first."""
        if not self.versions_folder.is_dir():
            return []
        found = [Version(p) for p in self.versions_folder.iterdir() if p.is_dir()]
        ready = [v for v in found if v.ready]
        return sorted(ready, key=lambda v: str(v.record()["installed"]), reverse=True)

    def remove(self, version: Version) -> None:
        """Delete a version that is not in use; the mark goes first."""
        (version.folder / READY).unlink(missing_ok=True)
        shutil.rmtree(version.folder, ignore_errors=True)

    def anchor(self) -> Anchor | None:
        """Return the root and floors this machine accepted, or None before the first install."""
        parts = [self._optional(n) for n in ("root.json", "timestamp.json", "snapshot.json")]
        return None if parts[0] is None else Anchor(parts[0], parts[1], parts[2])

    def _optional(self, name: str) -> bytes | None:
        path = self._trust / name
        with os_errors(path):
            return path.read_bytes() if path.is_file() else None

    def floor(self) -> dict[str, Any]:
        """Return the highest sequence accepted and the latest date seen."""
        path = self._trust / "floor.json"
        value = read_json(path) if path.is_file() else {}
        if not isinstance(value, dict):
            raise StateDamagedError(expected=f"an object in {path}", found="other")
        return value

    def accept(self, version: Version) -> None:
        """Raise the floors to those of ``version``; never lower them.

        Each file is whole on its own, in an order that is safe to cut and to repeat.
        """
        record, manifest, floor = version.record(), version.manifest(), self.floor()
        value = {
            "sequence": max(manifest.sequence, int(floor.get("sequence", 0))),
            "date": max(str(record["judged_at"]), str(floor.get("date", ""))),
        }
        fresh = [version.metadata(n) for n in ("root.json", "timestamp.json", "snapshot.json")]
        held = self.anchor()
        if held is not None and _order(fresh) < _order([held.root, held.timestamp or b""]):
            return  # installed by exception: older than what was accepted
        write_bytes(self._trust / "root.json", fresh[0])
        write_json(self._trust / "floor.json", value)
        write_bytes(self._trust / "timestamp.json", fresh[1])
        write_bytes(self._trust / "snapshot.json", fresh[2])


def _order(files: list[bytes]) -> tuple[int, int]:
    """Return (root version, timestamp version): a newer root may start the others afresh."""
    versions = [Metadata.from_bytes(d).signed.version if d else 0 for d in files[:2]]
    return versions[0], versions[1]


def save_metadata(folder: Path, trusted: Trusted) -> None:
    """Keep a bundle's proven metadata beside its content."""
    for name in ("root", "timestamp", "snapshot", "targets"):
        write_bytes(folder / "metadata" / f"{name}.json", getattr(trusted, name))
