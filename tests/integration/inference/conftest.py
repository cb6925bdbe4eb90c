from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from appliance.inference.files import ModelFiles

HERE = Path(__file__).parent


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> ModelFiles:
    """A tiny random model with its adapter, as registered files."""
    folder = tmp_path_factory.mktemp("toy")
    made = load("toy_gguf")
    return ModelFiles.of(
        made.write_base(folder / "base.gguf"), made.write_adapter(folder / "adapter.gguf")
    )
