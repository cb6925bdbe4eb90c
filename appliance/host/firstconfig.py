"""The first ``appliance.toml``: every setting with its reason, none switched on by itself."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import BaseModel

from appliance.core.durable import write_bytes
from appliance.core.errors.host import AlreadyConfiguredError
from appliance.core.home import Home
from appliance.core.settings import Settings, load_settings

_WIDTH = 96
_HEAD = """\
# Settings of the appliance. Every line is a comment that shows the value in force; take away the
# "# " before a key to change it. A key that is not known is refused.
"""


def render(values: dict[str, dict[str, Any]] | None = None) -> str:
    """Return the file's text; ``values`` (table -> key -> value) are set, the rest is comment."""
    given = values or {}
    parts = [_HEAD]
    for name, field in Settings.model_fields.items():
        section = field.annotation
        assert isinstance(section, type)
        assert issubclass(section, BaseModel)
        parts.append(_table(name, section, given.get(name, {})))
    return "\n".join(parts)


def _table(name: str, section: type[BaseModel], given: dict[str, Any]) -> str:
    lines = [f"[{name}]"]
    nested = []
    for key, field in section.model_fields.items():
        default = field.get_default(call_default_factory=True)
        if isinstance(default, BaseModel):
            nested.append(_table(f"{name}.{key}", type(default), given.get(key, {})))
            continue
        lines += [f"# {line}" for line in textwrap.wrap(field.description or "", _WIDTH)]
        value = given.get(key, default)
        mark = "" if key in given else "# "
        lines.append(f"{mark}{key} = {_toml(value)}" if value is not None else f"# {key} is unset")
    return "\n".join([*lines, "", *nested])


def _toml(value: Any) -> str:
    """Write one value as TOML on one line."""
    plain = json.loads(json.dumps(value, default=_plain))
    if isinstance(plain, list):
        return "[" + ", ".join(_toml(item) for item in plain) + "]"
    if isinstance(plain, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {_toml(v)}" for k, v in plain.items()) + "}"
    return tomli_w.dumps({"v": plain}).partition(" = ")[2].strip()


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, tuple | set | frozenset):
        return list(value)
    return str(value)


def write_first(home: Home, values: dict[str, dict[str, Any]]) -> Path:
    """Write the file where none is; it is read back before anybody relies on it.

    Raises:
        AlreadyConfiguredError: there is one already, which is left as it is.
        SettingsInvalidError: a value given is not allowed; nothing is left behind.
    """
    target = home.settings_file
    if target.exists():
        raise AlreadyConfiguredError(expected="no appliance.toml yet", found=str(target))
    draft = target.with_name(".appliance.toml.draft")
    try:
        write_bytes(draft, render(values).encode(), mode=0o640)
        load_settings(draft)
        draft.rename(target)
    finally:
        draft.unlink(missing_ok=True)
    return target
