"""``APPLIANCE_HOME``: the one folder that holds all state."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from appliance.core.errors import HomeUnusableError

ENVIRONMENT_VARIABLE = "APPLIANCE_HOME"


def default_home() -> Path:
    """Return the home named by the environment, or ``~/.local/share/appliance``."""
    named = os.environ.get(ENVIRONMENT_VARIABLE)
    return Path(named) if named else Path.home() / ".local" / "share" / "appliance"


@dataclass(frozen=True)
class Home:
    """The folders of one appliance's state. Nothing is written elsewhere."""

    root: Path

    @property
    def settings_file(self) -> Path:
        """``appliance.toml``."""
        return self.root / "appliance.toml"

    @property
    def audit(self) -> Path:
        """The audit log: keys, write-ahead file, tiles, checkpoints, search index."""
        return self.root / "audit"

    @property
    def keys(self) -> Path:
        """Secrets other than the log's own (mode 0700): pseudonym keys, API key hashes."""
        return self.root / "keys"

    @property
    def records(self) -> Path:
        """Imported records, as they came, before de-identification."""
        return self.root / "records"

    @property
    def datasets(self) -> Path:
        """De-identified dataset versions, one folder a content hash."""
        return self.root / "datasets"

    @property
    def models(self) -> Path:
        """Base models, adapters, GGUF files and the promotions."""
        return self.root / "models"

    @property
    def evaluations(self) -> Path:
        """Evaluation results, one file a content hash."""
        return self.root / "evaluations"

    @property
    def runs(self) -> Path:
        """Pipeline runs: stage records, logs, checkpoints of training."""
        return self.root / "runs"

    @property
    def reports(self) -> Path:
        """What people read: HTML reports."""
        return self.root / "reports"

    @property
    def run(self) -> Path:
        """Sockets, lock files and process ids of what is running now."""
        return self.root / "run"

    def prepare(self) -> Home:
        """Create the root and prove that it can be written; raise ``HomeUnusableError``."""
        try:
            self.root.mkdir(parents=True, exist_ok=True, mode=0o750)
            self.keys.mkdir(exist_ok=True, mode=0o700)
            self.run.mkdir(exist_ok=True, mode=0o750)
            with tempfile.TemporaryFile(dir=self.root):
                pass
        except OSError as error:
            raise HomeUnusableError(
                expected="a folder this user can write",
                found=f"{error.strerror} at {self.root}",
            ) from error
        return self
