"""Provisioning without Ansible: a twin that tells what a run would tell."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from appliance.audit.memory import MemoryRecorder
from appliance.core.errors import AuditUnavailableError
from appliance.core.errors.host import ProvisionFailedError
from appliance.core.settings.host import HostSettings
from appliance.host.ansible_events import Tally
from appliance.host.ansible_run import EventHandler, Play
from appliance.host.provision import Provisioner, site_values

Event = dict[str, Any]


def starts(role: str, task: str = "a task") -> Event:
    return {"event": "playbook_on_task_start", "event_data": {"role": role, "task": task}}


def ends(role: str, kind: str = "runner_on_ok", **res: object) -> Event:
    data = {"role": role, "task": f"{role} : a task", "host": "this-machine", "res": res}
    return {"event": kind, "event_data": data}


class Twin:
    """Plays events; ``between`` is called before each, as the world may change."""

    def __init__(self, events: list[Event], status: int = 0) -> None:
        self.events = events
        self.status = status
        self.played = 0
        self.between: Callable[[int], None] = lambda _number: None

    def run(self, play: Play, on_event: EventHandler) -> int:
        for event in self.events:
            self.between(self.played)
            on_event(event)
            self.played += 1
        return self.status


GOOD = [starts("a"), ends("a", changed=True, dest="/etc/a"), starts("b"), ends("b")]


def test_a_log_that_breaks_midway_stops_the_run_before_the_next_role(tmp_path: Path) -> None:
    recorder = MemoryRecorder("host")
    twin = Twin(GOOD)
    twin.between = lambda number: recorder.break_log() if number == 2 else None
    with pytest.raises(AuditUnavailableError):
        Provisioner(twin, recorder, state_file=tmp_path / "p.json").provision({})
    assert twin.played == 2
    assert [e.object_id for e in recorder.events if e.phase == "intent"] == ["a"]


def test_an_interruption_is_the_outcome_of_the_role_that_was_open() -> None:
    recorder = MemoryRecorder("host")
    twin = Twin(GOOD)

    def interrupt(number: int) -> None:
        if number == 3:
            raise KeyboardInterrupt

    twin.between = interrupt
    with pytest.raises(KeyboardInterrupt):
        Provisioner(twin, recorder).provision({})
    last = recorder.events[-1]
    assert (last.object_id, last.outcome, last.reason) == ("b", "failure", "KeyboardInterrupt")


def test_a_failed_task_is_told_with_its_words_and_not_twice() -> None:
    recorder = MemoryRecorder("host")
    events = [starts("a"), ends("a", "runner_on_failed", msg="Expected x,\n found y. To do: z.")]
    with pytest.raises(ProvisionFailedError) as caught:
        Provisioner(Twin(events, 2), recorder).provision({})
    assert caught.value.found == "Expected x, found y. To do: z."
    assert [e.outcome for e in recorder.events if e.phase == "outcome"] == ["failure"]


def test_a_status_without_a_failed_task_is_still_a_failure() -> None:
    with pytest.raises(ProvisionFailedError):
        Provisioner(Twin(GOOD, 4), MemoryRecorder("host")).provision({})


def test_a_plan_of_playbooks_that_could_not_begin_is_not_a_plan_without_changes() -> None:
    said = {"event": "verbose", "stdout": "[ERROR]: couldn't\n resolve x.y.z"}
    worker = Provisioner(Twin([said], 4), MemoryRecorder("host"))
    for look in (worker.plan, worker.verify_there):
        with pytest.raises(ProvisionFailedError) as caught:
            look({})
        assert caught.value.found == "[ERROR]: couldn't resolve x.y.z"


def test_what_a_plan_finds_is_its_answer() -> None:
    twin = Twin([starts("a"), ends("a", "runner_on_failed", msg="No disk.")], 2)
    tally = Provisioner(twin, MemoryRecorder("host")).plan({})
    assert [failure.message for failure in tally.failures] == ["No disk."]


def test_a_failure_that_was_foreseen_is_none() -> None:
    tally = Tally()
    event = ends("a", "runner_on_failed", msg="no")
    event["event_data"]["ignore_errors"] = True
    tally.add(event)
    assert tally.failures == []


def test_the_items_of_a_loop_are_changes_of_their_own() -> None:
    tally = Tally()
    results = [
        {"changed": True, "item": "/a"},
        {"changed": False, "item": "/b"},
        {"changed": True, "item": "/c"},
    ]
    tally.add(ends("a", changed=True, results=results))
    assert [change.target for change in tally.roles["a"].changes] == ["/a", "/c"]


def test_what_a_file_holds_is_not_repeated_only_how_much_of_it_changed() -> None:
    tally = Tally()
    diff = [{"before": "a\nsecret\n", "after": "a\nb\nc\n", "after_header": "/etc/x"}]
    tally.add(ends("a", changed=True, diff=diff))
    change = tally.roles["a"].changes[0]
    assert (change.target, change.lines_out, change.lines_in) == ("/etc/x", 1, 2)
    assert "secret" not in str(tally.roles["a"].to_dict())


def test_every_variable_the_playbooks_ask_the_site_for_is_given() -> None:
    import yaml

    folder = Path(__file__).resolve().parents[3] / "playbooks"
    asked = yaml.safe_load((folder / "group_vars" / "all.yml").read_text(encoding="utf-8"))
    from datetime import date

    given = site_values(HostSettings(), folder.parent, date(2026, 6, 1))
    fixed = {"site_uid", "site_gid"}  # the same numbers as in the images, not the site's to say
    assert set(asked) - fixed <= set(given)
    assert not [key for key in given if "passphrase" in key and key != "site_passphrase_file"]
