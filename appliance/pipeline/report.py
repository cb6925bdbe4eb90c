"""The run's report: one HTML file with everything in it, in English or Brazilian Portuguese."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from appliance.core.durable import write_bytes
from appliance.pipeline import plots
from appliance.pipeline.report_texts import texts

LANGUAGES = ("en", "pt-BR")

# metric -> (how it is written, which way is better)
METRICS: dict[str, tuple[str, str]] = {
    "perplexity": ("{:.2f}", "lower"),
    "token_accuracy": ("{:.1%}", "higher"),
    "bits_per_token": ("{:.3f}", "lower"),
    "bits_per_character": ("{:.3f}", "lower"),
    "bits_per_byte": ("{:.3f}", "lower"),
    "margin_mean": ("{:+.3f}", "higher"),
    "margin_positive_share": ("{:.0%}", "higher"),
    "over_refusal": ("{:.0%}", "lower"),
}


def write_reports(folder: Path, name: str, summary: Mapping[str, Any]) -> list[Path]:
    """Write ``NAME.en.html`` and ``NAME.pt-BR.html`` into ``folder`` and return their paths."""
    paths = []
    for lang in LANGUAGES:
        path = folder / f"{name}.{lang}.html"
        write_bytes(path, render(summary, lang).encode("utf-8"))
        paths.append(path)
    return paths


def render(summary: Mapping[str, Any], lang: str) -> str:
    """Return the report as HTML; everything from the run is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    words = texts(lang)
    environment = Environment(
        loader=PackageLoader("appliance.pipeline"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.jinja").render(
        run=summary,
        lang=lang,
        t=words,
        cards=_cards(summary, words),
        metrics=_metric_rows(summary["before"], summary["after"], words),
        loss_svg=_loss(summary["curves"], words),
        margins_svg=_margins(summary, words),
        times_svg=_times(summary["stages"], words),
    )


def _cards(summary: Mapping[str, Any], t: Mapping[str, str]) -> list[dict[str, str]]:
    before, after = summary["before"], summary["after"]
    positive = "{:.0%} → {:.0%}"
    return [
        {
            "value": positive.format(
                before["margin_positive_share"], after["margin_positive_share"]
            ),
            "label": t["card_margin"],
        },
        {
            "value": f"{before['perplexity']:.1f} → {after['perplexity']:.1f}",
            "label": t["card_perplexity"],
        },
        {"value": str(summary["isolation"]["attempts"]), "label": t["card_attempts"]},
        {"value": str(summary["audit"]["size"]), "label": t["card_log"]},
        {
            "value": f"{sum(s['seconds'] for s in summary['stages']):.0f} s",
            "label": t["card_seconds"],
        },
    ]


def _metric_rows(
    before: Mapping[str, Any], after: Mapping[str, Any], t: Mapping[str, str]
) -> list[dict[str, str]]:
    return [
        {
            "label": t[name],
            "before": form.format(before[name]),
            "after": form.format(after[name]),
            "better": t[better],
        }
        for name, (form, better) in METRICS.items()
    ]


def _loss(curves: Mapping[str, Sequence[Sequence[float]]], t: Mapping[str, str]) -> str:
    panels = [
        plots.Curve(t[f"{stage}_curve"], [int(p[0]) for p in points], [p[1] for p in points])
        for stage, points in curves.items()
        if points
    ]
    if not panels:
        return ""
    return plots.loss_curves(panels, x=t["steps"], y=t["loss_axis"], label=t["loss"])


def _margins(summary: Mapping[str, Any], t: Mapping[str, str]) -> str:
    before, after = summary["before"]["margins"], summary["after"]["margins"]
    if not before:
        return ""
    names = (t["before"], t["after"])
    return plots.margins(before, after, names=names, x=t["margin_axis"], label=t["margins"])


def _times(stages: Sequence[Mapping[str, Any]], t: Mapping[str, str]) -> str:
    names = [str(s["title"]) for s in stages]
    return plots.stage_times(names, [s["seconds"] for s in stages], x="s", label=t["stages"])
