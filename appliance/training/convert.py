"""Base and adapter to GGUF with the carried llama.cpp scripts, offline, in the trainer environment.

Unsloth's own GGUF export clones llama.cpp and asks for sudo (issues #763, #1846, #5832), so it is
not used. What comes out is checked like any other GGUF file before it is kept.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from appliance.core.canonical import sha256_hex, value_hash
from appliance.core.durable import exclusive, os_errors
from appliance.core.errors import (
    ApplianceError,
    ConversionFailedError,
    ModelUnknownError,
    ToolFailedError,
)
from appliance.core.progress import NoProgress
from appliance.registry import gguf
from appliance.registry.importing import gguf_shape
from appliance.registry.manifest import GGUF_FILE, Manifest
from appliance.training.container import CONVERTER
from appliance.training.runner import run_stage, starter
from appliance.training.service import KEY_CHARS, Workshop
from appliance.training.worker.protocol import OUTPUT_FOLDER


def convert_base(shop: Workshop, base: str) -> str:
    """Return the hash of the GGUF (16-bit floats) of the base model ``base``."""
    manifest = _of_kind(shop, base, "base")
    there = shop.models.find("gguf", base=manifest.hash)
    if there is not None:
        return there.hash
    source = shop.models.files(manifest.hash)
    job = {
        "script": "convert_hf_to_gguf.py",
        "base": str(source),
        "arguments": [str(source), "--outtype", "f16", "--model-name", manifest.name],
    }
    return _convert(shop, manifest, job, {"base": manifest.hash})


def convert_adapter(shop: Workshop, adapter: str) -> str:
    """Return the hash of the GGUF LoRA of ``adapter``; its base is converted first if need be."""
    manifest = _of_kind(shop, adapter, "adapter")
    base = manifest.links["base"]
    base_gguf = convert_base(shop, base)
    there = shop.models.find("gguf", adapter=manifest.hash, base_gguf=base_gguf)
    if there is not None:
        return there.hash
    source = shop.models.files(manifest.hash)
    below = shop.models.files(base)
    job = {
        "script": "convert_lora_to_gguf.py",
        "base": str(below),
        "adapter": str(source),
        "arguments": [str(source), "--outtype", "f16", "--base", str(below)],
    }
    links = {"adapter": manifest.hash, "base_gguf": base_gguf}
    return _convert(shop, manifest, job, links)


def _of_kind(shop: Workshop, content: str, kind: str) -> Manifest:
    manifest = shop.models.verify(content)
    if manifest.kind != kind:
        raise ModelUnknownError(expected=f"the hash of a {kind}", found=manifest.kind)
    return manifest


def _convert(shop: Workshop, manifest: Manifest, job: dict[str, Any], links: dict[str, str]) -> str:
    key = value_hash({"stage": "convert", "of": manifest.hash, "links": links})
    run = shop.runs / f"convert-{key[:KEY_CHARS]}"
    with os_errors(run):
        run.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (
        exclusive(run / "convert.lock", what="conversion of this model"),
        shop.recorder.action("models.convert", object_id=manifest.hash, detail=links) as act,
        shop.models.staging() as staging,
    ):
        files = staging / "files"
        with os_errors(run):
            _run(shop, run, job)
            files.mkdir()
            shutil.copyfile(run / OUTPUT_FOLDER / GGUF_FILE, files / GGUF_FILE)
        try:
            header = gguf.read_header(files / GGUF_FILE, shop.settings.registry)
        except ApplianceError as error:
            raise ConversionFailedError(expected="a sound GGUF file", found=error.found) from error
        _check(header, manifest)
        made = shop.models.add(
            "gguf",
            files,
            name=f"GGUF of {manifest.name}"[:200],
            licence=manifest.licence,
            source="converted on this appliance with the carried llama.cpp scripts",
            shape=gguf_shape(header),
            links=links,
            chat_template_sha256=manifest.chat_template_sha256,
        )
        act.detail["object"] = made.hash
    shutil.rmtree(run, ignore_errors=True)
    return made.hash


def _check(header: gguf.GgufHeader, manifest: Manifest) -> None:
    """The converted file must be of the same kind and carry the pinned chat template."""
    if header.is_adapter != (manifest.kind == "adapter"):
        raise ConversionFailedError(
            expected=f"a GGUF of a {manifest.kind}", found="one of the other kind"
        )
    template = header.chat_template
    pinned = manifest.chat_template_sha256
    if not header.is_adapter and (template is None or sha256_hex(template.encode()) != pinned):
        raise ConversionFailedError(
            expected="the pinned chat template in the GGUF", found="another one or none"
        )


def _run(shop: Workshop, run: Path, job: dict[str, Any]) -> None:
    """Run the script where training runs: its environment, its container."""
    settings = shop.settings.training
    converter = CONVERTER
    if settings.runner == "process":
        converter = shop.trainer().require_converter()
    job = job | {
        "stage": "convert",
        "seed": 0,
        "threads": 0,
        "script": str(converter / job["script"]),
        "outfile": GGUF_FILE,
    }
    try:
        run_stage(run, job, starter(settings), settings, NoProgress())
    except ToolFailedError as error:
        raise ConversionFailedError(
            expected=f"{Path(job['script']).name} to finish", found=error.found, remedy=error.remedy
        ) from error
