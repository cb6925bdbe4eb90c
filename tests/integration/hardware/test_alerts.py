"""The alert rules, checked and exercised by promtool."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from appliance.hardware.catalogue import folder
from appliance.hardware.metrics import GAUGES, PREFIX

RULES = folder() / "alerts.yml"
CASES = Path(__file__).with_name("alerts_test.yml")


def test_the_rules_are_valid(promtool: str) -> None:
    done = subprocess.run(
        [promtool, "check", "rules", RULES], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_fires_when_it_should_and_not_before(promtool: str, tmp_path: Path) -> None:
    text = CASES.read_text(encoding="utf-8").replace("RULES", str(RULES))
    (tmp_path / "cases.yml").write_text(text, encoding="utf-8")
    done = subprocess.run(
        [promtool, "test", "rules", "cases.yml"],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_case_and_every_metric_named_exists() -> None:
    rules, cases = RULES.read_text(encoding="utf-8"), CASES.read_text(encoding="utf-8")
    for name in re.findall(r"- alert: (\w+)", rules):
        assert f"alertname: {name}" in cases, name
    exported = {f"{PREFIX}_{name}" for name, _, _ in GAUGES}
    exported |= {f"{PREFIX}_changes_total", f"{PREFIX}_audit_failures_total"}
    assert set(re.findall(rf"{PREFIX}_\w+", rules)) <= exported
