"""Take in real weights: a Hugging Face folder or a GGUF file, checked before anything is kept."""

from __future__ import annotations

import shutil
from pathlib import Path

from appliance.core.durable import os_errors
from appliance.core.errors import InputMissingError, WeightsRefusedError
from appliance.core.settings.registry import RegistrySettings
from appliance.registry import gguf, safetensors
from appliance.registry.manifest import GGUF_FILE, Manifest
from appliance.registry.store import ModelStore
from appliance.registry.template import folder_template, pin_template

TAKEN = {".safetensors", ".json", ".model", ".jinja", ".txt", ".md"}
TAKEN_NAMES = {"LICENSE", "NOTICE", "USE_POLICY"}
# Formats that run code when they are loaded, and code itself.
REFUSED = {".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".h5", ".npy", ".npz", ".py", ".so"}
SHAPE_KEYS = (*safetensors.CONFIG_NUMBERS, "num_key_value_heads", "max_position_embeddings")


def import_model(
    store: ModelStore, source: Path, *, licence: str, limits: RegistrySettings, name: str = ""
) -> Manifest:
    """Copy ``source`` into the store; the copy is what is checked.

    Raises:
        InputMissingError: no such file or folder.
        WeightsRefusedError: a format that runs code, or content that is not sane.
    """
    if not source.exists():
        raise InputMissingError(expected="a model folder or a GGUF file", found=f"no {source}")
    with store.staging() as staging:
        if source.is_dir():
            files = staging / "files"
            _copy_folder(source, files, limits)
            return _add_base(store, files, licence=licence, limits=limits, name=name or source.name)
        files = staging / "files"
        with os_errors(source):
            files.mkdir()
            _check_size(source.stat().st_size, limits)
            shutil.copyfile(source, files / GGUF_FILE)
        return _add_gguf(store, files, licence=licence, limits=limits, name=name or source.name)


def _check_size(size: int, limits: RegistrySettings) -> None:
    if size > limits.max_model_bytes:
        raise WeightsRefusedError(
            expected=f"at most {limits.max_model_bytes} bytes", found=f"{size} bytes"
        )


def _copy_folder(source: Path, files: Path, limits: RegistrySettings) -> None:
    with os_errors(source):
        entries = sorted(p for p in source.iterdir() if p.is_file())
        for path in entries:
            if path.suffix.lower() in REFUSED:
                raise WeightsRefusedError(
                    expected="weights as safetensors, and no code",
                    found=f"{path.name}: loading such a file runs code",
                )
        taken = [p for p in entries if p.suffix in TAKEN or p.stem in TAKEN_NAMES]
        _check_size(sum(p.stat().st_size for p in taken), limits)
        files.mkdir()
        for path in taken:
            shutil.copyfile(path, files / path.name)


def _add_base(
    store: ModelStore, files: Path, *, licence: str, limits: RegistrySettings, name: str
) -> Manifest:
    weights = sorted(files.glob("*.safetensors"))
    if not weights or not (files / "config.json").is_file():
        raise WeightsRefusedError(
            expected="config.json and at least one .safetensors file",
            found="a folder without them",
        )
    config = safetensors.read_config(files / "config.json")
    parameters = 0
    for path in weights:
        for shape in safetensors.read_header(path, limits).values():
            count = 1
            for size in shape:
                count *= size
            parameters += count
    template = pin_template(folder_template(files), limits)
    shape_of = {key: config[key] for key in SHAPE_KEYS if isinstance(config.get(key), int)}
    return store.add(
        "base",
        files,
        name=name,
        licence=licence,
        source="imported folder",
        shape={"architecture": str(config["architectures"][0]), "parameters": parameters}
        | shape_of,
        chat_template_sha256=template,
    )


def _add_gguf(
    store: ModelStore, files: Path, *, licence: str, limits: RegistrySettings, name: str
) -> Manifest:
    header = gguf.read_header(files / GGUF_FILE, limits)
    if header.is_adapter:
        raise WeightsRefusedError(
            expected="a whole model", found="a LoRA adapter, whose base and data are unknown"
        )
    return store.add(
        "gguf",
        files,
        name=name,
        licence=licence,
        source="imported file",
        shape=gguf_shape(header),
        chat_template_sha256=pin_template(header.chat_template, limits),
    )


def gguf_shape(header: gguf.GgufHeader) -> dict[str, int | float | str | None]:
    """Return the few numbers of a GGUF header that a manifest keeps."""
    parameters = 0
    for shape in header.tensors.values():
        count = 1
        for size in shape:
            count *= size
        parameters += count
    kept: dict[str, int | float | str | None] = {
        "architecture": header.architecture,
        "type": "adapter" if header.is_adapter else "model",
        "parameters": parameters,
        "tensors": len(header.tensors),
    }
    for key in ("context_length", "embedding_length", "block_count"):
        value = header.metadata.get(f"{header.architecture}.{key}")
        if isinstance(value, int):
            kept[key] = value
    return kept
