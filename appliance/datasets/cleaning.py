"""De-identify a dataset: a new version whose parent still holds the identifiers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from appliance.audit.recorder import Recorder
from appliance.core.home import Home
from appliance.core.progress import NoProgress, Progress
from appliance.core.settings import Settings
from appliance.datasets.record import Record, question_group
from appliance.datasets.store import Dataset, DatasetStore, Draft, Tally
from appliance.deid.service import Deidentifier, deidentifier

PATIENT_LABEL: Final = "Paciente: "
QUESTION_GROUP: Final = "q:"


@dataclass(frozen=True)
class CleanResult:
    """The version without identifiers, and how many of each kind were replaced."""

    hash: str
    parent: str
    records: int
    changed: int
    entities: dict[str, int]
    path: Path


def deidentify(
    home: Home,
    settings: Settings,
    dataset: str,
    recorder: Recorder,
    progress: Progress | None = None,
) -> CleanResult:
    """Replace the identifiers of every record; the same policy on the same parent is a no-op."""
    store = DatasetStore(home)
    parent = store.open(dataset)
    with recorder.action("deid.apply", dataset=parent.hash) as act:
        parent.verify()
        cleaner = deidentifier(home, settings.deid)
        tally = Tally()
        work = _Cleaning(parent, cleaner, tally, progress or NoProgress())
        draft = Draft(
            "deidentified",
            parent=parent.hash,
            name=parent.manifest.name,
            licence=parent.manifest.licence,
            policy=cleaner.policy(),
        )
        result = store.write(work.records(), draft, tally)
        entities = result.manifest.entities
        act.detail.update(result=result.hash, records=result.manifest.records, **_detail(entities))
    return CleanResult(
        result.hash, parent.hash, result.manifest.records, work.changed, entities, result.path
    )


def _detail(entities: dict[str, int]) -> dict[str, int]:
    return {f"found_{name.lower()}": count for name, count in entities.items()}


class _Cleaning:
    def __init__(
        self, parent: Dataset, cleaner: Deidentifier, tally: Tally, progress: Progress
    ) -> None:
        self._parent = parent
        self._cleaner = cleaner
        self._tally = tally
        self._progress = progress
        self.changed = 0

    def records(self) -> Iterator[Record]:
        counts: Counter[str] = Counter()
        known = patient_names(self._parent)
        total = self._parent.manifest.records
        for done, record in enumerate(self._parent.iter_records(), start=1):
            cleaned, found = clean_record(record, self._cleaner, known.get(record.group, ()))
            counts += found
            self.changed += bool(found)
            yield cleaned
            self._progress.update(done, total)
        self._progress.close()
        self._tally.entities = dict(sorted(counts.items()))


def patient_names(dataset: Dataset) -> dict[str, tuple[str, ...]]:
    """Return the names that Patient resources tell, by patient: notes repeat them unlabelled."""
    names: dict[str, tuple[str, ...]] = {}
    if "note" not in dataset.manifest.kinds:
        return names
    for record in dataset.iter_records():
        if record.source == "fhir" and record.category == "Patient":
            lines = record.context.splitlines()
            found = (
                line.removeprefix(PATIENT_LABEL) for line in lines if line.startswith(PATIENT_LABEL)
            )
            names[record.group] = (*names.get(record.group, ()), *found)
    return names


def clean_record(
    record: Record, cleaner: Deidentifier, known: tuple[str, ...] = ()
) -> tuple[Record, Counter[str]]:
    """Return a record without identifiers, in its texts, its id, its category and its group."""
    counts: Counter[str] = Counter()
    texts: dict[str, str] = {}
    for name, text in record.texts():
        cleaned = cleaner.clean(text, record.group, known)
        if cleaned.counts:
            texts[name] = cleaned.text
            counts += cleaned.counts
    result = record.with_texts(texts) if texts else record
    pseudonyms = cleaner.pseudonyms
    if record.kind == "note":
        prefix = record.id.partition(":")[0]
        identifier = f"{prefix}:{pseudonyms.identifier('record', record.id)}"
    else:
        identifier = cleaner.clean(record.id).text
    if record.group.startswith(QUESTION_GROUP):
        group = question_group(result) if texts else record.group
    else:
        group = f"p:{pseudonyms.identifier('patient', record.group)}"
    category = cleaner.clean(record.category).text if record.category else ""
    return replace(result, id=identifier, group=group, category=category), counts
