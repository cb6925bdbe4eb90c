from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from appliance.audit.memory import MemoryRecorder
from appliance.core.errors import (
    ApprovalMissingError,
    AuditUnavailableError,
    GateRefusedError,
    ModelUnknownError,
    StateDamagedError,
)
from appliance.core.home import Home
from appliance.core.settings.registry import RegistrySettings
from appliance.registry.importing import import_model
from appliance.registry.lineage import lineage
from appliance.registry.promotions import (
    Approval,
    LoggedAction,
    Promotions,
    Verdict,
    approve,
    find_approver,
    promote,
    rollback,
)
from appliance.registry.store import ModelStore

EVALUATION = "e" * 64


class MemoryLog:
    """Reads promotions from a recorder's events."""

    def __init__(self, recorder: MemoryRecorder, uid: int = 1) -> None:
        self._recorder, self._uid = recorder, uid

    def finished(self, actions: tuple[str, ...]) -> Iterable[LoggedAction]:
        for index, event in enumerate(self._recorder.events):
            if event.phase == "outcome" and event.action in actions:
                yield LoggedAction(
                    index,
                    event.action,
                    event.object_id or "",
                    event.outcome or "",
                    event.time,
                    event.user or "",
                    self._uid,
                    event.component,
                    dict(event.detail),
                )


class Bench:
    """A registry with a few models, and a log."""

    def __init__(self, home: Home, folder: Path, artefacts: Any) -> None:
        self.store = ModelStore(home)
        self.recorder = MemoryRecorder()
        self.promotions = Promotions(MemoryLog(self.recorder))
        self._folder, self._artefacts = folder, artefacts

    def model(self, name: str) -> str:
        path = self._folder / f"{name}.gguf"
        path.write_bytes(self._artefacts.gguf_bytes({"general.name": name}))
        made = import_model(self.store, path, licence="mit", limits=RegistrySettings())
        return made.hash

    def promote(self, content: str, approval: Approval | None = None, **verdict: Any) -> str:
        given: dict[str, Any] = {"hash": EVALUATION, "subject": content, "passed": True} | verdict
        return promote(self.store, content, Verdict(**given), self.recorder, approval or Approval())

    def rollback(self) -> str:
        return rollback(self.store, self.promotions, self.recorder, Approval())

    @property
    def current(self) -> str | None:
        found = self.promotions.current()
        return found.hash if found else None


@pytest.fixture
def bench(home: Home, tmp_path: Path, artefacts: Any) -> Bench:
    return Bench(home, tmp_path, artefacts)


def test_nothing_is_served_before_a_promotion(bench: Bench) -> None:
    bench.model("a")
    assert bench.current is None


def test_a_promotion_is_what_the_log_says(bench: Bench) -> None:
    a = bench.model("a")
    bench.promote(a)
    assert bench.current == a
    intent, outcome = bench.recorder.events
    assert (intent.phase, outcome.phase, outcome.outcome) == ("intent", "outcome", "success")
    assert outcome.object_id == a
    assert outcome.detail["evaluation"] == EVALUATION
    assert outcome.detail["approval"] == "demo"


@pytest.mark.parametrize(
    "verdict", [{"passed": False, "reasons": ("margin_gain: -0.1",)}, {"subject": "f" * 64}]
)
def test_a_worse_adapter_is_refused_and_the_refusal_is_logged(
    bench: Bench, verdict: dict[str, Any]
) -> None:
    a, b = bench.model("a"), bench.model("b")
    bench.promote(a)
    with pytest.raises(GateRefusedError):
        bench.promote(b, **verdict)
    assert bench.current == a
    assert bench.recorder.events[-1].outcome == "refused"
    assert bench.recorder.events[-1].reason == "gate-refused"


def approval_by(bench: Bench, content: str, user: str, **changes: Any) -> str | None:
    """Approve as ``user``, then look for an approver of what ``tester`` (uid 1) promotes."""
    other = MemoryRecorder(changes.get("component", "registry"), user=user)
    other.sink = other._sink = bench.recorder.sink  # one log, two people
    given = Verdict(changes.get("evaluation", EVALUATION), content, passed=True)
    approve(bench.store, content, given, other)
    log = MemoryLog(bench.recorder, uid=changes.get("uid", 2))
    return find_approver(log, content, EVALUATION, ("tester", 1))


def test_four_eyes_need_a_second_person(bench: Bench) -> None:
    a = bench.model("a")
    with pytest.raises(ApprovalMissingError):
        bench.promote(a, Approval("four_eyes"))
    assert bench.current is None
    assert bench.recorder.events[-1].reason == "approval-missing"


@pytest.mark.parametrize(
    "changes",
    [
        {"user": "tester"},
        {"user": "Tester"},
        {"user": "second", "uid": 1},
        {"user": "second", "evaluation": "f" * 64},
    ],
)
def test_the_same_person_or_another_evaluation_is_no_approval(
    bench: Bench, changes: dict[str, Any]
) -> None:
    assert approval_by(bench, bench.model("a"), **changes) is None


