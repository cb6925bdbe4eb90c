"""``appliance ask`` and ``appliance chat``: a client of the gateway, like any application."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from appliance.cli.common import answer, emit, get_home, get_settings, json_option

if TYPE_CHECKING:
    from appliance.gateway.client import GatewayClient

LEAVE = {"/sair", "/exit", "/quit"}


@click.command()
@click.argument("question")
@click.option("--max-tokens", type=click.IntRange(1), help="Tokens of the answer, at most.")
@json_option
@click.pass_context
def ask(ctx: click.Context, *, question: str, max_tokens: int | None, as_json: bool) -> int:
    """Ask the promoted model one QUESTION, through the gateway.

    Uses the gateway that runs on this home, or starts one for this question.
    """
    messages = [{"role": "user", "content": question}]
    with _client(ctx) as client:
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
@json_option
@click.pass_context
def chat(ctx: click.Context, *, max_tokens: int | None, as_json: bool) -> int:
    """Talk to the promoted model; /sair or Ctrl-D ends. With --json one JSON line an answer."""
    messages: list[dict[str, str]] = []
    with _client(ctx) as client:
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
def _client(ctx: click.Context) -> Iterator[GatewayClient]:
    """Yield a client of this home's gateway."""
    from appliance.audit.recorder import open_recorder
    from appliance.gateway.client import GatewayClient
    from appliance.gateway.service import reach_gateway

    home = get_home(ctx)
    settings = get_settings(home)
    limits = settings.gateway
    with (
        reach_gateway(home, settings, lambda: open_recorder(home, "gateway")) as running,
        GatewayClient(
            running, limits.model_alias, limits.request_timeout_s + limits.queue_timeout_s
        ) as client,
    ):
        yield client
