"""Records as the trainer takes them: conversations, preference triples, plain text."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from appliance.core.canonical import file_hash, value_hash
from appliance.core.durable import new_folder, os_errors, write_json
from appliance.datasets.prompt import PROMPT_TEMPLATE_HASH, prompt_messages
from appliance.datasets.record import Record, Split
from appliance.datasets.store import Dataset

FILE_SPLITS: Final[tuple[Split, ...]] = ("train", "validation", "test")
LETTERS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_CONCLUSION: Final = {"en": "Conclusion", "pt-BR": "Conclusão"}


def answer_text(record: Record) -> str:
    """Return what the assistant should say; empty when the record teaches no answer."""
    if record.kind == "preference":
        return record.safe
    if record.kind == "choice":
        return f"{record.label}) {record.options[LETTERS.index(record.label)]}"
    if record.kind == "qa" and record.label:
        word = _CONCLUSION.get(record.language, "Conclusão")
        return f"{record.answer}\n\n{word}: {record.label}"
    return record.answer


def question_text(record: Record) -> str:
    """Return the question, with the lettered options of a multiple choice."""
    if record.kind != "choice":
        return record.question
    options = "\n".join(
        f"{letter}) {text}" for letter, text in zip(LETTERS, record.options, strict=False)
    )
    return f"{record.question}\n{options}"


def record_prompt(record: Record) -> list[dict[str, str]]:
    """Return the messages that ask a record's question."""
    return prompt_messages(question_text(record), record.context, record.turns)


def conversation(record: Record) -> dict[str, Any] | None:
    """Return ``{"id", "messages"}`` for tuning; None for a note or an open question."""
    answer = answer_text(record)
    if record.kind == "note" or not answer:
        return None
    messages = [*record_prompt(record), {"role": "assistant", "content": answer}]
    return {"id": record.id, "messages": messages}


def preference(record: Record) -> dict[str, Any] | None:
    """Return ``{"id", "category", "prompt", "chosen", "rejected"}``, or None for other kinds."""
    if record.kind != "preference":
        return None
    return {
        "id": record.id,
        "category": record.category,
        "prompt": record_prompt(record),
        "chosen": [{"role": "assistant", "content": record.safe}],
        "rejected": [{"role": "assistant", "content": record.forbidden}],
    }


def corpus(record: Record) -> dict[str, Any]:
    """Return ``{"text"}``: all a record says that may be learnt (never a forbidden answer)."""
    parts = (record.context, question_text(record), answer_text(record))
    return {"text": "\n".join(part for part in parts if part)}


ROWS: Final[dict[str, Callable[[Record], dict[str, Any] | None]]] = {
    "sft": conversation,
    "preference": preference,
    "corpus": corpus,
}


@dataclass(frozen=True)
class Export:
    """The files written for the trainer, with the number of rows of each."""

    folder: Path
    hash: str
    rows: dict[str, int]


def export(dataset: Dataset, folder: Path) -> Export:
    """Write a dataset's training files as ``folder``, whole or not at all.

    ``sft.<split>.jsonl`` (conversations), ``preference.<split>.jsonl`` (triples),
    ``corpus.<split>.jsonl`` (``{"text"}``), and ``export.json`` with the hash of each file, of
    the dataset and of the prompt. A dataset without a split is all ``train``.
    """
    has_splits = bool(dataset.manifest.splits)
    with new_folder(folder) as temp:
        rows: dict[str, int] = {}
        for split in FILE_SPLITS if has_splits else FILE_SPLITS[:1]:
            wanted = split if has_splits else None
            for name, row in ROWS.items():
                file = f"{name}.{split}.jsonl"
                rows[file] = _write(temp / file, map(row, dataset.iter_records(wanted)))
        files = {name: file_hash(temp / name) for name in sorted(rows)}
        described = {
            "dataset": dataset.hash,
            "prompt_template": PROMPT_TEMPLATE_HASH,
            "files": files,
            "rows": rows,
        }
        write_json(temp / "export.json", described)
    return Export(folder, value_hash(described), rows)


def _write(path: Path, values: Iterable[dict[str, Any] | None]) -> int:
    count = 0
    with os_errors(path), path.open("w", encoding="utf-8") as stream:
        for value in values:
            if value is not None:
                stream.write(json.dumps(value, ensure_ascii=False, sort_keys=True) + "\n")
                count += 1
    return count
