"""``doctor``: whether the appliance is healthy, in one answer.

Each look is on its own: one that breaks says so in its line and the others go on. What nobody set
up yet (no model promoted, not provisioned) is said and is no fault.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any

from appliance.core.clock import Clock
from appliance.core.errors import ApplianceError, ModelNotPromotedError
from appliance.core.home import Home
from appliance.core.settings import Settings, load_settings

_HTTP_SECONDS = 5.0
_DAY_S = 86_400
_GIB = 1 << 30


@dataclass(frozen=True)
class Finding:
    """One line of the answer."""

    name: str
    ok: bool
    detail: str


Look = Callable[[], Finding]


def examine(looks: dict[str, Look]) -> dict[str, Any]:
    """Take every look and return the answer; an error becomes the line of its look."""
    findings = [_one(name, look) for name, look in looks.items()]
    return {
        "ok": bool(findings) and all(f.ok for f in findings),
        "checks": [asdict(f) for f in findings],
    }


def _one(name: str, look: Look) -> Finding:
    try:
        return look()
    except ApplianceError as error:
        said = f"{error.id}: expected {error.expected}; found {error.found}. {error.todo}"
        return Finding(name, ok=False, detail=said)
    except Exception as error:  # noqa: BLE001 - a broken part must not hide the others' state
        return Finding(name, ok=False, detail=f"{name} broke: {type(error).__name__}")


@dataclass(frozen=True)
class Doctor:
    """Looks at one home."""

    home: Home
    settings: Settings
    clock: Clock

    def looks(self) -> dict[str, Look]:
        """Return the looks of this layer and below; the command adds those beside it."""
        return {
            "settings": self.settings_file,
            "home": self.home_usable,
            "audit-writer": self.audit_writer,
            "audit-log": self.audit_log,
            "witness": self.witness,
            "model": self.model,
            "datasets": self.datasets,
            "certificate": self.certificate,
            "gateway": self.gateway,
            "console": self.console,
            "backup": self.backup,
        }

    def settings_file(self) -> Finding:
        """Read the settings again, as every command does."""
        load_settings(self.home.settings_file)
        there = self.home.settings_file.is_file()
        return Finding("settings", ok=True, detail="valid" if there else "none: the defaults hold")

    def home_usable(self) -> Finding:
        """Write into the home and ask for its space."""
        with tempfile.TemporaryFile(dir=self.home.root) as probe:
            probe.write(b"x")
        free = shutil.disk_usage(self.home.root).free
        floor = self.settings.host.doctor_min_free_bytes
        said = f"{free / _GIB:.1f} GiB free, at least {floor / _GIB:.1f} wanted"
        return Finding("home", ok=free >= floor, detail=said)

    def audit_writer(self) -> Finding:
        """Write one entry: the only proof that work can be recorded."""
        from appliance.audit.recorder import open_recorder

        with open_recorder(self.home, "doctor") as recorder:
            receipt = recorder.event("doctor.run")
        return Finding("audit-writer", ok=True, detail=f"entry {receipt.index} is durable")

    def audit_log(self) -> Finding:
        """Verify what came since the last signed checkpoint was kept (all of it: audit verify)."""
        from appliance.audit.verify import Options, verify_home

        report = verify_home(self.home.audit, Options(newer_only=True))
        first = report.problems[0].to_dict() if report.problems else {}
        said = (
            f"{report.entries} entries"
            if report.ok
            else f"{len(report.problems)} problems: {first}"
        )
        return Finding("audit-log", ok=report.ok, detail=said)

    def witness(self) -> Finding:
        """Ask how old the witnesses' word is."""
        from appliance.audit.officer import witness_status

        lines = witness_status(self.home, self.settings.audit, self.clock)
        if not lines:
            return Finding("witness", ok=True, detail="none is accepted yet: docs/officers")
        bad = [line.witness for line in lines if line.stale or line.problem]
        said = f"stale or contradicted: {', '.join(bad)}" if bad else f"{len(lines)} fresh"
        return Finding("witness", ok=not bad, detail=said)

    def model(self) -> Finding:
        """Compare the promoted model's files with the hash in the log."""
        from appliance.registry.promotionlog import AuditPromotionLog
        from appliance.registry.promotions import Promotions
        from appliance.registry.store import ModelStore

        current = Promotions(AuditPromotionLog(self.home)).current()
        if current is None:
            return Finding("model", ok=True, detail="none is promoted yet")
        ModelStore(self.home).serving(current.hash)
        return Finding("model", ok=True, detail=f"{current.hash[:16]} is what was promoted")

    def datasets(self) -> Finding:
        """Compare each dataset version with its hash."""
        from appliance.datasets.store import DatasetStore

        store = DatasetStore(self.home)
        found = store.list()
        for manifest in found:
            store.open(manifest.hash).verify()
        return Finding("datasets", ok=True, detail=f"{len(found)} versions, all as hashed")

    def gateway(self) -> Finding:
        """Ask the gateway whether it would answer, where one is expected to run."""
        serving = self._serving()
        url = f"{self._service(8443) if serving else self._own_gateway()}/ready"
        try:
            value, status = _fetch(url)
        except OSError:
            return Finding("gateway", ok=not serving, detail=f"nothing answers at {url}")
        reason = str(value.get("reason") or value.get("status") or f"status {status}")[:100]
        waits = reason == ModelNotPromotedError.id  # said under "model"; nothing is broken
        return Finding("gateway", ok=status == HTTPStatus.OK or waits, detail=reason)

    def console(self) -> Finding:
        """Ask the console for its first page, where one is expected to run."""
        if not self._serving():
            return Finding("console", ok=True, detail="not expected to run here")
        url = f"{self._service(8444)}/login"
        try:
            _, status = _fetch(url)
        except OSError:
            return Finding("console", ok=False, detail=f"nothing answers at {url}")
        return Finding("console", ok=status == HTTPStatus.OK, detail=f"status {status}")

    def certificate(self) -> Finding:
        """Ask how long the certificate of gateway and console lasts."""
        from appliance.host.certificate import held

        found = held(self.home)
        if found is None:
            return Finding("certificate", ok=not self._serving(), detail="none is made yet")
        days = found.days_left(self.clock.now())
        limit = self.settings.host.doctor_certificate_days
        said = f"{days} days left, at least {limit} wanted"
        return Finding("certificate", ok=days >= limit, detail=said)

    def _own_gateway(self) -> str:
        here = self.settings.gateway
        return f"{'https' if here.tls_certificate else 'http'}://{here.host}:{here.port}"

    def _service(self, port: int) -> str:
        """Return the address of a container's published port (images/compose.yaml)."""
        address = self.settings.host.address.partition("/")[0] or "127.0.0.1"
        return f"https://{f'[{address}]' if ':' in address else address}:{port}"

    def _serving(self) -> bool:
        """Say whether this machine's bundle brings services and it was provisioned."""
        compose = self.home.root / "bundle" / "current" / "content" / "images" / "compose.yaml"
        return self._provisioned() and compose.is_file()

    def backup(self) -> Finding:
        """Ask the log for the last backup that was written."""
        from appliance.audit.index import Filter, open_index
        from appliance.audit.officer import let_sign

        let_sign(self.home)
        with open_index(self.home.audit) as index:
            rows = index.search(Filter(action="backup.create", outcome="success"), limit=1)
        limit = self.settings.host.doctor_backup_days
        if not rows:
            expected = self._provisioned()
            return Finding("backup", ok=not expected, detail="there has been none yet")
        at = datetime.fromisoformat(rows[0].at)
        days = (self.clock.now() - at).total_seconds() / _DAY_S
        return Finding(
            "backup", ok=days <= limit, detail=f"{days:.1f} days old, at most {limit:g} wanted"
        )

    def _provisioned(self) -> bool:
        return provision_file(self.home).is_file()


def provision_file(home: Home) -> Path:
    """Return the note of the last provisioning; it is there on a provisioned machine only."""
    return home.root / "host" / "provision.json"


def _fetch(url: str) -> tuple[dict[str, Any], int]:
    """Ask a loopback or LAN address of this machine; the certificate is the hospital's own."""
    import ssl

    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # nothing is sent and only a status is believed
    try:
        with urllib.request.urlopen(url, timeout=_HTTP_SECONDS, context=context) as reply:  # noqa: S310 - built above from http(s)
            return _object(reply.read(65_536)), int(reply.status)
    except urllib.error.HTTPError as error:
        return _object(error.read(65_536)), int(error.code)


def _object(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
