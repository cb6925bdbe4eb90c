"""``./run bench [NAME...]``: the numbers the project promises, measured, never asserted.

Each number is printed beside its limit and, where there is one, a peer measured in the same run:
machines differ and are noisy. Prints a table; ``--json FILE`` keeps the values.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.bench.measure import Row, rows_as_json, table
from tests.bench.parts import audit, bundle, command_line, data, deid, pipeline

PARTS: dict[str, Callable[[Path], list[Row]]] = {
    "cli": command_line,
    "data": data,
    "deid": deid,
    "pipeline": pipeline,
    "audit": audit,
    "bundle": bundle,
}


def main() -> int:
    """Measure the named parts (all when none is named); return 0 whatever the numbers are."""
    parser = argparse.ArgumentParser(prog="./run bench", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="what to measure")
    parser.add_argument("--json", type=Path, help="write the values to this file")
    given = parser.parse_args()
    rows: list[Row] = []
    for name in given.parts or PARTS:
        with tempfile.TemporaryDirectory(prefix=f"bench-{name}-") as folder:
            print(f"bench: {name}", file=sys.stderr)
            rows += PARTS[name](Path(folder))
    load = os.getloadavg()[0]
    print(table(rows))
    print(f"{os.cpu_count()} cores, load {load:.1f} at the end, {platform.platform()}")
    if given.json:
        given.json.write_text(json.dumps(rows_as_json(rows, load), indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
