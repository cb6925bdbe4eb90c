"""Divide a dataset into train, validation and test so that nothing stands on both sides.

Records of one group (a patient, the same question) and near-duplicates form a cluster; clusters
are dealt out whole, within each stratum (a category of pairs, a class of answers), in the order
of a keyed hash: the same records and the same seed give the same split on every machine.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from appliance.audit.recorder import Recorder
from appliance.core.canonical import file_hash
from appliance.core.durable import os_errors
from appliance.core.errors import InputInvalidError, SplitImpossibleError
from appliance.core.home import Home
from appliance.core.settings import Settings
from appliance.datasets.record import Record, Split
from appliance.datasets.similar import near_duplicates
from appliance.datasets.store import DatasetStore, Draft, Tally

SMALLEST: Final = 3  # clusters of a stratum that can have all three splits


@dataclass(frozen=True)
class SplitOptions:
    """How to divide; what is not given comes from the settings."""

    validation: float | None = None
    test: float | None = None
    seed: int | None = None
    test_ids: Path | None = None


@dataclass(frozen=True)
class SplitResult:
    """The version with splits."""

    hash: str
    parent: str
    splits: dict[str, int]
    clusters: int
    path: Path


def split(
    home: Home,
    settings: Settings,
    dataset: str,
    recorder: Recorder,
    options: SplitOptions | None = None,
) -> SplitResult:
    """Divide a de-identified dataset; the same options on the same parent are a no-op."""
    options = options or SplitOptions()
    limits = settings.datasets
    store = DatasetStore(home)
    parent = store.open(dataset)
    if parent.manifest.stage == "imported":
        raise SplitImpossibleError(
            expected="a dataset without identifiers",
            found=f"{parent.hash}, as it was imported",
            remedy="Run `appliance deid apply` on it first.",
        )
    policy: dict[str, Any] = {
        "validation": f"{_or(options.validation, limits.validation_share):g}",
        "test": f"{_or(options.test, limits.test_share):g}",
        "seed": _or(options.seed, limits.split_seed),
        "similarity": f"{limits.near_duplicate_similarity:g}",
        "permutations": limits.minhash_permutations,
        "test_ids": file_hash(options.test_ids) if options.test_ids else "",
    }
    with recorder.action("data.split", dataset=parent.hash) as act:
        parent.verify()
        pairs = near_duplicates(
            parent.iter_records(),
            similarity=limits.near_duplicate_similarity,
            permutations=limits.minhash_permutations,
        )
        keys = [_Key.of(record) for record in parent.iter_records()]
        clusters = join([k.group for k in keys], ((p.first, p.second) for p in pairs))
        wanted = read_ids(options.test_ids) if options.test_ids else frozenset()
        shares = float(policy["validation"]), float(policy["test"])
        sides = deal(keys, clusters, shares, policy["seed"], wanted)
        draft = Draft(
            "split",
            parent=parent.hash,
            name=parent.manifest.name,
            licence=parent.manifest.licence,
            policy=policy,
        )
        records = (replace(r, split=s) for r, s in zip(parent.iter_records(), sides, strict=True))
        tally = Tally(entities=parent.manifest.entities)
        result = store.write(records, draft, tally)
        act.detail.update(result=result.hash, **result.manifest.splits)
    return SplitResult(
        result.hash, parent.hash, result.manifest.splits, len(set(clusters)), result.path
    )


def _or(value: Any, otherwise: Any) -> Any:
    return otherwise if value is None else value


@dataclass(frozen=True, slots=True)
class _Key:
    id: str
    group: str
    stratum: str

    @classmethod
    def of(cls, record: Record) -> _Key:
        """Keep what the split needs of a record."""
        aspect = record.category if record.kind == "preference" else record.label
        if record.kind == "choice":
            aspect = ""
        return cls(record.id, record.group, f"{record.kind}/{record.source}/{aspect}")


def join(groups: Sequence[str], pairs: Iterable[tuple[int, int]]) -> list[int]:
    """Return for each record the position of its cluster's first record."""
    parents = list(range(len(groups)))

    def root(position: int) -> int:
        while parents[position] != position:
            parents[position] = parents[parents[position]]
            position = parents[position]
        return position

    first: dict[str, int] = {}
    same = ((first.setdefault(group, i), i) for i, group in enumerate(groups))
    for one, other in [*same, *pairs]:
        low, high = sorted((root(one), root(other)))
        parents[high] = low
    return [root(i) for i in range(len(groups))]


