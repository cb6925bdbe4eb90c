"""From a dataset version to the plain files a stage reads."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from appliance.core.durable import write_bytes
from appliance.core.errors import RecipeInvalidError
from appliance.datasets.format import conversation, corpus, preference
from appliance.datasets.record import Record, Split
from appliance.datasets.store import Dataset


def train_records(dataset: Dataset) -> list[Record]:
    """Return the records of the train split; a dataset without a split is all train."""
    split: Split | None = "train" if dataset.manifest.splits else None
    return list(dataset.iter_records(split))


def corpus_rows(records: Iterable[Record]) -> list[dict[str, Any]]:
    """Return the documents a toy base learns language from.

    A question without context becomes a conversation, anything else its text: so the toy meets
    the form of a conversation without the house prompt taking most of its time.
    """
    rows: list[dict[str, Any]] = []
    for record in records:
        told = conversation(record)
        if told is not None and not record.context:
            rows.append({"messages": told["messages"]})
        else:
            rows.append(corpus(record))
    return rows


def sft_rows(records: Iterable[Record], limit: int | None, seed: int) -> list[dict[str, Any]]:
    """Return prompts with the answers to learn, at most ``limit``, balanced over the kinds."""
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for record in records:
        told = conversation(record)
        if told is not None:
            *prompt, answer = told["messages"]
            groups[record.kind].append({"prompt": prompt, "completion": answer["content"]})
    return balanced(dict(groups), limit, seed)


def balanced(
    groups: dict[str, list[dict[str, Any]]], limit: int | None, seed: int
) -> list[dict[str, Any]]:
    """Take ``limit`` rows: small groups whole, the rest of the room shared by the larger ones."""
    chance = random.Random(seed)  # noqa: S311 - a seeded choice of samples, not a secret
    left = limit if limit is not None else sum(map(len, groups.values()))
    taken: list[dict[str, Any]] = []
    for waiting, name in zip(
        range(len(groups), 0, -1), sorted(groups, key=lambda n: (len(groups[n]), n)), strict=True
    ):
        rows = groups[name]
        share = min(len(rows), left // waiting)
        taken += [rows[i] for i in sorted(chance.sample(range(len(rows)), share))]
        left -= share
    return taken


def preference_rows(
    records: Iterable[Record], limit: int | None, seed: int
) -> list[dict[str, Any]]:
    """Return the pairs of a safe and a forbidden answer, at most ``limit``, over the categories."""
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for record in records:
        pair = preference(record)
        if pair is not None:
            groups[record.category].append(
                {
                    "prompt": pair["prompt"],
                    "chosen": pair["chosen"][-1]["content"],
                    "rejected": pair["rejected"][-1]["content"],
                }
            )
    return balanced(dict(groups), limit, seed)


def write_rows(path: Path, rows: list[dict[str, Any]], *, what: str) -> int:
    """Write ``rows`` as JSON lines, readable by the owner only; none at all is an error."""
    if not rows:
        raise RecipeInvalidError(
            expected=f"{what} in the dataset's train split",
            found="none",
            remedy="Import records of that kind, or split the dataset again.",
        )
    lines = (json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n" for row in rows)
    write_bytes(path, "".join(lines).encode(), mode=0o600)
    return len(rows)
