"""The conversion to GGUF, as a stage: the carried script, run as it is."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path
from typing import Any

from appliance.training.worker.protocol import OUTPUT_FOLDER, RESULT_FILE


def run_convert(job: dict[str, Any], run: Path) -> None:
    """Run the job's script in this process; its exit code is this one's."""
    output = run / OUTPUT_FOLDER
    output.mkdir()
    sys.argv = [job["script"], *job["arguments"], "--outfile", str(output / job["outfile"])]
    sys.path.insert(0, str(Path(job["script"]).parent))
    try:
        runpy.run_path(job["script"], run_name="__main__")
    except SystemExit as end:
        if end.code not in {None, 0}:
            raise
    (run / RESULT_FILE).write_text(json.dumps({"script": Path(job["script"]).name}))
