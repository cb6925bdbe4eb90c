"""The reference pages, made from the program itself so that they cannot drift.

``python -m appliance.cli.reference FOLDER`` writes them; a test compares them.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from pydantic import BaseModel

from appliance.cli.main import cli
from appliance.core import errors
from appliance.core.settings import Settings

NOTE = "<!-- Made by `./run docs` from the program itself; a test compares it. -->\n"


def errors_page() -> str:
    """Return the catalogue of errors, one row a class."""
    for module in pkgutil.iter_modules(errors.__path__):
        importlib.import_module(f"{errors.__name__}.{module.name}")
    rows = [
        f"| {e.exit_code} | `{e.id}` | {e.http_status} | {e.headline()} | {e.remedy} |"
        for e in errors.all_errors()
    ]
    return "\n".join(
        [
            "# Errors",
            "",
            NOTE,
            "Every command ends with 0 (fine), 1 (the answer is no), 2 (used wrongly) or one of",
            "these. The text on stderr says what was expected, what was found and what to do.",
            "",
            "| exit | id | HTTP | what happened | what to do |",
            "| ---: | --- | ---: | --- | --- |",
            *rows,
            "",
        ]
    )


def settings_page() -> str:
    """Return every setting with its default and the reason for it, one table a section."""
    lines = [
        "# Settings",
        "",
        NOTE,
        "`$APPLIANCE_HOME/appliance.toml`. A key that is not listed here is refused.",
        "",
    ]
    for name, field in Settings.model_fields.items():
        section = field.annotation
        assert isinstance(section, type)
        assert issubclass(section, BaseModel)
        lines += [f"## `[{name}]`", "", *_settings_rows(section, ""), ""]
    return "\n".join(lines)


def _settings_rows(section: type[BaseModel], prefix: str) -> list[str]:
    if not section.model_fields:
        return ["Nothing to set."]
    rows: list[str] = []
    for name, field in section.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            rows += _settings_rows(kind, f"{prefix}{name}.")
            continue
        default = field.get_default(call_default_factory=True)
        shown = "unset" if default is None else f"`{_shown(default)}`"
        rows.append(f"| `{prefix}{name}` | {shown} | {field.description} |")
    return rows if prefix else ["| key | default | unit and reason |", "| --- | --- | --- |", *rows]


def _shown(value: Any) -> str:
    dumped = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    return str(dumped).replace("|", "\\|")


def commands_page() -> str:
    """Return the ``--help`` of every command."""
    lines = ["# Commands", "", NOTE]
    for path, context in _walk(click.Context(cli, info_name="appliance")):
        lines += [f"## `{path}`", "", "```text", context.get_help().rstrip(), "```", ""]
    return "\n".join(lines)


def _walk(context: click.Context) -> Iterator[tuple[str, click.Context]]:
    context.terminal_width = 96
    context.max_content_width = 96
    yield context.command_path, context
    if isinstance(context.command, click.Group):
        for name in context.command.list_commands(context):
            command = context.command.get_command(context, name)
            assert command is not None
            yield from _walk(click.Context(command, info_name=name, parent=context))


def gateway_page() -> str:
    """Return what the gateway accepts: the fields of a request and the headers about care."""
    import json

    from appliance.gateway import care
    from appliance.gateway.schema import ChatRequest, CompletionRequest

    lines = [
        "# The gateway's requests",
        "",
        NOTE,
        "OpenAI's shape; a field that is not listed is refused with 400. Every route wants",
        "`Authorization: Bearer KEY` (`appliance serve keys create`).",
        "",
        "## Headers about the patient and the reason",
        "",
        "Percent-encoded UTF-8. They go to the audit log: the patient as a keyed pseudonym.",
        "",
        "| header | what |",
        "| --- | --- |",
        f"| `{care.PATIENT}` | the patient's number; needed when `gateway.patient_needed` is on |",
        f"| `{care.USER}` | login name of the person who asks (else the key's owner is logged) |",
        f"| `{care.PURPOSE}` | HL7 purpose of use: {', '.join(sorted(care.PURPOSES))} |",
        f"| `{care.EMERGENCY}` | why this is an emergency; needs the patient; reviewed later |",
        "",
    ]
    for route, model in (
        ("POST /v1/chat/completions", ChatRequest),
        ("POST /v1/completions", CompletionRequest),
    ):
        schema = json.dumps(model.model_json_schema(), indent=1, ensure_ascii=False)
        lines += [f"## `{route}`", "", "```json", schema, "```", ""]
    return "\n".join(lines)


PAGES = {
    "errors.md": errors_page,
    "settings.md": settings_page,
    "commands.md": commands_page,
    "gateway.md": gateway_page,
}


def write_pages(folder: Path) -> None:
    """Write every page into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in PAGES.items():
        (folder / name).write_text(make(), encoding="utf-8")


if __name__ == "__main__":
    write_pages(Path(sys.argv[1]))
