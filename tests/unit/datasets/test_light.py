from __future__ import annotations

import subprocess
import sys


def test_importing_and_formatting_load_no_detector() -> None:
    """Presidio and spaCy take 1.5 s to load; only finding identifiers needs them."""
    program = (
        "import sys, appliance.datasets.importing, appliance.datasets.format\n"
        "print([m for m in ('presidio_analyzer', 'spacy') if m in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
