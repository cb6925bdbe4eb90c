"""The activity chart as SVG, drawn here: no script, no style attribute, readable without colour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

WIDTH: Final = 720
HEIGHT: Final = 180
LEFT: Final = 44
BOTTOM: Final = 24
TOP: Final = 12


@dataclass(frozen=True)
class Bar:
    """One bar: the label under it, what it says in full, how many entries, how many emergencies."""

    label: str
    title: str
    count: int
    emergencies: int = 0


def nice_top(highest: int) -> int:
    """Return a round number of at least ``highest`` and at least 4."""
    scale = 1
    while scale * 10 < highest:
        scale *= 10
    for factor in (1, 2, 4, 5, 10):
        if factor * scale >= max(highest, 4):
            return factor * scale
    return 10 * scale


def bar_chart(bars: Sequence[Bar], *, title: str, every: int = 1) -> str:
    """Return the SVG; ``every`` thins the labels under the bars out."""
    top = nice_top(max((bar.count for bar in bars), default=0))
    plot, step = HEIGHT - BOTTOM - TOP, (WIDTH - LEFT) / max(1, len(bars))
    box = f'viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="xMidYMid meet"'
    parts = [f'<svg class="chart" role="img" aria-label="{escape(title)}" {box}>']
    for share in (0, 0.5, 1):
        y = TOP + plot * (1 - share)
        parts.append(f'<line class="grid" x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH}" y2="{y:.1f}"/>')
        parts.append(
            f'<text class="tick" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">'
            f"{int(top * share)}</text>"
        )
    for number, bar in enumerate(bars):
        x, height = LEFT + number * step, plot * bar.count / top
        parts.append(
            f'<g><title>{escape(bar.title)}</title><rect class="bar" x="{x + step * 0.18:.1f}" '
            f'y="{TOP + plot - height:.1f}" width="{step * 0.64:.1f}" height="{height:.1f}" '
            f'rx="2"/>'
        )
        if bar.emergencies:
            parts.append(
                f'<text class="mark" x="{x + step / 2:.1f}" '
                f'y="{max(TOP + 2, TOP + plot - height - 4):.1f}" text-anchor="middle">'
                f"▲{bar.emergencies}</text>"
            )
        parts.append("</g>")
        if number % every == 0:
            parts.append(
                f'<text class="tick" x="{x + step / 2:.1f}" y="{HEIGHT - 6}" '
                f'text-anchor="middle">{escape(bar.label)}</text>'
            )
    return "".join([*parts, "</svg>"])
