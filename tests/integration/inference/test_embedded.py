"""Real llama.cpp on real (tiny, random) GGUF files."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from appliance.core.errors import (
    ContextTooLongError,
    EngineUnavailableError,
    ModelHashMismatchError,
)
from appliance.core.settings.inference import InferenceSettings
from appliance.inference.embedded import EmbeddedEngine
from appliance.inference.engine import Message, Sampling
from appliance.inference.files import ModelFiles
from appliance.inference.scoring import DialogueScorer, split_answer
from appliance.inference.template import Template

SETTINGS = InferenceSettings(context_tokens=512, batch_tokens=64, threads=1)
ASK = [Message("user", "posso tomar remédio para dor no peito?")]


@pytest.fixture(scope="module")
def bare(toy: ModelFiles) -> Iterator[EmbeddedEngine]:
    engine = EmbeddedEngine(ModelFiles(toy.base, toy.base_hash), Template(), SETTINGS)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def adapted(toy: ModelFiles) -> Iterator[EmbeddedEngine]:
    engine = EmbeddedEngine(toy, Template(), SETTINGS)
    yield engine
    engine.close()


def test_scores_are_the_softmax_of_the_raw_logits(bare: EmbeddedEngine, toy: ModelFiles) -> None:
    import llama_cpp

    plain = llama_cpp.Llama(str(toy.base), n_ctx=512, n_threads=1, logits_all=True, verbose=False)
    prefix = bare.encode("dor no peito " * 30)  # more than one batch
    continuations = [bare.tokenize(" ligue SAMU 192"), bare.tokenize(" espere")]
    for scores, continuation in zip(bare.score(prefix, continuations), continuations, strict=True):
        plain.n_tokens = 0
        plain.eval([*prefix, *continuation])
        rows = np.array(plain.scores[len(prefix) - 1 : len(prefix) + len(continuation) - 1], float)
        exact = rows[range(len(continuation)), continuation] - np.log(np.exp(rows).sum(axis=1))
        assert np.allclose(scores.logprobs, exact, atol=2e-3)
        assert list(scores.best) == [
            int(row.argmax()) == token for row, token in zip(rows, continuation, strict=True)
        ]


def test_greedy_answers_are_the_argmax_of_the_scores(bare: EmbeddedEngine) -> None:
    prefix = bare.encode(ASK)
    text = bare.chat(ASK, Sampling(max_tokens=1)).text
    best = [t for t in range(300, 420) if bare.score(prefix, [[t]])[0].best[0]]
    assert not best or bare._loaded.piece(best[0]).decode() == text


def test_pieces_of_a_stream_are_the_whole_answer(bare: EmbeddedEngine) -> None:
    sampling = Sampling(max_tokens=40, temperature=0.9, seed=5)
    whole = bare.chat(ASK, sampling)
    pieces = list(bare.stream(ASK, sampling))
    assert "".join(p.text for p in pieces) == whole.text
    assert sum(p.tokens for p in pieces) == whole.completion_tokens <= 40
    assert [p.finish for p in pieces if p.finish] == [whole.finish]


def test_a_seed_fixes_the_answer(bare: EmbeddedEngine) -> None:
    def said(seed: int) -> str:
        return bare.chat(ASK, Sampling(max_tokens=20, temperature=1.0, seed=seed)).text

    assert said(1) == said(1)
    assert len({said(seed) for seed in range(4)}) > 1


def test_the_adapter_changes_the_model(bare: EmbeddedEngine, adapted: EmbeddedEngine) -> None:
    prefix, continuation = bare.encode(ASK), bare.tokenize(" ligue SAMU")
    one, two = bare.score(prefix, [continuation]), adapted.score(prefix, [continuation])
    assert abs(one[0].total - two[0].total) > 0.1
    assert adapted.identity.adapter_hash is not None
    assert bare.identity.adapter_hash is None


def test_the_template_inside_the_file_is_never_used(bare: EmbeddedEngine) -> None:
    text = b"".join(bare._loaded.piece(t) for t in bare.encode(ASK)).decode()
    assert "FROM THE FILE" not in text
    assert "### Pergunta:" in text


def test_one_request_leaves_nothing_for_the_next(bare: EmbeddedEngine, toy: ModelFiles) -> None:
    ask = [Message("user", "qual a dose?")]
    fresh = EmbeddedEngine(ModelFiles(toy.base, toy.base_hash), Template(), SETTINGS)
    alone = fresh.chat(ask, Sampling(max_tokens=24)).text
    fresh.close()
    bare.chat([Message("user", "canário 12345 " * 20)], Sampling(max_tokens=24))
    assert bare.chat(ask, Sampling(max_tokens=24)).text == alone
    stopped = bare.stream([Message("user", "outro segredo")], Sampling(max_tokens=24))
    next(iter(stopped))
    stopped.close()
    assert bare.chat(ask, Sampling(max_tokens=24)).text == alone


def test_two_callers_at_once_get_their_own_answers(bare: EmbeddedEngine) -> None:
    asks = [[Message("user", f"febre {n}")] for n in range(4)]
    alone = [bare.chat(a, Sampling(max_tokens=12)).text for a in asks]
    together = [""] * 4

    def work(n: int) -> None:
        together[n] = bare.chat(asks[n], Sampling(max_tokens=12)).text

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == alone


def test_answer_tokens_are_those_of_the_whole_text(bare: EmbeddedEngine) -> None:
    prefix, answer = split_answer(bare, ASK, "Procure atendimento.")
    whole = bare.encode([*ASK, Message("assistant", "Procure atendimento.")], answered=True)
    assert prefix + answer == whole
    assert answer[-1] == 2  # the end of the answer is scored too
    assert bare.encode(ASK)[: len(prefix)] == prefix


def test_a_dialogue_longer_than_the_context_loses_its_beginning(bare: EmbeddedEngine) -> None:
    scorer = DialogueScorer(bare)
    turns = [{"role": "user", "content": "dor no peito " * 400}]
    scores = scorer.score_answers(turns, ["Procure", "x" * 4000])
    assert scores[0] is not None
    assert scores[1] is None
    assert scorer.cut_prompts == 1
    assert scorer.write(turns, 8) is None


def test_a_prompt_longer_than_the_context_is_refused(bare: EmbeddedEngine) -> None:
    with pytest.raises(ContextTooLongError):
        bare.complete("dor " * 600, Sampling())
    with pytest.raises(ContextTooLongError):
        bare.score(bare.encode("dor " * 600), [[5]])


def test_the_context_is_never_longer_than_the_model_was_trained_for(toy: ModelFiles) -> None:
    assert toy.context_tokens(1_000_000) == 1024
    assert toy.context_tokens(100) == 100


def test_a_toy_gets_one_thread_unless_the_settings_name_more(toy: ModelFiles) -> None:
    every = len(os.sched_getaffinity(0))
    assert toy.threads(InferenceSettings()) == 1
    assert toy.threads(InferenceSettings(one_thread_below_mb=0)) == every
    assert toy.threads(InferenceSettings(threads=7)) == 7


def test_files_that_are_not_the_registered_ones_are_not_loaded(toy: ModelFiles) -> None:
    with pytest.raises(ModelHashMismatchError):
        EmbeddedEngine(replace(toy, base_hash="0" * 64), Template(), SETTINGS)
    with pytest.raises(ModelHashMismatchError):
        EmbeddedEngine(replace(toy, adapter_hash="0" * 64), Template(), SETTINGS)


def test_a_file_that_llama_cpp_cannot_load_is_an_error_in_words(toy: ModelFiles) -> None:
    assert toy.adapter is not None
    with pytest.raises(EngineUnavailableError):  # an adapter is not a model
        EmbeddedEngine(ModelFiles.of(toy.adapter), Template(), SETTINGS)
