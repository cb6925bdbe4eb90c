"""Makers of model files for the registry's tests."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def artefacts() -> ModuleType:
    """Return the module with small model files (tests are no package, so it is loaded by path)."""
    path = Path(__file__).with_name("artefacts.py")
    spec = importlib.util.spec_from_file_location("registry_artefacts", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
