from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from appliance.host.exceptions import judge_register, register_check

REGISTER = Path(__file__).parents[3] / "security" / "exceptions.yaml"
TODAY = date(2026, 11, 20)


def _rows() -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = yaml.safe_load(REGISTER.read_text(encoding="utf-8"))["exceptions"]
    return rows


def test_the_register_is_in_force_today() -> None:
    assert judge_register(_rows(), datetime.now(UTC).date())[0] == []


def test_every_exception_says_why_what_instead_who_and_until_when() -> None:
    for row in _rows():
        assert row.keys() == {"rule", "reason", "control", "owner", "expires"}
        assert all(isinstance(value, str) and len(value) > 5 for value in row.values()), row["rule"]


def test_no_exception_is_granted_for_longer_than_two_years() -> None:
    limit = TODAY + timedelta(days=731)
    assert all(date.fromisoformat(row["expires"]) <= limit for row in _rows())


def test_each_rule_stands_once() -> None:
    rules = [row["rule"] for row in _rows()]
    assert len(set(rules)) == len(rules)


def test_an_expired_exception_fails_verification(tmp_path: Path) -> None:
    rows = _rows()
    rows[2]["expires"] = (TODAY - timedelta(days=1)).isoformat()
    path = tmp_path / "exceptions.yaml"
    path.write_text(yaml.safe_dump({"schema": 1, "exceptions": rows}), encoding="utf-8")
    found = register_check(path, TODAY)
    assert found.status == "fail"
    assert rows[2]["rule"] in found.found
    assert register_check(REGISTER, TODAY).status == "pass"


@pytest.mark.parametrize("field", ["reason", "control", "owner", "expires"])
def test_an_exception_without_a_field_fails(field: str) -> None:
    rows = _rows()
    del rows[0][field]
    wrong, _ = judge_register(rows, TODAY)
    assert wrong == [f"{rows[0]['rule']} lacks {field}"]


def test_the_exceptions_the_playbooks_speak_of_are_registered() -> None:
    rules = " ".join(row["rule"] for row in _rows())
    for named in ("usb-storage", "overlay", "ip_forward", "docker-userns", "boot-password"):
        assert named in rules
