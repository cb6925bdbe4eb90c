"""Base and adapter to GGUF with the carried llama.cpp scripts, offline, in the trainer environment.

Unsloth's own GGUF export clones llama.cpp and asks for sudo (issues #763, #1846, #5832), so it is
not used. What comes out is checked like any other GGUF file before it is kept.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from appliance.core.canonical import sha256_hex, value_hash
from appliance.core.durable import exclusive, os_errors
from appliance.core.errors import ApplianceError, ConversionFailedError, ModelUnknownError
from appliance.registry import gguf
from appliance.registry.importing import gguf_shape
from appliance.registry.manifest import GGUF_FILE, Manifest
from appliance.training.environment import child_environment, link_code, make_cache
from appliance.training.service import KEY_CHARS, Workshop
from appliance.training.worker.protocol import LOG_FILE


def convert_base(shop: Workshop, base: str) -> str:
    """Return the hash of the GGUF (16-bit floats) of the base model ``base``."""
    manifest = _of_kind(shop, base, "base")
    there = shop.models.find("gguf", base=manifest.hash)
    if there is not None:
        return there.hash
    source = shop.models.files(manifest.hash)
    command = ["convert_hf_to_gguf.py", str(source), "--outtype", "f16"]
    command += ["--model-name", manifest.name]
    return _convert(shop, manifest, command, [source], {"base": manifest.hash})


def convert_adapter(shop: Workshop, adapter: str) -> str:
    """Return the hash of the GGUF LoRA of ``adapter``; its base is converted first if need be."""
    manifest = _of_kind(shop, adapter, "adapter")
    base = manifest.links["base"]
    base_gguf = convert_base(shop, base)
    there = shop.models.find("gguf", adapter=manifest.hash, base_gguf=base_gguf)
    if there is not None:
        return there.hash
    source = shop.models.files(manifest.hash)
    command = ["convert_lora_to_gguf.py", str(source), "--outtype", "f16"]
    below = shop.models.files(base)
    command += ["--base", str(below)]
    links = {"adapter": manifest.hash, "base_gguf": base_gguf}
    return _convert(shop, manifest, command, [source, below], links)


def _of_kind(shop: Workshop, content: str, kind: str) -> Manifest:
    manifest = shop.models.verify(content)
    if manifest.kind != kind:
        raise ModelUnknownError(expected=f"the hash of a {kind}", found=manifest.kind)
    return manifest


@dataclass(frozen=True)
class _Job:
    """One conversion: the script, its arguments, what it reads and where it writes."""

    script: str
    arguments: list[str]
    sources: list[Path]
    target: Path


def _convert(
    shop: Workshop,
    manifest: Manifest,
    command: list[str],
    sources: list[Path],
    links: dict[str, str],
) -> str:
    key = value_hash({"stage": "convert", "of": manifest.hash, "links": links})
    run = shop.runs / f"convert-{key[:KEY_CHARS]}"
    with (
        exclusive(run / "lock", what="conversion of this model"),
        shop.recorder.action("models.convert", object_id=manifest.hash, detail=links) as act,
        shop.models.staging() as staging,
    ):
        files = staging / "files"
        with os_errors(staging):
            files.mkdir()
        arguments = [*command[1:], "--outfile", str(files / GGUF_FILE)]
        _run(shop, run, _Job(command[0], arguments, sources, files))
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


def _run(shop: Workshop, run: Path, job: _Job) -> None:
    settings = shop.settings.training
    try:
        code = (_in_container if settings.runner == "container" else _as_child)(shop, run, job)
    except TimeoutError as error:
        raise ConversionFailedError(
            expected=f"an end within {settings.converter_seconds} s", found="none"
        ) from error
    if code != 0:
        raise ConversionFailedError(
            expected=f"exit code 0 of {job.script}",
            found=f"{code}; its words are in {run / LOG_FILE}",
        )


def _as_child(shop: Workshop, run: Path, job: _Job) -> int:
    trainer, settings = shop.trainer(), shop.settings.training
    link_code(run)
    program = [str(trainer.python), str(trainer.require_converter() / job.script), *job.arguments]
    with os_errors(run), (run / LOG_FILE).open("wb") as log:
        try:
            return subprocess.run(
                program,
                cwd=run,
                env=child_environment(run, settings, 0, os.environ),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                timeout=settings.converter_seconds,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired as error:
            raise TimeoutError from error


def _in_container(shop: Workshop, run: Path, job: _Job) -> int:
    """Run the converter that the trainer image carries."""
    from appliance.training.container import CONVERTER, PYTHON, Box, connect, run_once

    settings = shop.settings.training
    make_cache(run)
    box = Box(
        run,
        readable=job.sources,
        writable=[job.target],
        entrypoint=[PYTHON],
        command=[str(CONVERTER / job.script), *job.arguments],
    )
    return run_once(connect(settings), box, settings, settings.converter_seconds)
