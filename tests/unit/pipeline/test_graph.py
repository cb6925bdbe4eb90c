from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.core.errors import PipelineGraphError
from appliance.pipeline.graph import Stage, ordered, stage_key


def _stage(name: str, *needs: str, **params: Any) -> Stage:
    def run(_: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
        return {}

    return Stage(name, name, run, needs=needs, params=params)


@given(st.permutations(["a", "b", "c", "d"]))
def test_a_stage_comes_after_what_it_needs(order: list[str]) -> None:
    needs = {"a": (), "b": ("a",), "c": ("a", "b"), "d": ("c",)}
    plan = [s.name for s in ordered([_stage(n, *needs[n]) for n in order])]
    for name, before in needs.items():
        assert all(plan.index(b) < plan.index(name) for b in before)


def test_a_circle_and_a_missing_stage_are_refused() -> None:
    with pytest.raises(PipelineGraphError):
        ordered([_stage("a", "b"), _stage("b", "a")])
    with pytest.raises(PipelineGraphError):
        ordered([_stage("a", "nowhere")])
    with pytest.raises(PipelineGraphError):
        ordered([_stage("a"), _stage("a")])


def test_the_key_follows_parameters_and_inputs_only() -> None:
    stage = _stage("b", "a", seed=1)
    key = stage_key(stage, {"a": {"hash": "x"}, "unrelated": {"hash": "y"}})
    assert key == stage_key(stage, {"a": {"hash": "x"}})
    assert key != stage_key(stage, {"a": {"hash": "z"}})
    assert key != stage_key(_stage("b", "a", seed=2), {"a": {"hash": "x"}})
