"""The files under ``hardware/``: profiles, cards, models, recordings, alert rules.

They lie beside the ``appliance`` package, in a checkout and in an installed wheel alike
(docs/adr/0050-hardware-files-beside-the-package.md).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import appliance
from appliance.core.errors.hardware import CatalogueInvalidError, ProfileInvalidError

MAX_BYTES = 1_048_576


def folder() -> Path:
    """Return the folder that holds the catalogue."""
    return Path(appliance.__file__).resolve().parent.parent / "hardware"


def read_yaml(path: Path, max_bytes: int = MAX_BYTES) -> Any:
    """Read a YAML file with the safe loader; raise ``ProfileInvalidError``."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        with path.open("rb") as stream:
            data = stream.read(max_bytes + 1)
    except OSError as error:
        raise ProfileInvalidError(
            expected=f"a YAML file at {path}", found=error.strerror or "not readable"
        ) from error
    if len(data) > max_bytes:
        raise ProfileInvalidError(
            expected=f"at most {max_bytes} bytes in {path}", found="a larger file"
        )
    try:
        return yaml.load(data, Loader=loader)  # noqa: S506 - a safe loader, chosen above
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark else ""
        raise ProfileInvalidError(
            expected=f"YAML in {path}", found=f"{type(error).__name__}{where}"
        ) from error


def shipped_profiles() -> list[str]:
    """Name the profiles that ship."""
    return sorted(p.stem for p in (folder() / "profiles").glob("*.yaml"))


def profile_path(name: str) -> Path:
    """Return the file of a shipped profile, or the file ``name`` itself is."""
    shipped = folder() / "profiles" / f"{name}.yaml"
    if name in shipped_profiles():
        return shipped
    own = Path(name)
    if own.is_file():
        return own
    raise ProfileInvalidError(
        expected=f"one of {', '.join(shipped_profiles())}, or a profile file of your own",
        found=name,
        remedy="Name a shipped profile, or check the path of your own.",
    )


def catalogue_file(name: str) -> Any:
    """Read a file of the catalogue; raise ``CatalogueInvalidError``."""
    try:
        return read_yaml(folder() / name)
    except ProfileInvalidError as error:
        raise CatalogueInvalidError(expected=error.expected, found=error.found) from error
