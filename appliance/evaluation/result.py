"""Evaluation results: one JSON file each, named by the hash of its content."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from appliance.core.canonical import value_hash
from appliance.core.durable import read_json, write_json
from appliance.core.errors import EvaluationMissingError, StateDamagedError
from appliance.core.home import Home

_HASH = re.compile(r"[0-9a-f]{8,64}")


class Subject(BaseModel):
    """What was measured: the hashes of base GGUF, adapter GGUF ("" for none), template."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    engine: str
    model: str
    adapter: str = ""
    template: str = ""

    @property
    def served_hash(self) -> str:
        """The hash a promotion would name: the adapter's, or the base's without one."""
        return self.adapter or self.model


class EvaluationResult(BaseModel):
    """A finished evaluation. ``hash`` covers all other fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    hash: str
    subject: Subject
    dataset: str
    split: str
    options: dict[str, Any]
    counts: dict[str, int]
    metrics: dict[str, Any]
    items: dict[str, Any]

    @classmethod
    def of(cls, **fields: Any) -> EvaluationResult:
        """Return the result of ``fields`` under the hash of its content."""
        draft = cls(hash="", **fields)
        return draft.model_copy(update={"hash": draft.content_hash()})

    def content_hash(self) -> str:
        """Return the hash over everything but ``hash`` itself."""
        return value_hash(self.model_dump(mode="json", exclude={"hash"}))


class EvaluationStore:
    """The results under ``evaluations/`` of a home."""

    def __init__(self, home: Home) -> None:
        """Look under ``home``."""
        self._folder = home.evaluations

    def save(self, result: EvaluationResult) -> EvaluationResult:
        """Write ``result``, whole or not at all."""
        write_json(self._folder / f"{result.hash}.json", result.model_dump(mode="json"))
        return result

    def open(self, wanted: str) -> EvaluationResult:
        """Return a result by its hash or eight or more first characters; checked."""
        found = [p for p in self._paths() if p.stem.startswith(wanted)]
        if not _HASH.fullmatch(wanted) or len(found) != 1:
            raise EvaluationMissingError(
                expected="the hash of one evaluation, or its first 8 characters or more",
                found=f"{len(found)} evaluations that start so",
            )
        try:
            result = EvaluationResult.model_validate(read_json(found[0]))
        except ValidationError as error:
            raise StateDamagedError(
                expected=f"an evaluation in {found[0]}", found="unknown or missing fields"
            ) from error
        if result.content_hash() != result.hash or result.hash != found[0].stem:
            raise StateDamagedError(
                expected=f"the evaluation {found[0].stem}", found="a file that was changed"
            )
        return result

    def all(self) -> list[EvaluationResult]:
        """Return all results, in order of their hashes."""
        return [self.open(path.stem) for path in self._paths()]

    def find(
        self, subject: Subject, dataset: str, split: str, options: dict[str, Any]
    ) -> EvaluationResult | None:
        """Return the result of the same measurement, when it was made before."""
        for result in self.all():
            same = result.subject == subject and result.options == options
            if same and result.dataset == dataset and result.split == split:
                return result
        return None

    def _paths(self) -> list[Path]:
        if not self._folder.is_dir():
            return []
        return sorted(p for p in self._folder.glob("*.json") if _HASH.fullmatch(p.stem))
