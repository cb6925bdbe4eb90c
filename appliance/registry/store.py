"""The content-addressed store of models: an object's name is the hash of its files.

``models/base/<hash>/``, ``models/adapters/<hash>/`` and ``models/gguf/<hash>/`` each hold
``files/`` and ``manifest.json``. Objects never change; an object appears whole or not at all.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from appliance.core.canonical import file_hash, tree_hash, value_hash
from appliance.core.clock import Clock, SystemClock, rfc3339
from appliance.core.durable import (
    TEMP_PREFIX,
    new_folder,
    os_errors,
    read_json,
    write_bytes,
    write_json,
)
from appliance.core.errors import ModelUnknownError, StateDamagedError
from appliance.core.home import Home
from appliance.registry.manifest import FOLDERS, GGUF_FILE, Kind, Manifest

MIN_PREFIX = 8  # characters of a hash a person may type; 32 bits are unique in any real registry
HASH_CHARS = 64
LEFT_SECONDS = 3_600  # a copy of the largest model takes minutes; process ids may be another's
CURVE_FILE = "metrics.jsonl"


@dataclass(frozen=True)
class Serving:
    """What an engine needs to serve one promoted hash."""

    hash: str
    base_gguf: Path
    base_gguf_hash: str
    adapter_gguf: Path | None
    chat_template_sha256: str | None


class ModelStore:
    """Base models, adapters and GGUF files of one home."""

    def __init__(self, home: Home, clock: Clock | None = None) -> None:
        """Open the store of ``home``."""
        self.root = home.models
        self._clock = clock or SystemClock()

    @contextlib.contextmanager
    def staging(self) -> Iterator[Path]:
        """Yield an empty folder on the store's file system, gone when the block ends."""
        folder = self.root / f"{TEMP_PREFIX}staging.{os.getpid()}.{secrets.token_hex(6)}"
        with os_errors(folder):
            self._sweep()
            folder.mkdir(parents=True, mode=0o750)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _sweep(self) -> None:
        """Remove what a killed process left; a living one's, or a young one, stays."""
        oldest = self._clock.now().timestamp() - LEFT_SECONDS
        for folder in (self.root, *(self.root / name for name in FOLDERS.values())):
            for path in folder.glob(f"{TEMP_PREFIX}*"):
                pid = path.name.rsplit(".", 2)[-2]
                alive = pid.isdigit() and Path("/proc", pid).exists()
                if not alive and path.stat().st_mtime < oldest:
                    shutil.rmtree(path, ignore_errors=True)

    def add(self, kind: Kind, files: Path, **fields: Any) -> Manifest:
        """Move the folder ``files`` (on this file system) into the store and describe it.

        Adding the same content again keeps the first description.
        """
        content = file_hash(files / GGUF_FILE) if kind == "gguf" else tree_hash(files)
        target = self._folder(kind, content)
        if (target / "manifest.json").is_file():
            return self.get(content)
        manifest = Manifest(
            kind=kind,
            hash=content,
            created=rfc3339(self._clock.now()),
            bytes=sum(p.stat().st_size for p in files.rglob("*") if p.is_file()),
            **fields,
        )
        with new_folder(target) as temp:
            with os_errors(temp):
                files.rename(temp / "files")
            write_json(temp / "manifest.json", manifest.model_dump(mode="json"))
        return manifest

    def _folder(self, kind: Kind, content: str) -> Path:
        return self.root / FOLDERS[kind] / content

    def list(self, kind: Kind | None = None) -> list[Manifest]:
        """Return every manifest, oldest first."""
        found: list[Manifest] = []
        for one in FOLDERS if kind is None else (kind,):
            folder = self.root / FOLDERS[one]
            if folder.is_dir():
                found += [
                    self._read(p / "manifest.json")
                    for p in sorted(folder.iterdir())
                    if not p.name.startswith(".")
                ]
        return sorted(found, key=lambda m: (m.created, m.hash))

    def _read(self, path: Path) -> Manifest:
        try:
            return Manifest.model_validate(read_json(path))
        except ValidationError as error:
            raise StateDamagedError(
                expected=f"a manifest in {path}", found="unknown or missing fields"
            ) from error

    def get(self, name: str) -> Manifest:
        """Return the manifest of a hash, or of a unique beginning of one (8 characters)."""
        if len(name) == HASH_CHARS:
            for kind in FOLDERS:
                path = self._folder(kind, name) / "manifest.json"
                if path.is_file():
                    return self._read(path)
        elif len(name) >= MIN_PREFIX and name.isalnum():
            matches = [m for m in self.list() if m.hash.startswith(name)]
            if len(matches) == 1:
                return matches[0]
        raise ModelUnknownError(
            expected=f"the hash of a model, or its first {MIN_PREFIX} characters or more",
            found=f"{name[:HASH_CHARS]!r}, which names no object or several",
        )

    def files(self, content: str) -> Path:
        """Return the folder with the files of the object ``content``."""
        manifest = self.get(content)
        return self._folder(manifest.kind, manifest.hash) / "files"

    def gguf_path(self, content: str) -> Path:
        """Return the GGUF file of the object ``content``."""
        manifest = self.get(content)
        if manifest.kind != "gguf":
            raise ModelUnknownError(expected="the hash of a GGUF file", found=manifest.kind)
        return self.files(content) / GGUF_FILE

    def find(self, kind: Kind, **links: str) -> Manifest | None:
        """Return the newest object of ``kind`` made from all of ``links``."""
        found = [m for m in self.list(kind) if all(m.links.get(k) == v for k, v in links.items())]
        return found[-1] if found else None

    def verify(self, content: str) -> Manifest:
        """Read the object again and compare it with its name; raise ``StateDamagedError``."""
        manifest = self.get(content)
        files = self.files(content)
        with os_errors(files):
            now = file_hash(files / GGUF_FILE) if manifest.kind == "gguf" else tree_hash(files)
        if now != manifest.hash:
            raise StateDamagedError(
                expected=f"the files of {manifest.kind} {manifest.hash}", found=f"hash {now}"
            )
        return manifest

    def serving(self, content: str) -> Serving:
        """Return the files an engine loads to serve the GGUF object ``content``, verified."""
        manifest = self.verify(content)
        path = self.gguf_path(content)
        base = manifest.links.get("base_gguf")
        if base is None:
            return Serving(content, path, content, None, manifest.chat_template_sha256)
        self.verify(base)
        template = self.get(base).chat_template_sha256
        return Serving(content, self.gguf_path(base), base, path, template)

    def attach_curve(self, content: str, rows: Sequence[Mapping[str, float]]) -> None:
        """Keep the loss curve of an object beside its files."""
        manifest = self.get(content)
        lines = (json.dumps(dict(row), sort_keys=True) + "\n" for row in rows)
        path = self._folder(manifest.kind, manifest.hash) / CURVE_FILE
        write_bytes(path, "".join(lines).encode())

    def curve(self, content: str) -> Sequence[Mapping[str, float]]:
        """Return the loss curve of an object, one row a step; empty when it has none."""
        manifest = self.get(content)
        path = self._folder(manifest.kind, manifest.hash) / CURVE_FILE
        if not path.is_file():
            return []
        with os_errors(path):
            return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]

    def keep_recipe(self, recipe: dict[str, Any]) -> str:
        """Store a recipe under its hash, so that lineage can show it; return the hash."""
        content = value_hash(recipe)
        path = self.root / "recipes" / f"{content}.json"
        if not path.is_file():
            write_json(path, recipe)
        return content

    def recipe(self, content: str) -> dict[str, Any] | None:
        """Return the recipe stored under ``content``."""
        path = self.root / "recipes" / f"{content}.json"
        value: dict[str, Any] | None = read_json(path) if path.is_file() else None
        return value

    def recipe_of(self, content: str) -> dict[str, Any] | None:
        """Return the recipe an object was trained with, following a GGUF to its adapter."""
        links = self.get(content).links
        if "recipe" in links:
            return self.recipe(links["recipe"])
        return self.recipe_of(links["adapter"]) if "adapter" in links else None
