"""Files others read: AppArmor's own compiler, Prometheus' own checker, compose's own schema."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.containers.container_support import RECIPES, ROOT

pytestmark = pytest.mark.containers
MONITORING = RECIPES / "monitoring"


def program(name: str, package: str) -> str:
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if found is None:
        pytest.fail(f"expected {name} (Debian package {package})")
    return found


def test_the_apparmor_profile_compiles() -> None:
    profile = ROOT / "security" / "apparmor" / "appliance-service"
    command = [program("apparmor_parser", "apparmor"), "-Q", "-K", str(profile)]
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    assert done.returncode == 0, done.stderr


def test_prometheus_accepts_its_files(tmp_path: Path) -> None:
    text = (MONITORING / "prometheus.yaml").read_text(encoding="utf-8")
    for name in ("gateway.key", "gateway-ca.pem"):
        (tmp_path / name).touch()
    text = text.replace("/etc/prometheus", str(MONITORING))
    (tmp_path / "p.yaml").write_text(text.replace("/var/lib/prometheus", str(tmp_path)), "utf-8")
    command = [program("promtool", "prometheus"), "check", "config", str(tmp_path / "p.yaml")]
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    assert "SUCCESS" in done.stdout, done.stderr
    assert "6 rules found" in done.stdout


def test_dashboards_and_alerts_ask_only_for_metrics_that_exist() -> None:
    from appliance.gateway.metrics import Metrics

    known = {family.name for family in Metrics().registry.collect()}
    texts = [p.read_text(encoding="utf-8") for p in (MONITORING / "grafana").rglob("*.json")]
    texts.append((MONITORING / "alerts.yaml").read_text(encoding="utf-8"))
    used = set(re.findall(r"appliance_[a-z_]+", "\n".join(texts)))
    bare = {re.sub(r"_(bucket|total|count|sum)$", "", name) for name in used}
    assert bare and bare <= known


def test_dashboards_are_provisioned_from_the_one_data_source() -> None:
    sources = yaml.safe_load(
        (MONITORING / "grafana" / "provisioning" / "datasources.yaml").read_text(encoding="utf-8")
    )
    uid = sources["datasources"][0]["uid"]
    boards = list((MONITORING / "grafana" / "dashboards").glob("*.json"))
    assert len(boards) == 2
    for path in boards:
        board = json.loads(path.read_text(encoding="utf-8"))
        assert {panel["datasource"]["uid"] for panel in board["panels"]} == {uid}
