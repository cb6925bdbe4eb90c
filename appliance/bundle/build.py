"""``bundle build``: collect, describe, cut, sign, and verify what was written."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from appliance.bundle.advisories import load_advisories
from appliance.bundle.collect.apt import collect_apt, one_line
from appliance.bundle.collect.common import Collected, Shell
from appliance.bundle.collect.files import collect_collection, collect_file, collect_model
from appliance.bundle.collect.images import collect_image
from appliance.bundle.collect.wheels import Where, agent_wheel, collect_wheels
from appliance.bundle.medium import FolderMedium
from appliance.bundle.model import (
    ADVISORIES,
    LICENCES,
    MANIFEST,
    SBOM,
    VERIFIER,
    Base,
    Content,
    Entry,
    Manifest,
    entry_of,
)
from appliance.bundle.recipe import File, Image, Recipe
from appliance.bundle.sbom import licence_list, sbom
from appliance.bundle.trust import Anchor, grouped, load_trusted
from appliance.bundle.tufapi import Metadata, Targets
from appliance.bundle.verify import verify
from appliance.bundle.writer import Item, Repository, Signers
from appliance.core.canonical import canonical_json, sha256_hex
from appliance.core.clock import Clock
from appliance.core.durable import os_errors
from appliance.core.errors import BundleFormatError, BundleRecipeError
from appliance.core.progress import Progress
from appliance.core.settings.bundle import BundleSettings

STANDALONE = Path(__file__).parent / "standalone" / VERIFIER


@dataclass(frozen=True)
class Plan:
    """What to build from and where to."""

    recipe: Recipe
    inputs: Path
    work: Path
    out: Path
    sequence: int
    base: Path | None = None
    snapshot: bool = False
    images: Path | None = None
    cache: Path | None = None
    advisories: Path | None = None


def collect(plan: Plan, shell: Shell, progress: Progress) -> list[Collected]:
    """Collect everything the recipe names."""
    recipe, found = plan.recipe, list[Collected]()
    plan.work.mkdir(parents=True, exist_ok=True)
    if recipe.apt is not None:
        progress.update(len(found), note="Debian packages and their closure")
        found += collect_apt(recipe.apt, recipe.machine, plan.work, shell, snapshot=plan.snapshot)
    if recipe.wheels is not None:
        progress.update(len(found), note="wheels")
        found += collect_wheels(recipe.wheels, _where(plan), shell)
    if recipe.agent:
        found.append(agent_wheel(plan.inputs, plan.work, shell))
    progress.update(len(found), note="images, collections, models, files")
    found += [collect_image(i, p) for i, p in image_archives(plan)]
    found += [collect_collection(c) for c in recipe.collections]
    for model in recipe.models:
        found += collect_model(model, plan.inputs)
    for file in (*recipe.files, *_advisories(plan)):
        found += collect_file(file, plan.inputs)
    return found


def _advisories(plan: Plan) -> list[File]:
    """Return the OSV file to carry; one that cannot be read stops the build, not the hospital."""
    if plan.advisories is None:
        return []
    with os_errors(plan.advisories):
        load_advisories(plan.advisories.read_bytes())
    path = str(plan.advisories.absolute())
    return [File(path=path, into=ADVISORIES, kind="advisories", licence="NOASSERTION")]


def _where(plan: Plan) -> Where:
    """Return what a compiler for the target comes from: the first suite of the recipe."""
    cache = plan.cache or plan.work / "images"
    sources = plan.recipe.apt.sources if plan.recipe.apt is not None else ()
    lines = tuple(line for source in sources for line in one_line(source))
    suite = sources[0].suites[0] if sources else None
    return Where(plan.inputs, plan.work, cache, suite, lines)


def image_archives(plan: Plan) -> list[tuple[Image, Path]]:
    """Return the images to take with their archives; those without a place are left out."""
    found: list[tuple[Image, Path]] = []
    for image in plan.recipe.images:
        if image.path:
            found.append((image, plan.inputs / image.path))
        elif plan.images is not None:
            found.append((image, plan.images / f"{image.name}.oci.tar"))
    return found


_WHEELS = {"torch": "torch", "unsloth": "unsloth", "llama-cpp-python": "llama_cpp"}
_KERNEL = re.compile(r"linux-image-(\d+\.\d+[\d.]*)-")
_DRIVER = re.compile(r"nvidia-utils-\d+")


def check_tuple(recipe: Recipe, contents: Iterable[Content]) -> None:
    """Refuse a recipe whose compatibility tuple is not what was collected, in images too."""
    stated = recipe.compatibility
    for content in contents:
        name = content.name.lower().replace("_", "-")
        if content.kind == "wheel" and name in _WHEELS:
            _agree(name, getattr(stated, _WHEELS[name]), content.version.partition("+")[0])
        elif content.kind == "package":
            plain = content.version.rpartition(":")[2].partition("-")[0]
            kernel = _KERNEL.match(name)
            if kernel is not None:
                _agree("kernel", stated.kernel, kernel[1])
            elif _DRIVER.match(name):
                _agree("driver", stated.driver, plain)
            elif name == "nvidia-container-toolkit":
                _agree("container toolkit", stated.container_toolkit, plain)


def _agree(name: str, stated: str, found: str) -> None:
    if stated and found != stated and not found.startswith(f"{stated}."):
        raise BundleRecipeError(
            expected=f"{name} {stated}, as the compatibility tuple says", found=f"{name} {found}"
        )


def base_entries(base: Path) -> tuple[str, Manifest, list[Entry]]:
    """Return id, manifest and files of the earlier bundle a difference is made against."""
    with os_errors(base):
        listed = sorted(
            (base / "metadata").glob("*.targets.json"), key=lambda p: int(p.name.split(".")[0])
        )
        if not listed:
            raise BundleFormatError(expected=f"a bundle at {base}", found="no targets metadata")
        data = listed[-1].read_bytes()
        targets = Metadata[Targets].from_bytes(data).signed.targets
        entries = [
            entry_of(p, t.length, t.hashes["sha256"], dict(t.custom or {}))
            for p, t in sorted(targets.items())
        ]
        manifest = next(e for e in entries if e.path == MANIFEST)
        text = (base / manifest.chunks[0].path).read_bytes()
    return sha256_hex(data), Manifest.model_validate_json(text), entries


def build(
    plan: Plan,
    signers: Signers,
    limits: BundleSettings,
    tools: tuple[Shell, Clock, Progress],
) -> dict[str, Any]:
    """Build the bundle at ``plan.out`` and return what it is; ends with a full verify."""
    shell, clock, progress = tools
    collected = collect(plan, shell, progress)
    check_tuple(plan.recipe, [p for c in collected for p in (c.content, *c.inside)])
    return write(plan, collected, signers, limits, (clock, progress))


def write(
    plan: Plan,
    collected: Sequence[Collected],
    signers: Signers,
    limits: BundleSettings,
    tools: tuple[Clock, Progress],
) -> dict[str, Any]:
    """Write, sign and verify what was collected."""
    clock, progress = tools
    base, known = _base(plan)
    with os_errors(plan.out):
        plan.out.mkdir(parents=True, exist_ok=True)
    repository = Repository(plan.out, limits, known)
    hashes: list[tuple[Content, str]] = []
    for number, item in enumerate(sorted(collected, key=lambda c: c.content.path)):
        small = limits.image_chunk_bytes if item.content.kind == "image" else None
        entry = repository.add(Item(item.content.path, item.source, chunk_bytes=small))
        hashes.append((item.content, entry.sha256))
        progress.update(number + 1, len(collected), item.content.path)
    inside = _licensed([p for c in collected for p in c.inside], [c for c, _ in hashes])
    manifest = _manifest(plan, base, ([c for c, _ in hashes], inside), clock)
    _records(repository, manifest, hashes)
    identity = repository.sign(plan.sequence, signers, clock.now())
    trusted = load_trusted(FolderMedium(plan.out), Anchor(signers.roots[0]), clock.now(), limits)
    report = verify(FolderMedium(plan.out), trusted, limits, progress)
    verifier = sha256_hex(STANDALONE.read_bytes())
    return {
        "ok": report.ok,
        "bundle": identity,
        "version": manifest.version,
        "sequence": manifest.sequence,
        "files": len(repository.entries),
        "bytes": sum(e.length for e in repository.entries),
        "bytes_on_medium": report.bytes,
        "bytes_written": repository.written,
        "bytes_reused": repository.reused,
        "bytes_in_base": repository.left_out,
        "images": [c.name for c, _ in hashes if c.kind == "image"],
        "base": base.id if base else None,
        "paper": {
            "root_fingerprint": grouped(trusted.anchor_fingerprint),
            "verifier_sha256": grouped(verifier),
        },
        "faults": [vars(f) for f in report.faults],
        "unlisted": report.strangers,
    }


def _base(plan: Plan) -> tuple[Base | None, frozenset[str]]:
    """Return the bundle a difference is made against, and the blocks that are there already."""
    if plan.base is None:
        return None, frozenset()
    identity, manifest, entries = base_entries(plan.base)
    if plan.sequence <= manifest.sequence:
        raise BundleRecipeError(
            expected=f"a sequence above the base's {manifest.sequence}", found=str(plan.sequence)
        )
    known = frozenset(c.sha256 for e in entries for c in e.chunks)
    return Base(id=identity, version=manifest.version), known


def _licensed(inside: list[Content], contents: list[Content]) -> list[Content]:
    """Give parts of images the licence that the same part of the bundle states."""
    known = {(c.kind, c.name.lower(), c.version): c.licence for c in contents}
    return [
        p.model_copy(update={"licence": known.get((p.kind, p.name.lower(), p.version), p.licence)})
        for p in inside
    ]


def _manifest(
    plan: Plan, base: Base | None, parts: tuple[list[Content], list[Content]], clock: Clock
) -> Manifest:
    extra = [
        Content(path=SBOM, kind="record", name="CycloneDX SBOM"),
        Content(path=LICENCES, kind="record", name="licence list"),
        Content(path=VERIFIER, kind="verifier", name="standalone verifier", licence="Apache-2.0"),
    ]
    return Manifest(
        name=plan.recipe.name,
        version=plan.recipe.version,
        sequence=plan.sequence,
        created=clock.now().replace(microsecond=0).isoformat(),
        machine=plan.recipe.machine,
        compatibility=plan.recipe.compatibility,
        lifecycle=plan.recipe.lifecycle,
        base=base,
        contents=(*parts[0], *extra),
        inside=tuple(parts[1]),
    )


def _records(
    repository: Repository, manifest: Manifest, hashes: Sequence[tuple[Content, str]]
) -> None:
    document = sbom(manifest, hashes, manifest.created)
    licences = licence_list([*(c for c, _ in hashes), *manifest.inside])
    made = {
        MANIFEST: canonical_json(manifest.model_dump(mode="json")),
        SBOM: canonical_json(document),
        LICENCES: json.dumps(licences, ensure_ascii=False, indent=1, sort_keys=True).encode(),
    }
    for path, data in made.items():
        repository.add(Item(path, data))
    repository.add(Item(VERIFIER, STANDALONE.read_bytes(), plain=True))
