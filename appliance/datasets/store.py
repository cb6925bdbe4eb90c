"""Dataset versions: a folder a content hash, whole or absent, checked when opened."""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from appliance.core.canonical import canonical_json, file_hash, value_hash
from appliance.core.durable import TEMP_PREFIX, new_folder, os_errors, read_json, write_json
from appliance.core.errors import DatasetDamagedError, DatasetMissingError, NothingImportedError
from appliance.core.home import Home
from appliance.datasets.record import Record, RecordInvalidError, Split

Stage = Literal["imported", "deidentified", "split"]

RECORDS: Final = "records.jsonl"
MANIFEST: Final = "manifest.json"
_HASH = re.compile(r"[0-9a-f]{8,64}")
FULL_HASH_CHARACTERS = 64


class SourceFile(BaseModel):
    """A file that was imported."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    sha256: str
    bytes: int
    format: str


class Manifest(BaseModel):
    """What a dataset version is and where it comes from.

    ``hash`` covers ``records_sha256``, ``stage``, ``parent``, ``sources`` (by content) and
    ``policy``; the counts follow from them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    hash: str
    stage: Stage
    records_sha256: str
    parent: str | None = None
    name: str = ""
    licence: str = ""
    sources: tuple[SourceFile, ...] = ()
    policy: dict[str, Any] = {}
    records: int
    refused: int = 0
    refusals: tuple[dict[str, str], ...] = ()
    kinds: dict[str, int] = {}
    splits: dict[str, int] = {}
    entities: dict[str, int] = {}


@dataclass(frozen=True)
class Draft:
    """What a new version is made from, besides its records."""

    stage: Stage
    parent: str | None = None
    name: str = ""
    licence: str = ""
    sources: tuple[SourceFile, ...] = ()
    policy: dict[str, Any] | None = None


@dataclass(frozen=True)
class Dataset:
    """A version that is there and whose manifest was read."""

    manifest: Manifest
    path: Path

    @property
    def hash(self) -> str:
        """The version's content hash."""
        return self.manifest.hash

    def iter_records(self, split: Split | None = None) -> Iterator[Record]:
        """Yield the records, or those of one split, one at a time."""
        path = self.path / RECORDS
        with os_errors(path), path.open(encoding="utf-8") as stream:
            for line in stream:
                record = _record(line, self.manifest.hash)
                if split is None or record.split == split:
                    yield record

    def verify(self) -> None:
        """Compare the records with the hash (raises ``DatasetDamagedError``)."""
        with os_errors(self.path):
            found = file_hash(self.path / RECORDS)
        if found != self.manifest.records_sha256 or version_hash(self.manifest) != self.hash:
            raise DatasetDamagedError(
                expected=f"the records of {self.hash}", found=f"SHA-256 {found} in {self.path}"
            )


@dataclass
class Tally:
    """What is only known once the records went by."""

    refused: int = 0
    refusals: tuple[dict[str, str], ...] = ()
    entities: dict[str, int] | None = None


class DatasetStore:
    """The versions under a home: imported ones apart from those without identifiers."""

    def __init__(self, home: Home) -> None:
        """Look under ``home``."""
        self._home = home

    def folder(self, stage: Stage) -> Path:
        """Return where versions of ``stage`` lie."""
        return self._home.records if stage == "imported" else self._home.datasets

    def open(self, wanted: str) -> Dataset:
        """Return a version by its hash or by eight or more first characters of it."""
        found = [d for d in self._candidates() if d.name.startswith(wanted)]
        if not _HASH.fullmatch(wanted) or len(found) != 1:
            raise DatasetMissingError(
                expected="the hash of one dataset version, or its first 8 characters or more",
                found=f"{len(found)} versions that start so",
            )
        return self._load(found[0])

    def list(self) -> tuple[Manifest, ...]:
        """Return the manifests of all versions, in order of their hashes."""
        return tuple(self._load(folder).manifest for folder in self._candidates())

    def write(self, records: Iterable[Record], draft: Draft, tally: Tally) -> Dataset:
        """Write ``records`` as a new version, or return the one that already holds them.

        ``tally`` may be filled while ``records`` is consumed; it is read afterwards.
        """
        folder = self.folder(draft.stage)
        with os_errors(folder):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with tempfile.TemporaryDirectory(prefix=TEMP_PREFIX, dir=folder) as name:
                temp = Path(name)
                manifest = _write_records(temp / RECORDS, records, draft, tally)
                target = folder / manifest.hash
                if (target / MANIFEST).is_file():
                    return self._load(target)
                with new_folder(target) as final:
                    (temp / RECORDS).rename(final / RECORDS)
                    write_json(final / MANIFEST, manifest.model_dump(mode="json"))
        return Dataset(manifest, target)

    def _candidates(self) -> tuple[Path, ...]:
        folders = (self._home.records, self._home.datasets)
        found = [p for f in folders if f.is_dir() for p in f.iterdir()]
        whole = [p for p in found if len(p.name) == FULL_HASH_CHARACTERS]
        good = (p for p in whole if _HASH.fullmatch(p.name))
        return tuple(sorted(good, key=lambda p: p.name))

    def _load(self, folder: Path) -> Dataset:
        try:
            manifest = Manifest.model_validate(read_json(folder / MANIFEST))
        except ValidationError as error:
            raise DatasetDamagedError(
                expected=f"a manifest in {folder}", found=f"{error.error_count()} wrong fields"
            ) from error
        if manifest.hash != folder.name or version_hash(manifest) != manifest.hash:
            raise DatasetDamagedError(
                expected=f"the manifest of {folder.name}", found=f"one of {manifest.hash}"
            )
        return Dataset(manifest, folder)


def version_hash(manifest: Manifest) -> str:
    """Return the hash a manifest's content gives."""
    return value_hash(
        {
            "records": manifest.records_sha256,
            "stage": manifest.stage,
            "parent": manifest.parent,
            "sources": sorted(source.sha256 for source in manifest.sources),
            "policy": manifest.policy,
        }
    )


def _write_records(path: Path, records: Iterable[Record], draft: Draft, tally: Tally) -> Manifest:
    digest = hashlib.sha256()
    kinds: Counter[str] = Counter()
    splits: Counter[str] = Counter()
    with path.open("wb") as stream:
        for record in records:
            line = canonical_json(record.to_dict()) + b"\n"
            digest.update(line)
            stream.write(line)
            kinds[record.kind] += 1
            splits[record.split] += 1
    if not kinds:
        raise NothingImportedError(
            expected="one good record or more", found=f"none, and {tally.refused} refused"
        )
    manifest = Manifest(
        hash="",
        stage=draft.stage,
        records_sha256=digest.hexdigest(),
        parent=draft.parent,
        name=draft.name,
        licence=draft.licence,
        sources=draft.sources,
        policy=draft.policy or {},
        records=kinds.total(),
        refused=tally.refused,
        refusals=tally.refusals,
        kinds=dict(sorted(kinds.items())),
        splits=dict(sorted((k, v) for k, v in splits.items() if k)),
        entities=tally.entities or {},
    )
    return manifest.model_copy(update={"hash": version_hash(manifest)})


def _record(line: str, version: str) -> Record:
    try:
        return Record.from_dict(json.loads(line))
    except (ValueError, RecordInvalidError, TypeError) as error:
        raise DatasetDamagedError(
            expected=f"a record a line in {version}", found=type(error).__name__
        ) from error
