"""``appliance guard``: what the safety rules say about a question and an answer."""

from __future__ import annotations

import sys
from typing import Any

import click

from appliance.cli.common import answer, emit, json_option


@click.group()
def guard() -> None:
    """Check a question or an answer against the safety rules."""


@guard.command()
@click.option("--question", default="", help="The question; '-' reads it from standard input.")
@click.option("--answer", "answer_text", default="", help="The answer a model gave.")
@json_option
def check(*, question: str, answer_text: str, as_json: bool) -> int:
    """Say which rules fire and what a person would be shown; exit code 1 when any does."""
    from appliance.gateway.guard import check as run
    from appliance.gateway.guard import shipped_rules

    if not question and not answer_text:
        raise click.UsageError("give --question or --answer (or both)")
    asked = sys.stdin.read() if question == "-" else question
    value = run(asked, answer_text, shipped_rules())
    emit(value, as_json=as_json, text=lambda: _text(value))
    return answer(value["ok"])


def _text(value: dict[str, Any]) -> str:
    if value["ok"]:
        return "No rule fires."
    lines = [f"{f['rule']} ({f['where']}, {f['action']}): {f['notice']}" for f in value["findings"]]
    return "\n".join(lines)
