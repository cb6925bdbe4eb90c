"""What every command shares: the home, the settings, one JSON object out, errors in words."""

from __future__ import annotations

import errno
import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from appliance.core.durable import from_os_error
from appliance.core.errors import ApplianceError
from appliance.core.home import Home, default_home

if TYPE_CHECKING:
    from appliance.core.settings import Settings

DEBUG_VARIABLE = "APPLIANCE_DEBUG"


def json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--json`` (passed to the command as ``as_json``)."""
    return click.option(
        "--json", "as_json", is_flag=True, help="Print one JSON object on standard output."
    )(command)


def get_home(ctx: click.Context, *, prepare: bool = True) -> Home:
    """Return the home named by ``--home`` or the environment, made ready for writing."""
    home = Home((ctx.find_root().obj or default_home()).absolute())
    return home.prepare() if prepare else home


def get_settings(home: Home) -> Settings:
    """Return the settings of ``home``."""
    from appliance.core.settings import load_settings

    return load_settings(home.settings_file)


def emit(value: Any, *, as_json: bool, text: str | Callable[[], str | None] = "") -> None:
    """Print ``value`` as one JSON object, or ``text`` (or what calling it returns) for people."""
    if as_json:
        click.echo(json.dumps(value, ensure_ascii=False, sort_keys=True, default=_plain))
        return
    shown = text() if callable(text) else text
    if shown:
        click.echo(shown)


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    dump = getattr(value, "model_dump", None)
    if dump is not None:
        return dump(mode="json")
    raise TypeError(f"not JSON: {type(value).__name__}")


def answer(ok: bool) -> int:
    """Return the exit code of a yes-or-no answer: 0 yes, 1 no."""
    return 0 if ok else 1


def report_error(error: Exception, *, as_json: bool) -> int:
    """Print ``error`` for people (or as JSON) on the right stream and return its exit code.

    An error this code does not know is reported by its class only: its text might hold patient
    data. Set APPLIANCE_DEBUG=1 to see the traceback while developing.
    """
    if os.environ.get(DEBUG_VARIABLE):
        traceback.print_exception(error)
    if isinstance(error, BrokenPipeError):
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123 - the reader left; stay quiet
        return 0
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EACCES, errno.EROFS}:
        error = from_os_error(error, Path(str(error.filename or "a file")))
    if not isinstance(error, ApplianceError):
        error = ApplianceError(
            expected="no unforeseen error", found=f"{type(error).__module__}.{type(error).__name__}"
        )
    if as_json:
        click.echo(json.dumps({"ok": False, "error": error.to_dict()}, ensure_ascii=False))
    click.echo(
        f"error [{error.id}] {error.headline()}\n"
        f"  expected: {error.expected}\n"
        f"  found:    {error.found}\n"
        f"  to do:    {error.todo}",
        err=True,
    )
    return error.exit_code
