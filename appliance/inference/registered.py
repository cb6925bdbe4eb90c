"""From a registered hash to what an engine loads: verified files and the pinned template."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from appliance.core.clock import Clock, SystemClock
from appliance.core.durable import os_errors
from appliance.core.errors import ModelHashMismatchError
from appliance.core.home import Home
from appliance.core.settings.inference import InferenceSettings
from appliance.core.settings.registry import RegistrySettings
from appliance.inference.engine import Engine, ScoringEngine
from appliance.inference.files import ModelFiles
from appliance.inference.template import Template
from appliance.registry.gguf import read_header
from appliance.registry.store import ModelStore
from appliance.registry.template import folder_template

ENGINE_FOLDER = "engine-"  # with the process id: socket and log of one llama-server
DEFAULT_END = "</s>"  # only matters to templates that write it, and those name it themselves


@dataclass(frozen=True)
class Registered:
    """What is to be loaded for one registered GGUF hash."""

    hash: str
    files: ModelFiles
    template: Template


def registered(store: ModelStore, content: str) -> Registered:
    """Return what an engine loads for the GGUF object ``content`` (a base, or an adapter's).

    Raises:
        ModelUnknownError: no such object.
        StateDamagedError: its files are no longer what their hash says.
        ModelHashMismatchError: the chat template is not the one that was pinned.
    """
    serving = store.serving(store.get(content).hash)
    adapter = serving.adapter_gguf
    files = ModelFiles(
        serving.base_gguf,
        serving.base_gguf_hash,
        adapter,
        serving.hash if adapter is not None else None,
    )
    template = _template(store, serving.base_gguf_hash)
    pinned = serving.chat_template_sha256
    if pinned is not None and template.hash != pinned:
        raise ModelHashMismatchError(
            expected=f"the chat template pinned as {pinned}", found=f"one with {template.hash}"
        )
    return Registered(serving.hash, files, template)


def open_engine(
    what: Registered, settings: InferenceSettings, home: Home, clock: Clock | None = None
) -> Engine:
    """Return the engine that the settings name, loaded."""
    if settings.engine == "embedded":
        return open_embedded(what, settings)
    if settings.engine == "upstream":
        from appliance.inference.upstream import UpstreamEngine

        return UpstreamEngine(what.files.base_hash, settings, adapter_hash=what.files.adapter_hash)
    time = clock or SystemClock()
    if settings.engine == "attached":
        from appliance.inference.attached import AttachedEngine

        return AttachedEngine(what.files, what.template, settings, home.models, time)
    from appliance.inference.llama_server import LlamaServerEngine

    _sweep(home.run)
    folder = home.run / f"{ENGINE_FOLDER}{os.getpid()}"
    return LlamaServerEngine(folder, what.files, what.template, settings, time)


def _sweep(run: Path) -> None:
    """Remove the folders of engines whose process is gone (it was killed)."""
    for folder in run.glob(f"{ENGINE_FOLDER}*"):
        number = folder.name.removeprefix(ENGINE_FOLDER)
        if number.isdigit() and not Path(f"/proc/{number}").exists():
            shutil.rmtree(folder, ignore_errors=True)


def open_embedded(what: Registered, settings: InferenceSettings) -> ScoringEngine:
    """Return the embedded engine, which also shows token probabilities."""
    from appliance.inference.embedded import EmbeddedEngine

    return EmbeddedEngine(what.files, what.template, settings)


def _template(store: ModelStore, base_gguf: str) -> Template:
    """Return the template of the weights the base GGUF was made from, or else its own."""
    source = store.get(base_gguf).links.get("base")
    if source is not None:
        folder = store.files(source)
        text = folder_template(folder)
        if text is not None:
            return Template(text, _end_token(folder))
    header = read_header(store.gguf_path(base_gguf), RegistrySettings())
    text = header.chat_template
    return Template(text, DEFAULT_END) if text is not None else Template()


def _end_token(folder: Path) -> str:
    path = folder / "tokenizer_config.json"
    try:
        with os_errors(path):
            value = json.loads(path.read_bytes()).get("eos_token", DEFAULT_END)
    except (ValueError, AttributeError):
        return DEFAULT_END
    text = value.get("content", DEFAULT_END) if isinstance(value, dict) else value
    return text if isinstance(text, str) else DEFAULT_END
