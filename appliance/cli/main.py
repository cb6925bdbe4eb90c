"""The ``appliance`` command: finds a group's module only when that group is called."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import click

from appliance import __version__

# name -> (module under appliance.cli, one line for --help). The module is imported on use only,
# so that `appliance --help` stays under 0.3 s.
COMMANDS: dict[str, tuple[str, str]] = {
    "ask": ("ask", "Ask the promoted model one question."),
    "audit": ("audit", "Append to, search, verify and prove the audit log."),
    "backup": ("backup", "Create, verify and restore encrypted backups."),
    "bundle": ("bundle", "Build, verify, inspect and install the signed medium."),
    "chat": ("ask", "Talk to the promoted model."),
    "console": ("console", "Serve the reviewers' console."),
    "data": ("data", "Import, list, show, check and split records."),
    "deid": ("deid", "Find and replace identifiers."),
    "demo": ("demo", "Run the whole appliance at toy size."),
    "doctor": ("doctor", "Say in one answer whether the appliance is healthy."),
    "evaluate": ("evaluate", "Measure, compare and report models."),
    "guard": ("guard", "Check a question or an answer against the safety rules."),
    "hardware": ("hardware", "Check the machine, plan the model, keep watch."),
    "host": ("host", "Plan, provision and verify the machine."),
    "init": ("init", "Make the first configuration."),
    "knowledge": ("knowledge", "Add to and search the local knowledge base."),
    "models": ("models", "Import, list, promote and roll back models."),
    "pipeline": ("pipeline", "Run the stages as a resumable graph."),
    "serve": ("serve", "Serve the OpenAI-compatible gateway."),
    "train": ("train", "Plan, run and watch training."),
}


class LazyGroup(click.Group):
    """A group whose subcommands live in modules imported on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Name the commands whose module is there."""
        here = Path(__file__).parent
        return sorted(n for n, (m, _) in COMMANDS.items() if (here / f"{m}.py").is_file())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of ``cmd_name`` and return its command."""
        if cmd_name not in self.list_commands(ctx):
            return None
        module = importlib.import_module(f"appliance.cli.{COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        rows = [(name, COMMANDS[name][1]) for name in self.list_commands(ctx)]
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="appliance")
@click.option(
    "--home",
    type=click.Path(path_type=Path, file_okay=False),
    help="The folder that holds all state (default: $APPLIANCE_HOME).",
)
@click.pass_context
def cli(ctx: click.Context, home: Path | None) -> None:
    """Run a hospital's own AI: records in, a safer model out, every step in a log that verifies.

    Exit codes: 0 fine, 1 the answer is no, 2 used wrongly, 3 and more one for each error class.
    """
    ctx.obj = home


def main(argv: list[str] | None = None) -> None:
    """Run the command line and exit; no error ever shows a traceback."""
    arguments: list[str] = sys.argv[1:] if argv is None else argv
    try:
        result: Any = cli.main(args=arguments, prog_name="appliance", standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(_say("interrupted", "Interrupted.", 11))
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except Exception as error:  # noqa: BLE001 - the last line of defence against tracebacks
        from appliance.cli.common import report_error

        sys.exit(report_error(error, as_json="--json" in arguments))
    sys.exit(result if isinstance(result, int) else 0)


def _say(identifier: str, text: str, code: int) -> int:
    click.echo(f"{identifier}: {text}", err=True)
    return code


if __name__ == "__main__":
    main()
