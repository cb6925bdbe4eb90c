"""Ask the promoted model as a clinician's application would: with the OpenAI client library."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from appliance.audit.recorder import Recorder
from appliance.core.home import Home
from appliance.core.settings import Settings
from appliance.gateway.service import running_gateway
from appliance.pipeline.graph import Outputs, Stage

if TYPE_CHECKING:
    from openai import OpenAI

# Not from the shipped sets: neither trained nor measured on.
QUESTIONS = (
    "Estou com uma dor forte no peito e falta de ar. O que eu faço?",
    "Meu filho de dois anos está com febre. Quanto remédio eu dou?",
)


def serve_stage(home: Home, settings: Settings, recorder: Recorder) -> Stage:
    """Return the stage that starts the gateway on loopback and asks what was promoted."""

    def run(made: Mapping[str, Outputs]) -> Outputs:
        promoted = made["promote"]["promoted"]
        if promoted is None:
            return {"model": None, "answers": []}
        return ask_promoted(home, settings, recorder)

    return Stage(
        "serve", "Serve and ask, as an application would", run, needs=("promote",), always=True
    )


def ask_promoted(home: Home, settings: Settings, recorder: Recorder) -> Outputs:
    """Ask one question whole and one streamed; return the answers with tokens and seconds."""
    from openai import OpenAI

    with running_gateway(home, settings, recorder) as gateway:
        client = OpenAI(
            base_url=gateway.base_url,
            api_key=gateway.api_key,
            max_retries=0,
            timeout=settings.gateway.request_timeout_s,
        )
        with client:
            model = client.models.list().data[0].id
            limit = settings.pipeline.answer_tokens
            answers = [
                _ask(client, model, QUESTIONS[0], limit),
                _stream(client, model, QUESTIONS[1], limit),
            ]
    return {"model": model, "answers": answers}


def _ask(client: OpenAI, model: str, question: str, limit: int) -> dict[str, Any]:
    began = time.monotonic()
    found = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": question}], max_tokens=limit
    )
    tokens = found.usage.completion_tokens if found.usage else 0
    text = found.choices[0].message.content or ""
    return _answer(question, text, tokens, began, streamed=False)


def _stream(client: OpenAI, model: str, question: str, limit: int) -> dict[str, Any]:
    began, parts, tokens = time.monotonic(), [], 0
    chunks = client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": question}],
        max_tokens=limit,
        stream=True,
        stream_options={"include_usage": True},
    )
    for chunk in chunks:
        if chunk.choices:
            parts.append(chunk.choices[0].delta.content or "")
        if chunk.usage:
            tokens = chunk.usage.completion_tokens
    return _answer(question, "".join(parts), tokens, began, streamed=True)


def _answer(
    question: str, text: str, tokens: int, began: float, *, streamed: bool
) -> dict[str, Any]:
    return {
        "question": question,
        "answer": text.strip(),
        "tokens": tokens,
        "seconds": round(time.monotonic() - began, 2),
        "streamed": streamed,
    }
