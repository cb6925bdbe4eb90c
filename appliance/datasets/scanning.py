"""Count the identifiers of files before anything is imported."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from appliance.core.settings import Settings
from appliance.datasets.importing import files_of
from appliance.datasets.readers import detect
from appliance.datasets.readers.base import Refusal, Source
from appliance.deid.detector import Detector


@dataclass(frozen=True)
class ScanResult:
    """How many records were read and what they hold; never a value."""

    records: int
    with_identifiers: int
    refused: int
    entities: dict[str, int]


def scan_files(settings: Settings, paths: Iterable[Path], fmt: str | None = None) -> ScanResult:
    """Read files as an import would and count their identifiers; nothing is written."""
    detector = Detector(settings.deid.threshold, name_model=settings.deid.name_model or None)
    found: Counter[str] = Counter()
    records = touched = refused = 0
    for path in files_of(paths, settings):
        for item in detect.read(Source(path, settings.datasets), fmt)[1]:
            if isinstance(item, Refusal):
                refused += 1
                continue
            records += 1
            here = [span.entity for _, text in item.texts() for span in detector.find(text)]
            touched += bool(here)
            found.update(here)
    return ScanResult(records, touched, refused, dict(sorted(found.items())))
