"""Run the measurements, compare with the last run and the roofline, sign and save."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from appliance import __version__
from appliance.core.clock import Clock, rfc3339
from appliance.core.home import Home
from appliance.core.progress import Progress
from appliance.core.settings.hardware import HardwareSettings
from appliance.hardware.bench import disk_speed, engine_speed, hash_speed, memory_speed
from appliance.hardware.bench_store import (
    BenchResult,
    bench_folder,
    compare,
    last_bench,
    save_bench,
)
from appliance.hardware.check import card_names, probe_plan
from appliance.hardware.machine import from_inventory
from appliance.hardware.parse import parse
from appliance.hardware.plan import Machine
from appliance.hardware.shape_files import read_model
from appliance.hardware.table import table
from appliance.hardware.texts import Words

_STEPS = 4
_CONTEXT = 1024


def run_bench(
    home: Home,
    settings: HardwareSettings,
    clock: Clock,
    progress: Progress,
    *,
    model: Path | None,
) -> dict[str, Any]:
    """Measure, compare, save; return the answer."""
    machine = from_inventory(parse(probe_plan(settings), card_names()))
    before = last_bench(home)
    before_model = last_bench(home, with_model=True)
    progress.update(0, _STEPS, "memory")
    memory = memory_speed(settings.bench_seconds)
    progress.update(1, _STEPS, "disk")
    written, flushes = disk_speed(bench_folder(home), settings.bench_disk_bytes)
    progress.update(2, _STEPS, "hash")
    hashed = hash_speed(settings.bench_seconds)
    values: dict[str, Any] = {
        "memory_copy": memory.copy,
        "memory_bandwidth": memory.read,
        "disk_write": written,
        "disk_flushes_s": flushes,
        "hash_speed": hashed,
    }
    if model is not None:
        progress.update(3, _STEPS, "model")
        values |= _engine(model, settings, progress, machine, memory.read)
    result = BenchResult(
        taken_at=rfc3339(clock.now()),
        version=__version__,
        machine=machine.name if machine else "unknown",
        **values,
    )
    path = save_bench(home, result, settings.bench_keep)
    rows = compare(result, before_model if model else before, settings.bench_slower_fraction)
    return {
        "ok": not any(r["slower"] for r in rows),
        "saved": str(path),
        "result": result.model_dump(mode="json"),
        "compared": rows,
    }


def _engine(
    path: Path,
    settings: HardwareSettings,
    progress: Progress,
    machine: Machine | None,
    bandwidth: float,
) -> dict[str, Any]:
    """Measure the engine; the roofline is that of the cards when the model lies on them."""
    from appliance.hardware.bench_engine import LlamaEngine

    read = read_model(path, settings.gguf_header_max_bytes)
    engine = LlamaEngine(path, min(_CONTEXT, read.shape.context))
    try:
        speed = engine_speed(engine, read, settings.bench_seconds, progress)
        on_cards = engine.on_cards
    finally:
        engine.close()
    cards = [p for p in machine.places if p.is_card and p.bandwidth] if machine else []
    if on_cards and cards:
        # Layers lie on the cards in equal parts and are read one card after the other.
        bandwidth = len(cards) / sum(1 / (p.bandwidth or 1) for p in cards)
    roofline = bandwidth / speed.read_bytes
    return {
        "model": read.name,
        "model_read_bytes": round(speed.read_bytes),
        "prompt_tokens_s": speed.prompt_tokens_s,
        "generate_tokens_s": speed.generate_tokens_s,
        "decode_efficiency": speed.generate_tokens_s / roofline,
        "prompt_flops": speed.prompt_flops,
        "roofline_tokens_s": roofline,
        "on_cards": on_cards,
    }


_UNITS = {"prompt_tokens_s": "tokens/s", "generate_tokens_s": "tokens/s", "disk_flushes_s": "1/s"}


def bench_table(answer: dict[str, Any], say: Words) -> str:
    """Return the answer for people."""
    head = [say(f"bench.{k}") for k in ("name", "value", "last", "change")]
    rows = []
    for row in answer["compared"]:
        unit = _UNITS.get(row["name"])
        rows.append(
            [
                say(f"bench.{row['name']}"),
                _shown(row["value"], unit),
                "-" if row["last"] is None else _shown(row["last"], unit),
                ("-" if row["ratio"] is None else f"{(row['ratio'] - 1) * 100:+.0f} %")
                + (f" {say('bench.slower')}" if row["slower"] else ""),
            ]
        )
    lines = [table(head, rows, (34, 18, 18, 20))]
    result = answer["result"]
    if result["roofline_tokens_s"] is not None:
        lines.append(
            say(
                "bench.roofline",
                limit=f"{result['roofline_tokens_s']:.1f}",
                share=f"{result['decode_efficiency'] * 100:.0f}",
                gflops=f"{result['prompt_flops'] / 1e9:.1f}",
            )
        )
    return "\n".join([*lines, say("bench.saved", path=answer["saved"])])


def _shown(value: float, unit: str | None) -> str:
    return f"{value:.1f} {unit}" if unit else f"{value / 1e9:.2f} GB/s"
