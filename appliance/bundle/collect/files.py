"""Ansible collections, models, documents: files that lie on the build machine."""

from __future__ import annotations

import gzip
import importlib.util
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from appliance.bundle.collect.common import Collected
from appliance.bundle.collect.licences import licence_of_text
from appliance.bundle.model import Content
from appliance.bundle.recipe import Collection, File, Model
from appliance.core.durable import os_errors
from appliance.core.errors import CollectFailedError


def collections_root() -> Path:
    """Return where the installed ``ansible`` package keeps its collections."""
    spec = importlib.util.find_spec("ansible_collections")
    places = list(spec.submodule_search_locations or []) if spec is not None else []
    if not places:
        raise CollectFailedError(
            expected="the ansible package on the build machine",
            found="no ansible_collections",
            remedy="Install it on the build machine: pip install ansible.",
        )
    return Path(places[0])


def collect_collection(collection: Collection, root: Path | None = None) -> Collected:
    """Pack one installed collection; the same files give the same bytes."""
    namespace, _, name = collection.name.partition(".")
    folder = (root or collections_root()) / namespace / name
    if not (folder / "MANIFEST.json").is_file():
        raise CollectFailedError(
            expected=f"the collection {collection.name}", found=f"nothing in {folder.parent.name}"
        )
    with os_errors(folder):
        info = json.loads((folder / "MANIFEST.json").read_bytes())["collection_info"]
        data = pack(folder, f"ansible_collections/{namespace}/{name}")
    content = Content(
        path=f"collections/{namespace}-{name}.tar.gz",
        kind="collection",
        name=collection.name,
        version=str(info["version"]),
        purl=f"pkg:generic/ansible-collection/{collection.name}@{info['version']}",
        licence=" AND ".join(info.get("license") or []) or _licence(folder, info),
    )
    return Collected(content, data)


def _licence(folder: Path, info: dict[str, Any]) -> str:
    """Return the licence of the file that the collection names as its own."""
    named = folder / Path(str(info.get("license_file") or "")).name
    text = named.read_text("utf-8", "replace") if named.is_file() else ""
    return licence_of_text(text)


def pack(folder: Path, inside: str) -> bytes:
    """Return a gzip tar of ``folder`` with no times, owners or order of its own."""
    raw = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=raw, mode="wb", mtime=0, compresslevel=6) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for path in sorted(p for p in folder.rglob("*") if p.is_file() and not p.is_symlink()):
            if "__pycache__" in path.parts:
                continue
            member = tarfile.TarInfo(f"{inside}/{path.relative_to(folder).as_posix()}")
            member.size = path.stat().st_size
            member.mode = 0o755 if path.stat().st_mode & 0o100 else 0o644
            with path.open("rb") as stream:
                archive.addfile(member, stream)
    return raw.getvalue()


def _walk(path: Path) -> Iterator[tuple[str, Path]]:
    with os_errors(path):
        if path.is_dir():
            for inner in sorted(p for p in path.rglob("*") if p.is_file()):
                inside = inner.relative_to(path)
                # What compilers and editors leave in a work tree is no content.
                if not any(part == "__pycache__" or part.startswith(".") for part in inside.parts):
                    yield inside.as_posix(), inner
        else:
            path.stat()
            yield "", path


def collect_model(model: Model, root: Path) -> list[Collected]:
    """Take a model's file, or each file of its folder."""
    found = []
    for inside, path in _walk(root / model.path):
        content = Content(
            path=f"models/{model.name}/{inside or path.name}",
            kind="model",
            name=model.name,
            version=model.version,
            purl=f"pkg:generic/model/{model.name}@{model.version or '0'}",
            licence=model.licence,
        )
        found.append(Collected(content, path))
    return found


def collect_file(file: File, root: Path) -> list[Collected]:
    """Take a document, or each file of a folder."""
    found = []
    for inside, path in _walk(root / file.path):
        place = f"{file.into}/{inside}" if inside else file.into
        name = place.rsplit("/", 1)[-1]
        content = Content(path=place, kind=file.kind, name=name, licence=file.licence)
        found.append(Collected(content, path))
    return found
