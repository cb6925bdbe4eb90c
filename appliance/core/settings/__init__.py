"""One settings tree, read from ``appliance.toml``; unknown keys are fatal.

Provisioning writes what follows from the machine into ``machine.toml`` beside it (where the trainer
is, which image it has). A value in ``appliance.toml``, which is the site's, goes before it.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from appliance.core.errors import SettingsInvalidError
from appliance.core.settings.audit import AuditSettings
from appliance.core.settings.backup import BackupSettings
from appliance.core.settings.bundle import BundleSettings
from appliance.core.settings.console import ConsoleSettings
from appliance.core.settings.datasets import DatasetsSettings
from appliance.core.settings.deid import DeidSettings
from appliance.core.settings.evaluation import EvaluationSettings
from appliance.core.settings.gateway import GatewaySettings
from appliance.core.settings.hardware import HardwareSettings
from appliance.core.settings.host import HostSettings
from appliance.core.settings.inference import InferenceSettings
from appliance.core.settings.knowledge import KnowledgeSettings
from appliance.core.settings.pipeline import PipelineSettings
from appliance.core.settings.registry import RegistrySettings
from appliance.core.settings.section import Section
from appliance.core.settings.training import TrainingSettings

__all__ = ["Section", "Settings", "load_settings"]

MACHINE = "machine.toml"


class Settings(Section):
    """The whole of ``appliance.toml``: one field a table."""

    audit: AuditSettings = AuditSettings()
    deid: DeidSettings = DeidSettings()
    datasets: DatasetsSettings = DatasetsSettings()
    registry: RegistrySettings = RegistrySettings()
    knowledge: KnowledgeSettings = KnowledgeSettings()
    training: TrainingSettings = TrainingSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    inference: InferenceSettings = InferenceSettings()
    pipeline: PipelineSettings = PipelineSettings()
    gateway: GatewaySettings = GatewaySettings()
    console: ConsoleSettings = ConsoleSettings()
    bundle: BundleSettings = BundleSettings()
    backup: BackupSettings = BackupSettings()
    host: HostSettings = HostSettings()
    hardware: HardwareSettings = HardwareSettings()


def load_settings(path: Path) -> Settings:
    """Read the settings file; a missing file means the defaults, a wrong one is refused.

    Beside it ``machine.toml``, where there is one, gives what ``path`` leaves out.
    """
    machine = path.with_name(MACHINE)
    site = _read(path)
    values = _merged(_read(machine), site)
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        table = str(first["loc"][0])
        wrong = path if table in site or table not in values else machine
        key = ".".join(str(part) for part in first["loc"])
        raise SettingsInvalidError(
            expected=f"known keys and values in range in {wrong}",
            found=f"{key}: {first['msg']}",
        ) from error


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsInvalidError(
            expected=f"a UTF-8 TOML file at {path}", found=type(error).__name__
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsInvalidError(expected=f"TOML in {path}", found=str(error)) from error


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Return ``above`` with what only ``below`` has, table by table."""
    both = {k for k in below.keys() & above.keys() if isinstance(below[k], dict)}
    deeper = {k: _merged(below[k], above[k]) for k in both if isinstance(above[k], dict)}
    return below | above | deeper
