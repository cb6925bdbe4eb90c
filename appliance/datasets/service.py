"""What the pipeline and the command line call: plain functions from hash to hash."""

from __future__ import annotations

from appliance.datasets.checking import CheckReport, check
from appliance.datasets.cleaning import CleanResult, deidentify
from appliance.datasets.importing import ImportOptions, ImportResult, import_files
from appliance.datasets.scanning import ScanResult, scan_files
from appliance.datasets.splitting import SplitOptions, SplitResult, split

__all__ = [
    "CheckReport",
    "CleanResult",
    "ImportOptions",
    "ImportResult",
    "ScanResult",
    "SplitOptions",
    "SplitResult",
    "check",
    "deidentify",
    "import_files",
    "scan_files",
    "split",
]
