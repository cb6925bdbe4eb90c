"""`appliance models` as a person calls it: the gate decides, the log remembers."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from appliance.audit import wire
from appliance.audit.client import connect
from appliance.cli.main import main
from appliance.core.errors import ApplianceError
from appliance.core.home import Home
from appliance.evaluation.result import EvaluationResult, EvaluationStore, Subject
from appliance.registry.gate import GateThresholds
from appliance.registry.store import ModelStore

Call = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def call(home: Home, capsys: pytest.CaptureFixture[str]) -> Iterator[Call]:
    def run(*arguments: str) -> tuple[int, dict[str, Any]]:
        with pytest.raises(SystemExit) as ended:
            main(["--home", str(home.root), "models", *arguments, "--json"])
        shown: dict[str, Any] = json.loads(capsys.readouterr().out)
        assert isinstance(ended.value.code, int)
        return ended.value.code, shown

    yield run
    try:
        sink = connect(home, start=False)
    except ApplianceError:
        return
    try:
        sink.ask(wire.STOP)
    except ApplianceError:
        return
    finally:
        sink.close()


class Bench:
    """A base and adapters in GGUF form, and evaluations of them."""

    def __init__(self, home: Home) -> None:
        self.store, self.results = ModelStore(home), EvaluationStore(home)
        gate = GateThresholds(min_margin_gain=0.1, max_perplexity_ratio=1.1)
        self.recipe = self.store.keep_recipe({"name": "t", "gate": gate.model_dump()})
        self.base = self._add("gguf", b"base", {})

    def _add(self, kind: Any, content: bytes, links: dict[str, str]) -> str:
        with self.store.staging() as staging:
            files = staging / "files"
            files.mkdir()
            name = "model.gguf" if kind == "gguf" else "adapter_model.safetensors"
            (files / name).write_bytes(struct.pack("<I", 1) + content)
            made = self.store.add(
                kind, files, name=content.decode(), licence="mit", source="t", links=links
            )
        return made.hash

    def adapter(self, name: str) -> str:
        made = self._add("adapter", name.encode(), {"recipe": self.recipe})
        return self._add("gguf", name.encode(), {"adapter": made, "base_gguf": self.base})

    def evaluate(self, adapter: str, margin: float) -> str:
        result = EvaluationResult.of(
            subject=Subject(engine="test", model=self.base, adapter=adapter),
            dataset="d" * 64,
            split="test",
            options={},
            counts={"pairs": 1},
            metrics={
                "perplexity": 20.0,
                "margin_per_token": {"mean": margin},
                "positive_margin_share": 1.0,
            },
            items={"refused": {"h": False}},
        )
        return self.results.save(result).hash

    def promotion(self, adapter: str, margin: float, base_margin: float = 0.0) -> list[str]:
        after, before = self.evaluate(adapter, margin), self.evaluate("", base_margin)
        return [adapter, "--evaluation", after, "--baseline", before]


@pytest.fixture
def bench(home: Home) -> Bench:
    return Bench(home)


def test_a_better_adapter_is_promoted_and_a_worse_one_is_not(call: Call, bench: Bench) -> None:
    better, worse = bench.adapter("better"), bench.adapter("worse")
    code, shown = call("promote", *bench.promotion(better, 0.5))
    assert (code, shown) == (0, {"ok": True, "promoted": better, "approval": "demo"})
    code, shown = call("promote", *bench.promotion(worse, 0.05))
    assert (code, shown["ok"], shown["error"]["id"]) == (1, False, "gate-refused")
    assert "margin_gain" in shown["error"]["found"]
    code, shown = call("list")
    assert (code, shown["promoted"]) == (0, better)


def test_an_evaluation_of_another_adapter_promotes_nothing(call: Call, bench: Bench) -> None:
    one, other = bench.adapter("one"), bench.adapter("other")
    arguments = bench.promotion(other, 0.5)
    code, shown = call("promote", one, *arguments[1:])
    assert (code, shown["error"]["id"]) == (1, "gate-refused")


def test_rolling_back_and_lineage_show_the_promotions(call: Call, bench: Bench) -> None:
    one, two = bench.adapter("one"), bench.adapter("two")
    for adapter in (one, two):
        assert call("promote", *bench.promotion(adapter, 0.5))[0] == 0
    assert call("rollback") == (0, {"ok": True, "promoted": one})
    code, shown = call("lineage", one[:12])
    assert code == 0
    assert [s["kind"] for s in shown["lineage"]] == [
        "recipe",
        "adapter",
        "gguf",
        "gguf",
        "promotion",
        "promotion",
    ]
    assert [s.get("how") for s in shown["lineage"][-2:]] == ["promote", "rollback"]
    code, shown = call("rollback")
    assert (code, shown["error"]["id"]) == (52, "model-unknown")


def test_with_four_eyes_one_person_is_not_enough(call: Call, bench: Bench, home: Home) -> None:
    home.settings_file.write_text('[registry]\napproval = "four_eyes"\n')
    arguments = bench.promotion(bench.adapter("one"), 0.5)
    assert call("approve", *arguments)[0] == 0
    code, shown = call("promote", *arguments)
    assert (code, shown["error"]["id"]) == (1, "approval-missing")
    assert call("list")[1]["promoted"] is None