def deal(
    keys: Sequence[_Key],
    clusters: Sequence[int],
    shares: tuple[float, float],
    seed: int,
    test_ids: frozenset[str] = frozenset(),
) -> list[Split]:
    """Return the split of each record; raises ``SplitImpossibleError`` with too few clusters."""
    if len(set(clusters)) < SMALLEST:
        raise SplitImpossibleError(
            expected=f"{SMALLEST} groups of records or more", found=f"{len(set(clusters))}"
        )
    forced = {
        cluster
        for key, cluster in zip(keys, clusters, strict=True)
        if key.id in test_ids or key.id.rpartition(":")[2] in test_ids
    }
    if test_ids and not forced:
        raise SplitImpossibleError(
            expected="test ids that name records of this dataset",
            found=f"{len(test_ids)} ids, none of them here",
        )
    # A cluster's place and stratum come from its least member, whatever the order of the records.
    least: dict[int, tuple[bytes, str]] = {}
    for key, cluster in zip(keys, clusters, strict=True):
        mine = _order(seed, key), key.stratum
        least[cluster] = min(mine, least.get(cluster, mine))
    strata: dict[str, list[int]] = defaultdict(list)
    for cluster in sorted(least, key=lambda c: least[c]):
        strata[least[cluster][1]].append(cluster)
    # A source whose test set is given gets no other test records.
    given = {_source(least[c][1]) for c in forced}
    side: dict[int, Split] = dict.fromkeys(forced, "test")
    for stratum, members in strata.items():
        free = [c for c in members if c not in forced]
        counts = _counts(len(free), shares, has_test=_source(stratum) in given)
        side.update(zip(free, _sides(counts), strict=False))
    return [side.get(cluster, "train") for cluster in clusters]


def _source(stratum: str) -> str:
    return stratum.rpartition("/")[0]


def _order(seed: int, key: _Key) -> bytes:
    return hashlib.sha256(f"{seed}\x00{key.group}\x00{key.id}".encode()).digest()


def _counts(size: int, shares: tuple[float, float], *, has_test: bool) -> tuple[int, int]:
    """Return how many clusters go to validation and to test, at least one each when possible."""
    validation, test = (round(share * size) for share in shares)
    if has_test:
        return (max(1, validation) if size >= SMALLEST else 0), 0
    if size >= SMALLEST:
        return max(1, validation), max(1, test)
    return 0, max(0, size - 1)


def _sides(counts: tuple[int, int]) -> list[Split]:
    validation, test = counts
    tests: list[Split] = ["test"] * test
    validations: list[Split] = ["validation"] * validation
    return tests + validations


def read_ids(path: Path) -> frozenset[str]:
    """Return the ids of a file: a JSON object's keys, a JSON list, or one a line."""
    with os_errors(path):
        text = path.read_text(encoding="utf-8", errors="replace")
    try:
        value = json.loads(text)
    except ValueError:
        return frozenset(line.strip() for line in text.splitlines() if line.strip())
    if isinstance(value, dict | list):
        return frozenset(str(item) for item in value)
    raise InputInvalidError(
        expected="a JSON object or list of ids, or one a line", found=f"a {type(value).__name__}"
    )


def leaks(records: Iterable[Record], pairs: Iterable[tuple[int, int]]) -> Counter[str]:
    """Return how many pairs (same group, near-duplicate) stand on two sides of a split."""
    sides: list[str] = []
    groups: dict[str, set[str]] = defaultdict(set)
    for record in records:
        sides.append(record.split)
        groups[record.group].add(record.split)
    found: Counter[str] = Counter()
    found["group"] = sum(len(where) > 1 for where in groups.values())
    found["near_duplicate"] = sum(sides[a] != sides[b] for a, b in pairs)
    return found
