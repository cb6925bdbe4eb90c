"""Judge an inventory by a profile. Pure: the same facts always give the same answer.

A thing that is not known is never passed: its check says "unknown", and the answer is no.
"""

from __future__ import annotations

from appliance.hardware.checks_gpu import gpu_checks
from appliance.hardware.checks_machine import machine_checks
from appliance.hardware.inventory import Inventory
from appliance.hardware.profile import Profile
from appliance.hardware.texts import TEXTS, words
from appliance.hardware.verdict import Bench, Check, Result

CHECK_NAMES = tuple(k.removeprefix("title.") for k in TEXTS if k.startswith("title."))


def judge(
    inventory: Inventory,
    profile: Profile,
    *,
    language: str = "en",
    answers: dict[str, float] | None = None,
    state_path: str = "/",
) -> Result:
    """Return every check the profile asks for. ``answers`` are the installer's numbers."""
    bench = Bench(inventory, profile, words(language), answers or {}, state_path)
    gpu_checks(bench)
    machine_checks(bench)
    for question in profile.questions:
        _question(bench, question.id)
    if inventory.missing_probes:
        say = bench.say
        names = ", ".join(inventory.missing_probes)
        bench.checks.append(
            Check(
                "recording.complete",
                "unknown",
                say("all_probes"),
                say("probes_missing", names=names),
                say("fix.recording.complete"),
            )
        )
    return Result(profile.name, bench.checks)


def _question(bench: Bench, identifier: str) -> None:
    """Judge what only a person can look up."""
    question = next(q for q in bench.profile.questions if q.id == identifier)
    name = f"question.{question.id}"
    minimum = f"{question.minimum:g}"
    expected = bench.say("at_least", value=minimum, unit=question.unit)
    answer = bench.answers.get(question.id)
    if answer is None:
        ask = question.ask.pt if bench.say("yes") == "sim" else question.ask.en
        remedy = bench.say("fix.question", ask=ask, id=question.id)
        bench.checks.append(Check(name, "unknown", expected, bench.say("not_answered"), remedy))
        return
    found = f"{answer:g} {question.unit}"
    if answer >= question.minimum:
        bench.checks.append(Check(name, "pass", expected, found))
    else:
        remedy = bench.say("fix.question.low", minimum=minimum, unit=question.unit)
        bench.bad(name, expected, found, remedy)
