"""A small real dataset for the trainer, and the trainer itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from appliance.core.home import Home
from appliance.core.settings import Settings
from appliance.datasets.record import Record
from appliance.datasets.store import DatasetStore, Draft, Tally
from appliance.training.environment import find_trainer

QUESTIONS = 60  # records of each kind: enough text for a tokenizer, seconds to learn from


@pytest.fixture(scope="session")
def trainer_settings() -> Settings:
    """The default settings; the trainer environment must be there."""
    settings = Settings()
    find_trainer(settings.training).require_converter()
    return settings


@pytest.fixture(scope="session")
def records(shared_dir: Path) -> list[Record]:
    """Real PubMedQA questions without their contexts, and the project's own pairs."""
    from importlib import resources

    articles = json.loads((shared_dir / "data" / "pubmedqa" / "ori_pqal.json").read_bytes())
    found = [
        Record(
            id=f"pubmedqa:{key}",
            kind="qa",
            question=value["QUESTION"],
            answer=value["LONG_ANSWER"],
            language="en",
            group=key,
            split="train",
        )
        for key, value in list(articles.items())[:QUESTIONS]
    ]
    pairs = resources.files("appliance.datasets") / "data" / "contrastive.pt-BR.jsonl"
    for line in pairs.read_text(encoding="utf-8").splitlines()[:QUESTIONS]:
        value = json.loads(line)
        found.append(
            Record(
                id=value["id"],
                kind="preference",
                question=value["question"],
                forbidden=value["forbidden"],
                safe=value["safe"],
                category=value["category"],
                group=value["id"],
                split="train",
            )
        )
    return found


def write_dataset(home: Home, records: list[Record]) -> str:
    """Return the hash of ``records`` as a dataset version of ``home``."""
    return DatasetStore(home).write(records, Draft(stage="split", licence="MIT"), Tally()).hash


@pytest.fixture
def dataset(home: Home, records: list[Record]) -> str:
    """The records as a de-identified, split version of the test's home."""
    return write_dataset(home, records)
