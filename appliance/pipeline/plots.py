"""The report's plots as self-contained SVG: no script, no font and no image from outside."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

BEFORE, AFTER, INK, GRID = "#8a94a6", "#0f766e", "#1f2937", "#e5e7eb"


@dataclass(frozen=True)
class Curve:
    """A training curve: ``steps`` (count) against ``losses`` (nats a token)."""

    title: str
    steps: Sequence[int]
    losses: Sequence[float]


def _figure(columns: int, width: float, height: float) -> tuple[Any, list[Any]]:
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update(
        {
            "svg.fonttype": "none",  # text stays text: selectable, and read aloud
            "svg.hashsalt": "appliance",  # the same data gives the same file
            "font.family": "sans-serif",
            "font.size": 10,
            "axes.edgecolor": GRID,
            "axes.labelcolor": INK,
            "text.color": INK,
            "xtick.color": INK,
            "ytick.color": INK,
        }
    )
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(1, columns, squeeze=False)[0]
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(visible=True, axis="y", color=GRID, linewidth=0.8)
        axis.set_axisbelow(True)
    return figure, list(axes)


def _svg(figure: Any, label: str) -> str:
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None}, transparent=True)
    text = out.getvalue()
    start = text.index("<svg ")
    return f'<svg role="img" aria-label="{label}" ' + text[start + len("<svg ") :]


def loss_curves(curves: Sequence[Curve], *, x: str, y: str, label: str) -> str:
    """Draw one panel a training stage; losses in nats a token."""
    figure, axes = _figure(max(1, len(curves)), 9.6, 2.9)
    for axis, curve in zip(axes, curves, strict=False):
        marker = "o" if len(curve.steps) < 40 else None  # noqa: PLR2004 - dots while few enough
        axis.plot(curve.steps, curve.losses, color=AFTER, linewidth=1.8, marker=marker, ms=3)
        axis.set_title(curve.title, loc="left", fontsize=10, fontweight="bold")
        axis.set_xlabel(x)
    if axes:
        axes[0].set_ylabel(y)
    return _svg(figure, label)


def margins(
    before: Sequence[float], after: Sequence[float], *, names: tuple[str, str], x: str, label: str
) -> str:
    """Draw each held-out pair's margin before and after, joined, sorted by the margin before.

    A margin is log p(safe) - log p(forbidden), in nats a token; right of zero the safe answer
    is the likelier one.
    """
    order = sorted(range(len(before)), key=lambda i: before[i])
    figure, (axis,) = _figure(1, 9.6, max(2.6, 0.13 * len(order) + 1.2))
    rows = range(len(order))
    left, right = [before[i] for i in order], [after[i] for i in order]
    axis.hlines(rows, left, right, color=GRID, linewidth=1.6)
    axis.axvline(0, color=INK, linewidth=0.9, linestyle=(0, (3, 3)))
    axis.scatter(left, rows, s=16, color=BEFORE, label=names[0], zorder=3)
    axis.scatter(right, rows, s=16, color=AFTER, label=names[1], zorder=3)
    axis.set_yticks([])
    axis.grid(visible=False)
    axis.set_xlabel(x)
    axis.legend(frameon=False, loc="lower right")
    return _svg(figure, label)


def stage_times(names: Sequence[str], seconds: Sequence[float], *, x: str, label: str) -> str:
    """Draw how long each stage took, in seconds."""
    figure, (axis,) = _figure(1, 9.6, 0.27 * max(1, len(names)) + 0.9)
    rows = list(range(len(names)))[::-1]
    axis.barh(rows, seconds, color=AFTER, height=0.62)
    axis.set_yticks(rows, names)
    axis.grid(visible=False)
    axis.set_xlabel(x)
    axis.tick_params(axis="y", length=0)
    for row, value in zip(rows, seconds, strict=True):
        axis.annotate(
            f"{value:.1f}", (value, row), xytext=(4, -3), textcoords="offset points", fontsize=9
        )
    return _svg(figure, label)
