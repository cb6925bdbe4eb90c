from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from appliance.core.canonical import file_hash, tree_hash
from appliance.core.clock import FixedClock
from appliance.core.errors import (
    InputMissingError,
    ModelUnknownError,
    StateDamagedError,
    WeightsRefusedError,
)
from appliance.core.home import Home
from appliance.core.settings.registry import RegistrySettings
from appliance.registry.importing import import_model
from appliance.registry.manifest import Manifest
from appliance.registry.store import ModelStore

LIMITS = RegistrySettings()


@pytest.fixture
def store(home: Home) -> ModelStore:
    return ModelStore(home, FixedClock(datetime(2026, 1, 2, tzinfo=UTC)))


def take(store: ModelStore, source: Path, limits: RegistrySettings = LIMITS) -> Manifest:
    return import_model(store, source, licence="apache-2.0", limits=limits)


def test_an_imported_folder_is_named_by_its_content(
    store: ModelStore, tmp_path: Path, artefacts: Any
) -> None:
    source = artefacts.hf_folder(tmp_path / "m")
    made = take(store, source)
    assert made.hash == tree_hash(source) == tree_hash(store.files(made.hash))
    assert made.kind == "base"
    assert made.shape["parameters"] == 4
    assert made.shape["architecture"] == "LlamaForCausalLM"
    assert take(store, source) == made
    assert store.list() == [made]


def test_an_imported_gguf_is_named_by_its_bytes(
    store: ModelStore, tmp_path: Path, artefacts: Any
) -> None:
    source = tmp_path / "m.gguf"
    source.write_bytes(artefacts.gguf_bytes())
    made = take(store, source)
    assert made.hash == file_hash(source)
    serving = store.serving(made.hash)
    assert serving.base_gguf.read_bytes() == source.read_bytes()
    assert serving.adapter_gguf is None
    assert serving.chat_template_sha256 == made.chat_template_sha256


@pytest.mark.parametrize(
    "name", ["pytorch_model.bin", "x.pkl", "x.PT", "modeling.py", "x.ckpt", "x.h5", "x.npz"]
)
def test_weights_that_run_code_are_refused_and_nothing_is_kept(
    store: ModelStore, tmp_path: Path, artefacts: Any, name: str
) -> None:
    folder = artefacts.hf_folder(tmp_path / "m")
    (folder / name).write_bytes(b"\x80\x04.")
    with pytest.raises(WeightsRefusedError, match="runs code"):
        take(store, folder)
    assert store.list() == []
    assert [p.name for p in store.root.iterdir()] == []


def test_a_pickle_named_safetensors_is_refused(
    store: ModelStore, tmp_path: Path, artefacts: Any
) -> None:
    folder = artefacts.hf_folder(tmp_path / "m")
    (folder / "model.safetensors").write_bytes(b"\x80\x04\x95" + bytes(100))
    with pytest.raises(WeightsRefusedError):
        take(store, folder)


def test_a_foreign_adapter_is_refused(store: ModelStore, tmp_path: Path, artefacts: Any) -> None:
    source = tmp_path / "m.gguf"
    source.write_bytes(artefacts.gguf_bytes({"general.type": "adapter"}))
    with pytest.raises(WeightsRefusedError, match="LoRA"):
        take(store, source)


def test_a_model_over_the_limit_is_refused(
    store: ModelStore, tmp_path: Path, artefacts: Any
) -> None:
    folder = artefacts.hf_folder(tmp_path / "m")
    (folder / "more.json").write_bytes(b" " * 2000)
    with pytest.raises(WeightsRefusedError, match="at most 1000"):
        take(store, folder, RegistrySettings(max_model_bytes=1000))


def test_a_folder_without_weights_and_a_missing_path_are_told_apart(
    store: ModelStore, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(WeightsRefusedError):
        take(store, tmp_path / "empty")
    with pytest.raises(InputMissingError):
        take(store, tmp_path / "absent")


def test_a_changed_byte_is_noticed(store: ModelStore, tmp_path: Path, artefacts: Any) -> None:
    made = take(store, artefacts.hf_folder(tmp_path / "m"))
    assert store.verify(made.hash) == made
    path = store.files(made.hash) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(StateDamagedError):
        store.verify(made.hash)


def test_a_hash_may_be_shortened_but_not_guessed(
    store: ModelStore, tmp_path: Path, artefacts: Any
) -> None:
    made = take(store, artefacts.hf_folder(tmp_path / "m"))
    assert store.get(made.hash[:8]) == made
    for wrong in (made.hash[:7], "0" * 64, "../../etc", ""):
        with pytest.raises(ModelUnknownError):
            store.get(wrong)


def test_a_manifest_with_unknown_fields_is_damaged_state(
    store: ModelStore, tmp_path: Path, artefacts: Any
) -> None:
    made = take(store, artefacts.hf_folder(tmp_path / "m"))
    path = store.files(made.hash).parent / "manifest.json"
    path.write_text(path.read_text().replace('"kind"', '"sort"'))
    with pytest.raises(StateDamagedError):
        store.list()


def test_the_loss_curve_stands_beside_the_object_and_does_not_change_it(
    store: ModelStore, tmp_path: Path, artefacts: Any
) -> None:
    made = take(store, artefacts.hf_folder(tmp_path / "m"))
    assert store.curve(made.hash) == []
    store.attach_curve(made.hash, [{"step": 1, "loss": 2.5}])
    assert store.curve(made.hash) == [{"step": 1, "loss": 2.5}]
    store.verify(made.hash)


def test_what_a_killed_process_left_goes_and_a_living_ones_stays(
    home: Home, tmp_path: Path, artefacts: Any
) -> None:
    store = ModelStore(home)
    dead, living, young = (
        store.root / f".tmp-staging.{pid}.{name}"
        for pid, name in ((2**22 + 1, "a"), (os.getpid(), "b"), (2**22 + 1, "c"))
    )
    for folder in (dead, living, young):
        folder.mkdir(parents=True)
        (folder / "half").touch()
    for folder in (dead, living):
        os.utime(folder, (1, 1))
    take(store, artefacts.hf_folder(tmp_path / "m"))
    assert [p.exists() for p in (dead, living, young)] == [False, True, True]
