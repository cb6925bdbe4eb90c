"""Is a dataset fit to train on? Duplicates, leakage, identifiers, balance, sizes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from appliance.core.home import Home
from appliance.core.settings import Settings
from appliance.datasets.similar import near_duplicates
from appliance.datasets.splitting import leaks
from appliance.datasets.store import Dataset, DatasetStore
from appliance.deid.detector import Detector

# Sizes that practice asks for: style 100 to 200, domain questions 500, a class 200 to 500.
SIZES: Final = {"instruction": 100, "chat": 100, "preference": 100, "qa": 500}
CLASS_SIZE: Final = 200
BALANCE: Final = 0.1  # smallest class over largest


@dataclass(frozen=True)
class Check:
    """One question about a dataset. A ``must`` that fails makes the answer no."""

    name: str
    ok: bool
    must: bool
    detail: str

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {"name": self.name, "ok": self.ok, "must": self.must, "detail": self.detail}


@dataclass(frozen=True)
class CheckReport:
    """All checks of one version."""

    hash: str
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether every ``must`` holds."""
        return all(check.ok for check in self.checks if check.must)


def check(home: Home, settings: Settings, dataset: str) -> CheckReport:
    """Check a dataset version; nothing is written."""
    found = DatasetStore(home).open(dataset)
    found.verify()
    labels = Counter(r.label for r in found.iter_records() if r.kind == "qa" and r.label)
    return CheckReport(
        found.hash,
        (
            *_similar(found, settings),
            _identifiers(found, settings),
            *_sizes(found.manifest.kinds),
            *_balance(labels),
            *_held_out(found),
        ),
    )


def _similar(dataset: Dataset, settings: Settings) -> tuple[Check, ...]:
    limits = settings.datasets
    pairs = list(
        near_duplicates(
            dataset.iter_records(),
            similarity=limits.near_duplicate_similarity,
            permutations=limits.minhash_permutations,
        )
    )
    exact = sum(pair.similarity == 1 for pair in pairs)
    duplicates = Check(
        "duplicates",
        not pairs,
        must=False,
        detail=f"{exact} pairs with the same words, {len(pairs) - exact} nearly the same",
    )
    if not dataset.manifest.splits:
        return (duplicates,)
    across = leaks(dataset.iter_records(), ((p.first, p.second) for p in pairs))
    detail = f"{across['group']} groups and {across['near_duplicate']} pairs on two sides"
    return duplicates, Check("leakage", not across.total(), must=True, detail=detail)


def _identifiers(dataset: Dataset, settings: Settings) -> Check:
    detector = Detector(settings.deid.threshold, name_model=settings.deid.name_model or None)
    found: Counter[str] = Counter()
    for record in dataset.iter_records():
        for _, text in record.texts():
            found.update(span.entity for span in detector.find(text))
    listed = ", ".join(f"{name} {count}" for name, count in sorted(found.items()))
    return Check("identifiers", not found, must=True, detail=listed or "none found")


def _sizes(kinds: Mapping[str, int]) -> list[Check]:
    return [
        Check(
            f"size of {kind}", kinds[kind] >= least, must=False, detail=f"{kinds[kind]} of {least}"
        )
        for kind, least in SIZES.items()
        if kind in kinds
    ]


def _balance(labels: Counter[str]) -> list[Check]:
    if not labels:
        return []
    small, large = min(labels.values()), max(labels.values())
    listed = ", ".join(f"{name} {count}" for name, count in labels.most_common())
    return [
        Check("class balance", small / large >= BALANCE, must=False, detail=listed),
        Check("class size", small >= CLASS_SIZE, must=False, detail=f"smallest {small}"),
    ]


def _held_out(dataset: Dataset) -> list[Check]:
    if not dataset.manifest.splits or "preference" not in dataset.manifest.kinds:
        return []
    pairs = [(r.category, r.split) for r in dataset.iter_records() if r.kind == "preference"]
    held = {category for category, side in pairs if side == "test"}
    missing = {category for category, _ in pairs} - held
    detail = f"{len(held)} categories with held-out pairs, {len(missing)} without"
    return [Check("held-out pairs", not missing, must=True, detail=detail)]
