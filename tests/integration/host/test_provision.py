"""The real ansible-runner over a small folder of playbooks, every role in the audit log."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from appliance.audit.memory import MemoryRecorder
from appliance.core.errors import AuditUnavailableError
from appliance.core.errors.host import (
    HostPreflightError,
    PlaybookMissingError,
    ProvisionFailedError,
)
from appliance.host.ansible_run import Play, RunnerAnsible
from appliance.host.provision import (
    Provisioner,
    last_run,
    plan_answer,
    plan_lines,
    reasons,
)

INVENTORY = f"""---
appliance:
  hosts:
    this-machine:
      ansible_connection: local
      ansible_python_interpreter: {sys.executable}
"""
SITE = """---
- name: Look
  hosts: appliance
  gather_facts: false
  roles: [preflight]
- name: Do
  hosts: appliance
  gather_facts: false
  roles: [{role: first, tags: [first]}, {role: second, tags: [second]}]
"""
PREFLIGHT = """---
- name: Refuse
  ansible.builtin.assert:
    that: ready
    fail_msg: "Expected a ready machine, found none. To do: make it ready."
"""
FIRST = """---
- name: Write the greeting
  ansible.builtin.copy:
    dest: "{{ target }}/greeting"
    content: "hello\\n"
    mode: "0600"
"""
SECOND = """---
- name: Stop here when asked
  ansible.builtin.fail:
    msg: "Expected the second part to go on, found the word stop. To do: take it away."
  when: stop | default(false)
- name: Write the other
  ansible.builtin.copy:
    dest: "{{ target }}/other"
    content: "x\\n"
    mode: "0600"
"""
SPECS = "---\nargument_specs:\n  main:\n    short_description: Because of the test\n"


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


@pytest.fixture
def playbooks(tmp_path: Path) -> Path:
    folder = tmp_path / "playbooks"
    put(folder / "inventory" / "local.yml", INVENTORY)
    put(folder / "ansible.cfg", "[defaults]\nroles_path = roles\n")
    put(folder / "site.yml", SITE)
    for name, text in (("preflight", PREFLIGHT), ("first", FIRST), ("second", SECOND)):
        put(folder / "roles" / name / "tasks" / "main.yml", text)
    put(folder / "roles" / "first" / "meta" / "argument_specs.yml", SPECS)
    (tmp_path / "target").mkdir()
    return folder


def worker(playbooks: Path, recorder: MemoryRecorder) -> Provisioner:
    home = playbooks.parent / "home"
    ansible = RunnerAnsible(playbooks, home / "host", 300)
    return Provisioner(ansible, recorder, state_file=home / "host" / "provision.json")


def values(playbooks: Path, **more: object) -> dict[str, object]:
    return {"target": str(playbooks.parent / "target"), "ready": True} | more


def outcomes(recorder: MemoryRecorder) -> list[tuple[str | None, str | None, object]]:
    return [
        (e.object_id, e.outcome, e.detail.get("changed"))
        for e in recorder.events
        if e.phase == "outcome"
    ]


def test_plan_then_provision_then_nothing_is_left_to_do(playbooks: Path) -> None:
    recorder = MemoryRecorder("host")
    work = worker(playbooks, recorder)
    planned = plan_answer(work.plan(values(playbooks)), reasons(playbooks, ["first", "second"]))
    assert planned["ok"]
    assert planned["would_change"] == 2
    assert list((playbooks.parent / "target").iterdir()) == []
    text = "\n".join(plan_lines(planned))
    assert "first: Because of the test" in text
    assert "/target/greeting" in text
    assert "hello" not in text

    assert work.provision(values(playbooks)).changed == 2
    assert work.provision(values(playbooks)).changed == 0
    assert plan_lines(plan_answer(work.plan(values(playbooks)), {})) == ["nothing would change"]
    done = [("preflight", "success", 0), ("first", "success", 1), ("second", "success", 1)]
    again = [(name, outcome, 0) for name, outcome, _ in done]
    assert outcomes(recorder) == done + again
    assert last_run(playbooks.parent / "home" / "host" / "provision.json") == {
        "roles": {"preflight": True, "first": True, "second": True},
        "changed": 0,
    }


def test_a_run_that_fails_is_finished_by_the_same_command(playbooks: Path) -> None:
    recorder = MemoryRecorder("host")
    work = worker(playbooks, recorder)
    with pytest.raises(ProvisionFailedError) as caught:
        work.provision(values(playbooks, stop=True))
    assert "take it away" in caught.value.found
    assert outcomes(recorder)[-1] == ("second", "failure", 0)
    assert work.provision(values(playbooks)).changed == 1


def test_preflight_that_refuses_is_an_error_of_its_own_and_nothing_is_changed(
    playbooks: Path,
) -> None:
    recorder = MemoryRecorder("host")
    with pytest.raises(HostPreflightError) as caught:
        worker(playbooks, recorder).provision(values(playbooks, ready=False))
    assert "make it ready" in caught.value.found
    assert list((playbooks.parent / "target").iterdir()) == []
    assert outcomes(recorder) == [("preflight", "failure", 0)]


def test_without_the_log_nothing_is_provisioned(playbooks: Path) -> None:
    recorder = MemoryRecorder("host")
    recorder.break_log()
    with pytest.raises(AuditUnavailableError):
        worker(playbooks, recorder).provision(values(playbooks))
    assert not (playbooks.parent / "target" / "other").exists()


def test_one_role_alone(playbooks: Path) -> None:
    tally = worker(playbooks, MemoryRecorder("host")).provision(
        values(playbooks), roles=("second",)
    )
    assert [name for name, role in tally.roles.items() if role.changes] == ["second"]


def test_playbooks_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(PlaybookMissingError):
        RunnerAnsible(tmp_path, tmp_path / "w", 10).run(Play("site.yml", {}), lambda _e: None)


def test_what_runs_writes_under_its_own_folder_only(playbooks: Path) -> None:
    before = {p.name for p in playbooks.iterdir()}
    worker(playbooks, MemoryRecorder("host")).provision(values(playbooks))
    assert {p.name for p in playbooks.iterdir()} == before
    assert {p.name for p in playbooks.parent.iterdir()} == {"playbooks", "target", "home"}
