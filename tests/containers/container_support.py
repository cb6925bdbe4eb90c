"""What the container tests share besides fixtures."""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path
from typing import Any

import pytest
from docker.models.containers import Container

ROOT = Path(__file__).resolve().parents[2]
RECIPES = ROOT / "images"
CACHE = ROOT / ".run" / "images"


def archive(name: str) -> Path:
    """Return where an image's archive lies."""
    return CACHE / "test" / f"{name}.oci.tar"


def wait_healthy(container: Container, *, seconds: float = 120) -> None:
    """Wait until the image's own health check says so."""
    deadline = time.monotonic() + seconds
    while True:
        container.reload()
        state = container.attrs["State"]
        if state.get("Health", {}).get("Status") == "healthy":
            return
        if state["Status"] == "exited" or time.monotonic() > deadline:
            pytest.fail(f"{state}: {container.logs().decode()[-2000:]}")
        time.sleep(0.3)


def toy_model(path: Path) -> Path:
    """Write the toy model of the engine's own tests."""
    source = ROOT / "tests" / "integration" / "inference" / "toy_gguf.py"
    spec = importlib.util.spec_from_file_location("toy_gguf_for_containers", source)
    assert spec is not None and spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return Path(module.write_base(path))
