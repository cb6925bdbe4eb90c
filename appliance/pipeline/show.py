"""What a person sees while the pipeline runs and when it ends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from appliance.pipeline.graph import Stage
from appliance.pipeline.runner import StageResult


class ConsoleListener:
    """Tells each stage's begin and end on stderr."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, highlight=False)

    def stage_begins(self, stage: Stage, number: int, total: int) -> None:
        """Say which stage begins."""
        self._console.print(f"[bold]{number:>2}/{total}[/] {stage.title} ...")

    def stage_ends(self, result: StageResult, number: int, total: int) -> None:
        """Say that it ended, or that it was kept."""
        if result.status == "kept":
            self._console.print(
                f"[bold]{number:>2}/{total}[/] {result.title} [dim]kept {result.key[:12]}[/]"
            )
        else:
            self._console.print(f"      [green]done[/] in {result.seconds:.1f} s")


def summary_table(summary: Mapping[str, Any]) -> Table:
    """Return the closing table: what was done, and whether it held."""
    table = Table(
        title="What this run did", title_justify="left", show_header=False, pad_edge=False
    )
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for label, value in _rows(summary):
        table.add_row(label, value)
    return table


def _rows(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    data, audit = summary["data"], summary["audit"]
    machine, gate, isolation = summary["machine"], summary["gate"], summary["isolation"]
    before, after = summary["before"], summary["after"]
    kept = sum(1 for s in summary["stages"] if s["status"] == "kept")
    rows = [
        (
            "machine",
            f"{'meets' if machine['ok'] else 'is NOT'} the target profile {machine['profile']}"
            + ("" if machine["ok"] else "; everything below ran at toy size"),
        ),
        (
            "records",
            (
                f"{sum(s['records'] for s in data['sources'])} imported, "
                f"{data['refused']} refused, "
                f"{sum(data['entities'].values())} identifiers replaced"
            ),
        ),
        (
            "split",
            ", ".join(f"{name} {n}" for name, n in data["splits"].items())
            + f"; {sum(c['ok'] for c in data['checks'])} of {len(data['checks'])} checks hold",
        ),
        (
            "perplexity",
            f"{before['perplexity']:.2f} before, {after['perplexity']:.2f} after",
        ),
        ("margin", _margins(before, after)),
        (
            "gate",
            "[green]promoted[/]" if gate["ok"] else "[red]refused[/]: " + _failed(gate),
        ),
        ("adapter", summary["adapter"]),
        (
            "offline",
            f"{isolation['attempts']} connection attempts ({isolation['detail']})",
        ),
        (
            "audit log",
            f"{audit['size']} entries, "
            + ("[green]verified[/]" if audit["ok"] else "[red]does not verify[/]"),
        ),
        ("time", f"{summary['seconds']:.1f} s in this run, {kept} stages kept"),
    ]
    rows += [("report", path) for path in summary["reports"]]
    return rows


def _failed(gate: Mapping[str, Any]) -> str:
    return ", ".join(c["name"] for c in gate["checks"] if not c["ok"])


def _margins(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    return (
        f"{before['margin_mean']:+.3f} before, {after['margin_mean']:+.3f} after "
        f"(nats a token, {after['pairs']} held-out pairs); safe wins in "
        f"{before['margin_positive_share']:.0%} before, {after['margin_positive_share']:.0%} after"
    )
