from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.core.errors import ModelHashMismatchError
from appliance.core.settings.inference import InferenceSettings
from appliance.inference.engine import Sampling
from appliance.inference.files import ModelFiles
from appliance.inference.llama_server import delta_of, request_body
from appliance.inference.logits import log_softmax_rows
from appliance.inference.restart import RestartPolicy
from appliance.inference.sse import events
from appliance.inference.supervisor import server_arguments
from appliance.inference.upstream import piece_of

ROWS = st.lists(st.lists(st.floats(-80, 80, width=32), min_size=3, max_size=3), min_size=1)


@given(ROWS, st.integers(0, 2))
def test_log_softmax_is_numpys_softmax(rows: list[list[float]], pick: int) -> None:
    logits = np.array(rows, dtype=np.float32)
    values, best = log_softmax_rows(logits, np.full(len(rows), pick))
    plain = np.exp(logits.astype(np.float64))
    expected = np.log(plain[:, pick] / plain.sum(axis=1))
    assert np.allclose(values, expected, atol=1e-9)
    assert best == [bool(row.argmax() == pick) for row in logits]


def test_log_softmax_does_not_overflow() -> None:
    values, _ = log_softmax_rows(np.array([[1e4, 0.0]], dtype=np.float32), np.array([0]))
    assert values == [0.0]


def test_restarts_wait_longer_each_time_and_then_end() -> None:
    policy = RestartPolicy(limit=3, window_s=100)
    assert [policy.next_delay(t) for t in (0, 1, 2, 3)] == [0.2, 0.4, 0.8, None]


def test_old_crashes_are_forgotten() -> None:
    policy = RestartPolicy(limit=1, window_s=10)
    assert [policy.next_delay(t) for t in (0, 11, 22)] == [0.2, 0.2, 0.2]


def test_a_policy_without_restarts_gives_up_at_once() -> None:
    assert RestartPolicy(limit=0, window_s=10).next_delay(0) is None


def test_prompt_caches_pages_and_downloads_of_llama_server_are_off() -> None:
    files = ModelFiles(Path("/m/base.gguf"), "a", Path("/m/lora.gguf"), "b")
    arguments = server_arguments(files, InferenceSettings(context_tokens=512, parallel_requests=4))
    for flag in (
        "--no-cache-idle-slots",
        "--no-cache-prompt",
        "--no-slots",
        "--no-ui",
        "--offline",
        "--no-jinja",
    ):
        assert flag in arguments
    pairs = dict(itertools.pairwise(arguments))
    assert pairs["--cache-ram"] == "0"
    assert pairs["--ctx-size"] == "2048"
    assert pairs["--lora"] == "/m/lora.gguf"
    assert pairs["--host"] == "engine.sock"
    assert "--port" not in arguments


def test_no_request_to_llama_server_may_use_a_prompt_cache() -> None:
    body = request_body([1, 2], Sampling(max_tokens=50, stop=("x",)), ("###",), room=9)
    assert body["cache_prompt"] is False
    assert (body["n_predict"], body["stop"], body["prompt"]) == (9, ["x", "###"], [1, 2])


def test_the_last_event_counts_the_tokens_that_had_none() -> None:
    assert delta_of({"content": "a", "tokens": [5], "stop": False}, 0).tokens == 1
    last = {"content": "", "stop": True, "stop_type": "eos", "tokens_predicted": 3}
    assert (delta_of(last, 1).tokens, delta_of(last, 1).finish) == (2, "stop")


@pytest.mark.parametrize("event", [{"error": {"message": "x"}}, {}, {"content": 5}])
def test_an_event_that_is_not_an_answer_is_refused(event: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"event|error"):
        delta_of(event, 0)


def test_an_upstreams_chunks_of_both_kinds_are_read() -> None:
    assert piece_of({"choices": [{"delta": {"content": "a"}, "finish_reason": None}]}) == (
        "a",
        None,
    )
    assert piece_of({"choices": [{"text": "b", "finish_reason": "length"}]}) == ("b", "length")
    assert piece_of({"choices": [{"delta": {}, "finish_reason": "stop"}]}) == ("", "stop")
    assert piece_of({"choices": [], "usage": {}}) == ("", None)


@given(st.lists(st.dictionaries(st.text(), st.text()), max_size=5))
def test_events_are_read_back(values: list[dict[str, str]]) -> None:
    lines = [": a comment", ""]
    for value in values:
        lines += [f"data: {json.dumps(value)}", ""]
    assert list(events([*lines, "data: [DONE]", 'data: {"after": "the end"}'])) == values


def test_a_file_that_is_not_the_registered_one_is_not_loaded(tmp_path: Path) -> None:
    base = tmp_path / "base.gguf"
    base.write_bytes(b"GGUF" + bytes(20))
    good = ModelFiles.of(base)
    good.verify()
    base.write_bytes(b"GGUF" + bytes(19) + b"\x01")
    with pytest.raises(ModelHashMismatchError):
        good.verify()


def test_a_file_that_is_no_gguf_is_not_loaded(tmp_path: Path) -> None:
    base = tmp_path / "base.gguf"
    base.write_bytes(b"\x80\x04pickle")
    with pytest.raises(ModelHashMismatchError, match="GGUF"):
        ModelFiles.of(base).verify()


def test_scores_add_up() -> None:
    from appliance.inference.engine import TokenScores

    scores = TokenScores((1, 2), (-0.5, -0.25), (True, False))
    assert math.isclose(scores.total, -0.75)
