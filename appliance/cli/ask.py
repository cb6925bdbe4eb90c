"""``appliance ask`` and ``appliance chat``: a client of the gateway, like any application."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from appliance.cli.common import answer, emit, get_home, get_settings, json_option

if TYPE_CHECKING:
    from appliance.gateway.client import GatewayClient

LEAVE = {"/sair", "/exit", "/quit"}


class Purpose(click.ParamType[str]):
    """An HL7 purpose of use that the gateway takes."""

    name = "code"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the code."""
        from appliance.gateway.care import PURPOSES

        if value not in PURPOSES:
            self.fail(f"one of {', '.join(sorted(PURPOSES))}", param, ctx)
        return str(value)


def care_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add what an officer must be able to see later: about whom, why, and an emergency's reason."""
    for option in (
        click.option(
            "--emergency",
            metavar="REASON",
            help="Emergency access: why, in a sentence without names; needs --ask-patient.",
        ),
        click.option(
            "--purpose",
            type=Purpose(),
            help="TREAT (treatment), ETREAT (emergency), CAREMGT, HOPERAT, HQUALIMP, HTEST, ETEST.",
        ),
        click.option(
            "--ask-patient",
            is_flag=True,
            help="Ask for the patient's number; the log gets a pseudonym, the number is not kept.",
        ),
    ):
        command = option(command)
    return command


def _care(given: dict[str, Any]) -> dict[str, str]:
    """Return the headers for what was given; asks for the patient's number without echo."""
    from urllib.parse import quote

    from appliance.gateway.care import EMERGENCY, PATIENT, PURPOSE

    if given["emergency"] and not given["ask_patient"]:
        raise click.UsageError("an emergency access needs its patient: add --ask-patient")
    said = {PURPOSE: given["purpose"], EMERGENCY: given["emergency"]}
    if given["ask_patient"]:
        said[PATIENT] = click.prompt("patient number", hide_input=True, err=True)
    return {name: quote(value, safe="") for name, value in said.items() if value}


@click.command()
@click.argument("question")
@click.option("--max-tokens", type=click.IntRange(1), help="Tokens of the answer, at most.")
@care_options
@json_option
@click.pass_context
def ask(
    ctx: click.Context, /, *, question: str, max_tokens: int | None, as_json: bool, **given: Any
) -> int:
    """Ask the promoted model one QUESTION, through the gateway.

    Uses the gateway that runs on this home, or starts one for this question.
    """
    messages = [{"role": "user", "content": question}]
    with _client(ctx, _care(given)) as client:
        if not as_json:
            _print(client.stream(messages, max_tokens))
            return answer(ok=True)
        found = client.ask(messages, max_tokens)
    choice = found["choices"][0]
    value = {
        "ok": True,
        "answer": choice["message"]["content"],
        "finish": choice["finish_reason"],
        "model": found["model"],
        "request": found["id"],
        "usage": found["usage"],
    }
    emit(value, as_json=True)
    return answer(ok=True)


@click.command()
@click.option("--max-tokens", type=click.IntRange(1), help="Tokens of an answer, at most.")
@care_options
@json_option
@click.pass_context
def chat(ctx: click.Context, /, *, max_tokens: int | None, as_json: bool, **given: Any) -> int:
    """Talk to the promoted model; /sair or Ctrl-D ends. With --json one JSON line an answer."""
    messages: list[dict[str, str]] = []
    with _client(ctx, _care(given)) as client:
        while (said := _said(as_json=as_json)) is not None:
            messages.append({"role": "user", "content": said})
            pieces = client.stream(messages, max_tokens)
            text = "".join(pieces) if as_json else _print(pieces)
            if as_json:
                click.echo(json.dumps({"answer": text}, ensure_ascii=False))
            messages.append({"role": "assistant", "content": text})
    return answer(ok=True)


def _said(*, as_json: bool) -> str | None:
    """Return what the person says next, or None when they leave."""
    try:
        said: str = click.prompt("você", prompt_suffix="> ", err=as_json).strip()
    except click.exceptions.Abort:
        click.echo(err=True)
        return None
    return None if said.lower() in LEAVE else said


def _print(pieces: Iterator[str]) -> str:
    """Print an answer as it comes and return it."""
    parts = []
    for text in pieces:
        parts.append(text)
        click.echo(text, nl=False)
    click.echo()
    return "".join(parts)


@contextmanager
def _client(ctx: click.Context, care: dict[str, str]) -> Iterator[GatewayClient]:
    """Yield a client of this home's gateway; ``care`` are headers that every question carries."""
    from appliance.audit.recorder import open_recorder
    from appliance.gateway.client import GatewayClient
    from appliance.gateway.service import reach_gateway

    home = get_home(ctx)
    settings = get_settings(home)
    limits = settings.gateway
    with (
        reach_gateway(home, settings, lambda: open_recorder(home, "gateway")) as running,
        GatewayClient(
            running,
            limits.model_alias,
            limits.request_timeout_s + limits.queue_timeout_s,
            care,
        ) as client,
    ):
        yield client
