"""The data that the project ships: contrastive pairs and harmless questions in Portuguese."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent / "data"
CONTRASTIVE: Final = FOLDER / "contrastive.pt-BR.jsonl"
HARMLESS: Final = FOLDER / "harmless.pt-BR.jsonl"
NOTES: Final = FOLDER / "notes.pt-BR.jsonl"
_SENTENCE_END = re.compile(r"(?<=[.?!])\s+")


def plain_sentences() -> tuple[str, ...]:
    """Return the sentences of the shipped questions and answers: none names a person."""
    found: list[str] = []
    for path in (CONTRASTIVE, HARMLESS):
        for line in path.read_text(encoding="utf-8").splitlines():
            value = json.loads(line)
            for name in ("question", "forbidden", "safe", "answer"):
                found += _SENTENCE_END.split(value.get(name, ""))
    return tuple(sentence for sentence in found if sentence)