def test_an_approval_of_another_model_does_not_count(bench: Bench) -> None:
    a, b = bench.model("a"), bench.model("b")
    assert approval_by(bench, a, "second") == "second"
    assert find_approver(MemoryLog(bench.recorder, 2), b, EVALUATION, ("tester", 1)) is None


def test_the_console_checks_people_itself(bench: Bench) -> None:
    found = approval_by(bench, bench.model("a"), "second", uid=1, component="console")
    assert found == "second"


def test_nobody_approves_what_the_gate_refused(bench: Bench) -> None:
    a = bench.model("a")
    with pytest.raises(GateRefusedError):
        approve(bench.store, a, Verdict(EVALUATION, a, passed=False), bench.recorder)
    assert find_approver(MemoryLog(bench.recorder, 2), a, EVALUATION, ("x", 1)) is None


def test_four_eyes_with_two_people_are_in_the_log(bench: Bench) -> None:
    a = bench.model("a")
    bench.promote(a, Approval("four_eyes", approval_by(bench, a, "second")))
    found = bench.promotions.current()
    assert found is not None
    assert (found.user, found.approved_by) == ("tester", "second")


def test_a_model_whose_files_changed_is_not_promoted(bench: Bench) -> None:
    a = bench.model("a")
    bench.store.gguf_path(a).write_bytes(b"GGUF other")
    with pytest.raises(StateDamagedError):
        bench.promote(a)
    assert bench.current is None
    assert bench.recorder.events[-1].outcome == "failure"


def test_without_the_log_nothing_is_promoted(bench: Bench) -> None:
    a = bench.model("a")
    bench.recorder.break_log()
    with pytest.raises(AuditUnavailableError):
        bench.promote(a)
    assert bench.current is None


def test_rolling_back_follows_the_promotions_back(bench: Bench) -> None:
    a, b, c = bench.model("a"), bench.model("b"), bench.model("c")
    with pytest.raises(ModelUnknownError):
        bench.rollback()
    for one in (a, b, c):
        bench.promote(one)
    assert bench.rollback() == b == bench.current
    assert bench.rollback() == a == bench.current
    with pytest.raises(ModelUnknownError):
        bench.rollback()
    bench.promote(c)
    assert bench.rollback() == a


def test_promoting_the_same_again_does_not_make_it_its_own_past(bench: Bench) -> None:
    a, b = bench.model("a"), bench.model("b")
    for one in (a, b, b):
        bench.promote(one)
    assert bench.rollback() == a


def test_a_roll_back_to_damaged_files_is_refused(bench: Bench) -> None:
    a, b = bench.model("a"), bench.model("b")
    bench.promote(a)
    bench.promote(b)
    bench.store.gguf_path(a).write_bytes(b"GGUF other")
    with pytest.raises(StateDamagedError):
        bench.rollback()
    assert bench.current == b


def test_lineage_goes_from_base_to_promotion(bench: Bench, artefacts: Any, tmp_path: Path) -> None:
    store = bench.store
    base = import_model(
        store, artefacts.hf_folder(tmp_path / "m"), licence="mit", limits=RegistrySettings()
    )
    base_gguf = _add(store, "gguf", "base", {"base": base.hash}, artefacts)
    recipe = store.keep_recipe({"name": "r", "gate": {}})
    first = _add(
        store, "adapter", "sft", {"base": base.hash, "dataset": "d" * 64, "recipe": recipe}, None
    )
    second = _add(
        store,
        "adapter",
        "dpo",
        {"base": base.hash, "dataset": "d" * 64, "recipe": recipe, "adapter": first},
        None,
    )
    links = {"adapter": second, "base_gguf": base_gguf}
    last = _add(store, "gguf", "adapter", links, artefacts)
    bench.promote(last)
    chain = lineage(store, last[:10], bench.promotions.history())
    assert [(s["kind"], s["hash"]) for s in chain] == [
        ("base", base.hash),
        ("dataset", "d" * 64),
        ("recipe", recipe),
        ("adapter", first),
        ("adapter", second),
        ("gguf", base_gguf),
        ("gguf", last),
        ("promotion", last),
    ]
    assert store.recipe_of(last) == {"name": "r", "gate": {}}
    assert store.serving(last).base_gguf_hash == base_gguf


def _add(store: ModelStore, kind: Any, name: str, links: dict[str, str], artefacts: Any) -> str:
    with store.staging() as staging:
        files = staging / "files"
        files.mkdir()
        if kind == "gguf":
            (files / "model.gguf").write_bytes(artefacts.gguf_bytes({"general.name": name}))
        else:
            (files / "adapter_model.safetensors").write_text(name)
        made = store.add(kind, files, name=name, licence="mit", source="a test", links=links)
    return made.hash
