from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml

PLAYBOOKS = Path(__file__).parents[3] / "playbooks"
SYSTEMS = sorted(path.stem for path in (PLAYBOOKS / "vars").glob("*.yml"))


def _tasks(name: str) -> list[dict[str, Any]]:
    path = PLAYBOOKS / "roles/hardening/tasks" / name
    tasks: list[dict[str, Any]] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return tasks


def _rendered(role: str, name: str) -> list[str]:
    text = (PLAYBOOKS / "roles" / role / "templates" / name).read_text(encoding="utf-8")
    made = jinja2.Environment(autoescape=False, trim_blocks=True).from_string(text)  # noqa: S701 - no HTML
    return made.render(audit_logging_home="/srv/appliance").splitlines()


def _position(tasks: list[dict[str, Any]], word: str) -> int:
    (found,) = [number for number, task in enumerate(tasks) if word in str(task)]
    return found


def test_a_call_of_a_32_bit_program_is_recorded_like_any_other() -> None:
    rules = _rendered("audit_logging", "appliance.rules.j2")
    wide = {rule.replace("arch=b64", "") for rule in rules if "arch=b64" in rule}
    narrow = {rule.replace("arch=b32", "") for rule in rules if "arch=b32" in rule}
    assert len(wide) == 10
    assert wide <= narrow
    assert all("-S stime " in rule for rule in narrow - wide)


def test_audit_rules_are_fixed_only_after_the_last_of_them() -> None:
    assert "-e 2" not in _rendered("audit_logging", "appliance.rules.j2")
    files = _tasks("audit.yml")[-1]["loop"]
    assert [one["name"] for one in files if "-e 2" in one["content"]] == [files[-1]["name"]]
    assert files[-1]["name"] == max(one["name"] for one in files) > "50-appliance.rules"


def test_no_kernel_setting_is_said_twice() -> None:
    lines = [line for line in _rendered("hardening", "sysctl.conf.j2") if re.match(r"[a-z]", line)]
    names = [line.partition(" = ")[0] for line in lines]
    assert len(names) > 60
    assert len(set(names)) == len(names)


def test_administrators_are_let_in_before_the_others_are_kept_out_of_sudo() -> None:
    tasks = _tasks("accounts.yml")
    group = _position(tasks, "'name': 'sudogrp'")
    members = _position(tasks, "'groups': ['sudogrp']")
    closed = _position(tasks, "dpkg-statoverride")
    assert group < members < closed


def test_full_administrators_are_not_held_by_what_binds_delegated_commands() -> None:
    (rules,) = [t for t in _tasks("accounts.yml") if "noexec" in str(t)]
    lines = rules["ansible.builtin.copy"]["content"].splitlines()
    assert {"Defaults noexec", "Defaults requiretty"} <= set(lines)
    assert "Defaults:root,%sudo,%admin !noexec, !requiretty" in lines
    assert rules["ansible.builtin.copy"]["validate"].startswith("/usr/sbin/visudo")


@pytest.mark.parametrize("system", SYSTEMS)
def test_passwords_can_be_set_where_they_are_compared_with_a_word_list(system: str) -> None:
    text = (PLAYBOOKS / "vars" / f"{system}.yml").read_text(encoding="utf-8")
    assert "dictcheck = 1" in str(_tasks("accounts.yml"))
    assert "cracklib-runtime" in yaml.safe_load(text)["os_hardening_packages"]


def test_hashes_of_files_are_made_after_everything_else_is_in_force() -> None:
    tasks = _tasks("main.yml")
    assert tasks[-1]["ansible.builtin.import_tasks"] == "integrity.yml"
    assert tasks[-2]["ansible.builtin.meta"] == "flush_handlers"
