"""What the pipeline and the command line call: plain functions from hash to hash."""

from __future__ import annotations

from appliance.datasets.importing import ImportOptions, ImportResult, import_files

__all__ = ["ImportOptions", "ImportResult", "import_files"]
