"""What is measured, one function a part; each takes an empty folder."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from tests.bench.measure import Row, appliance, at_most, run
from tests.bench.medium import bundle_rows

ROOT = Path(__file__).resolve().parents[2]
PUBMEDQA = ROOT.parent / "shared" / "data" / "pubmedqa" / "ori_pqal.json"
REPEATS = 5


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def command_line(folder: Path) -> list[Row]:
    """Start-up: `appliance --help`, `hardware check`, `hardware plan`, against bare Python."""
    bare = _median([run([sys.executable, "-c", "pass"], folder).wall_s for _ in range(REPEATS)])

    def took(*arguments: str) -> float:
        command = ["sh", "-c", '"$@" >/dev/null 2>&1 || true', "sh", *appliance(*arguments)]
        return _median([run(command, folder).wall_s for _ in range(REPEATS)])

    return [
        Row("cli", "python -c pass (the peer)", bare, "s"),
        at_most("cli", "appliance --help", took("--help"), "s", 0.3),
        at_most("cli", "hardware check", took("hardware", "check", "--json"), "s", 1.0),
        at_most("cli", "hardware plan", took("hardware", "plan", "--json"), "s", 0.5),
    ]


def data(folder: Path) -> list[Row]:
    """1,000 PubMedQA records imported, de-identified (patterns) and formatted."""
    imported = run(appliance("data", "import", str(PUBMEDQA), "--json"), folder)
    first = json.loads(imported.output)["dataset"]
    cleaned = run(appliance("deid", "apply", "--dataset", first, "--json"), folder)
    second = json.loads(cleaned.output)["dataset"]
    program = (
        "import sys; from pathlib import Path\n"
        "from appliance.core.home import Home\n"
        "from appliance.datasets.format import export\n"
        "from appliance.datasets.store import DatasetStore\n"
        "export(DatasetStore(Home(Path(sys.argv[1]))).open(sys.argv[2]), Path(sys.argv[3]))\n"
    )
    arguments = [str(folder), second, str(folder / "export")]
    formatted = run([sys.executable, "-c", program, *arguments], folder)
    began = time.monotonic()
    json.loads(PUBMEDQA.read_bytes())
    peer = time.monotonic() - began
    whole = imported.wall_s + cleaned.wall_s + formatted.wall_s
    cpu = imported.cpu_s + cleaned.cpu_s + formatted.cpu_s
    return [
        at_most("data", "1,000 records imported, de-identified, formatted", whole, "s", 5),
        Row("data", "the same, processor time", cpu, "s"),
        Row("data", "json.load of the file (the peer)", peer, "s"),
    ]


def deid(folder: Path) -> list[Row]:
    """Recall and speed of the identifiers' search."""
    value: dict[str, Any] = json.loads(run(appliance("deid", "bench", "--json"), folder).output)
    return [
        Row("deid", key, float(number), "")
        for key, number in sorted(value.items())
        if isinstance(number, (int, float)) and not isinstance(number, bool)
    ]


def pipeline(folder: Path) -> list[Row]:
    """The demo on a fresh home, and again with nothing changed."""
    command = appliance("demo", "--pubmedqa", str(PUBMEDQA), "--json")
    first = run(command, folder)
    again = run(command, folder)
    stages = json.loads(first.output)["stages"]
    return [
        at_most("pipeline", "first run, fresh home", first.wall_s, "s", 300),
        Row("pipeline", "first run, processor time", first.cpu_s, "s"),
        at_most("pipeline", "second run, nothing changed", again.wall_s, "s", 10),
        at_most("pipeline", "peak memory of one process", first.peak_mib / 1024, "GiB", 3),
        *[Row("pipeline", f"stage {s['name']}", s["seconds"], "s") for s in stages],
    ]


def audit(folder: Path) -> list[Row]:
    """The log: appends, proofs, verification, search, each beside its peers."""
    value: dict[str, Any] = json.loads(run(appliance("audit", "bench", "--json"), folder).output)
    return _flat("audit", value)


def bundle(folder: Path) -> list[Row]:
    """Verification against hashlib, encryption of backups against AES-256-GCM alone."""
    return bundle_rows(folder)


def _flat(part: str, value: Any, name: str = "") -> list[Row]:
    rows: list[Row] = []
    if isinstance(value, dict):
        for key, inner in value.items():
            rows += _flat(part, inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        rows.append(Row(part, name, float(value), ""))
    return rows
