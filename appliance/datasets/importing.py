"""Import: files in, one dataset version out, refused records counted and named."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from appliance.audit.recorder import Recorder
from appliance.core.canonical import file_hash
from appliance.core.durable import os_errors
from appliance.core.errors import (
    InputMissingError,
    InputTooLongError,
    NothingImportedError,
)
from appliance.core.home import Home
from appliance.core.progress import NoProgress, Progress
from appliance.core.settings import Settings
from appliance.datasets.readers import detect
from appliance.datasets.readers.base import Item, Refusal, Source, existing
from appliance.datasets.readers.notes import SUFFIXES
from appliance.datasets.record import Record
from appliance.datasets.store import DatasetStore, Draft, SourceFile, Tally


@dataclass(frozen=True)
class ImportResult:
    """The version that holds what was imported."""

    hash: str
    records: int
    refused: int
    refusals: tuple[dict[str, str], ...]
    path: Path


@dataclass(frozen=True)
class ImportOptions:
    """How to import: what is not given is told from the files."""

    fmt: str | None = None
    name: str = ""
    licence: str = ""
    encoding: str | None = None
    progress: Progress = field(default_factory=NoProgress)


def import_files(
    home: Home,
    settings: Settings,
    paths: Iterable[Path],
    recorder: Recorder,
    options: ImportOptions | None = None,
) -> ImportResult:
    """Import files (or folders of notes) as one dataset version; the same again is a no-op.

    A malformed record is refused and counted; a file that cannot be read as a whole raises one
    of the errors of ``core.errors.data`` and nothing is imported.
    """
    options = options or ImportOptions()
    files = list(files_of(paths, settings))
    detail: dict[str, int | str] = {"files": len(files), "format": options.fmt or "auto"}
    with recorder.action("data.import", detail=detail) as act:
        sources = [Source(path, settings.datasets, options.encoding) for path in files]
        opened = [(source, *detect.read(source, options.fmt)) for source in sources]
        described = tuple(_described(source.path, found) for source, found, _ in opened)
        tally = Tally()
        work = _Import(settings, tally, options.progress, len(files))
        draft = Draft("imported", name=options.name, licence=options.licence, sources=described)
        records = work.records(items for _, _, items in opened)
        try:
            dataset = DatasetStore(home).write(records, draft, tally)
        except NothingImportedError as error:
            raise _because(tally) from error
        act.detail.update(
            dataset=dataset.hash, records=dataset.manifest.records, refused=tally.refused
        )
    manifest = dataset.manifest
    return ImportResult(
        dataset.hash, manifest.records, manifest.refused, manifest.refusals, dataset.path
    )


class _Import:
    def __init__(self, settings: Settings, tally: Tally, progress: Progress, files: int) -> None:
        self._kept = settings.datasets.refusals_kept
        self._tally = tally
        self._progress = progress
        self._files = files
        self._seen: dict[str, int] = {}

    def records(self, files: Iterable[Iterator[Item]]) -> Iterator[Record]:
        for number, items in enumerate(files):
            for item in items:
                if isinstance(item, Refusal):
                    self._refuse(item)
                else:
                    yield self._unique(item)
            self._progress.update(number + 1, self._files, f"{len(self._seen)} records")
        self._progress.close()

    def _refuse(self, refusal: Refusal) -> None:
        self._tally.refused += 1
        if len(self._tally.refusals) < self._kept:
            self._tally.refusals = (*self._tally.refusals, refusal.to_dict())

    def _unique(self, record: Record) -> Record:
        count = self._seen.get(record.id, 0) + 1
        self._seen[record.id] = count
        return record if count == 1 else replace(record, id=f"{record.id}#{count}")


def files_of(paths: Iterable[Path], settings: Settings) -> Iterator[Path]:
    """Yield the files that ``paths`` name; of a folder, its notes."""
    for path in paths:
        if not existing(path).is_dir():
            yield path
            continue
        with os_errors(path):
            found = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES)
        if not found:
            raise InputMissingError(
                expected="notes ending in .txt or .rtf in the folder", found=f"none in {path}"
            )
        if len(found) > settings.datasets.files:
            raise InputTooLongError(
                expected=f"at most {settings.datasets.files} files (datasets.files)",
                found=f"{len(found)} in {path}",
            )
        yield from found


def _described(path: Path, fmt: str) -> SourceFile:
    with os_errors(path):
        return SourceFile(
            name=path.name, sha256=file_hash(path), bytes=path.stat().st_size, format=fmt
        )


def _because(tally: Tally) -> NothingImportedError | InputTooLongError:
    reasons = [f"{r['file']}, {r['where']}: {r['reason']}" for r in tally.refusals[:3]]
    found = f"{tally.refused} refused ({'; '.join(reasons)})"
    if all("longer" in refusal["reason"] for refusal in tally.refusals) and tally.refusals:
        return InputTooLongError(expected="lines within datasets.line_bytes", found=found)
    return NothingImportedError(expected="one good record or more", found=found)
