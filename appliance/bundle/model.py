"""What a bundle says about itself: ``bundle.json`` and the files its targets metadata lists."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from appliance.bundle.paths import collisions, safe_path
from appliance.core.errors import BundleFormatError

MANIFEST = "bundle.json"
SBOM = "sbom.cdx.json"
LICENCES = "licences.json"
VERIFIER = "verify_bundle.py"
ADVISORIES = "advisories.json"
FORMAT = 1
_HEX64 = re.compile(r"[0-9a-f]{64}")

Kind = Literal[
    "package",
    "wheel",
    "image",
    "collection",
    "model",
    "agent",
    "document",
    "advisories",
    "record",
    "verifier",
    "file",
]


class Strict(BaseModel):
    """A part of the manifest: unknown keys are refused, values are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Content(Strict):
    """One file of the bundle, for people and for the SBOM."""

    path: str
    kind: Kind
    name: str
    version: str = ""
    purl: str = ""
    licence: str = "NOASSERTION"
    # NAME@VERSION of the source package: what Debian's and Ubuntu's advisories speak of.
    source: str = ""


class Machine(Strict):
    """The machine a bundle is made for."""

    distribution: str
    release: str
    architecture: str = "amd64"
    python: str = ""


class Compatibility(Strict):
    """The one tuple that was tested together; an empty field is not used by this bundle."""

    kernel: str = ""
    driver: str = ""
    cuda: str = ""
    container_toolkit: str = ""
    torch: str = ""
    unsloth: str = ""
    llama_cpp: str = ""


class Step(Strict):
    """One step of activation, run in the staged version after every byte is proven.

    ``unpack``: ``archive`` into ``into``. ``venv``: a virtual environment at ``into`` with
    ``packages`` from the wheels of the bundle, no index. ``images``: every image of the bundle,
    proven and given to Docker by the agent installed in ``into``. ``command``: ``argv``, where
    ``{version}`` and ``{home}`` stand for the folders.
    """

    kind: Literal["unpack", "venv", "images", "command"]
    archive: str = ""
    into: str = ""
    packages: tuple[str, ...] = ()
    argv: tuple[str, ...] = ()


class Restart(Strict):
    """Units of the machine that run the version's code: restarted where they run.

    Without systemd the step is skipped, and the receipt says so.
    """

    kind: Literal["restart"]
    units: tuple[Annotated[str, Field(pattern=r"^appliance-[a-z-]+\.service$")], ...]


class Lifecycle(Strict):
    """What install runs, in this order: activate, copy ``state``, migrate, switch, health, after.

    ``unmigrate`` is the way back of ``migrate``, for a rollback days later. ``after`` follows once
    the version is in use and was judged healthy; it takes nothing back.
    """

    activate: tuple[Step, ...] = ()
    state: tuple[str, ...] = ()
    migrate: tuple[tuple[str, ...], ...] = ()
    unmigrate: tuple[tuple[str, ...], ...] = ()
    health: tuple[tuple[str, ...], ...] = ()
    after: tuple[Restart, ...] = ()


class Base(Strict):
    """The earlier bundle a difference bundle completes."""

    id: str
    version: str


class Manifest(Strict):
    """``bundle.json``: itself a signed target, read only after its bytes are proven."""

    format: Literal[1] = 1
    name: str
    version: str = Field(pattern=r"^[0-9A-Za-z][0-9A-Za-z.+_-]{0,40}$")
    sequence: int = Field(ge=1)
    created: str
    machine: Machine
    compatibility: Compatibility = Compatibility()
    lifecycle: Lifecycle = Lifecycle()
    base: Base | None = None
    contents: tuple[Content, ...] = ()
    # Packages and wheels inside images; ``path`` is the image archive they are in.
    inside: tuple[Content, ...] = ()


def parse_manifest(data: bytes) -> Manifest:
    """Read ``bundle.json``; raise :class:`BundleFormatError` naming the first wrong key."""
    try:
        return Manifest.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise BundleFormatError(
            expected="a bundle.json of format 1",
            found=f"{'.'.join(str(p) for p in first['loc'])}: {first['msg']}",
        ) from error


@dataclass(frozen=True)
class Chunk:
    """A run of bytes of a file: on the medium one file named by its hash."""

    sha256: str
    length: int
    offset: int
    absent: bool = False

    @property
    def path(self) -> str:
        """Where the medium holds it."""
        return f"chunks/{self.sha256[:2]}/{self.sha256}"


@dataclass(frozen=True)
class Entry:
    """A signed file of the bundle and the chunks it is made of.

    A *plain* entry is stored under its own name, so that people can run it before an agent is
    there (the standalone verifier).
    """

    path: str
    length: int
    sha256: str
    chunks: tuple[Chunk, ...] = field(repr=False)
    plain: bool = False

    def chunk_path(self, chunk: Chunk) -> str:
        """Return where the medium holds ``chunk`` of this file."""
        return self.path if self.plain else chunk.path


def custom_of(entry: Entry) -> dict[str, Any]:
    """Return the signed ``custom`` object of ``entry``; small files need none."""
    custom: dict[str, Any] = {}
    if len(entry.chunks) > 1:
        size = entry.chunks[0].length  # all but the last have it
        custom = {"chunk_bytes": size, "chunks": [c.sha256 for c in entry.chunks]}
    absent = [i for i, c in enumerate(entry.chunks) if c.absent]
    if absent:
        custom["absent"] = absent
    if entry.plain:
        custom["plain"] = True
    return custom


def entry_of(path: str, length: int, sha256: str, custom: dict[str, Any]) -> Entry:
    """Rebuild an entry from signed metadata; everything is checked, nothing assumed."""
    safe_path(path)
    size = custom.get("chunk_bytes", max(length, 1))
    hashes = custom.get("chunks", [sha256])
    absent = custom.get("absent", [])
    good = (
        isinstance(size, int)
        and size > 0
        and isinstance(hashes, list)
        and isinstance(absent, list)
        and set(custom) <= {"chunk_bytes", "chunks", "absent", "plain"}
        and all(isinstance(h, str) and _HEX64.fullmatch(h) for h in [sha256, *hashes])
        and len(hashes) == max(1, -(-length // size))
        and all(isinstance(i, int) and 0 <= i < len(hashes) for i in absent)
    )
    if not good:
        raise BundleFormatError(
            expected="chunk hashes that cover the whole file", found=f"wrong chunk list of {path}"
        )
    chunks = tuple(
        Chunk(h, min(size, length - i * size), i * size, i in set(absent))
        for i, h in enumerate(hashes)
    )
    return Entry(path, length, sha256, chunks, plain=custom.get("plain") is True)


def check_entries(entries: list[Entry]) -> None:
    """Refuse paths that fall together and plain files that would hide the bundle's own."""
    clash = collisions([e.path for e in entries])
    if clash:
        raise BundleFormatError(expected="paths that differ", found=f"collision at {clash[0]}")
    for entry in entries:
        top = entry.path.split("/")[0].lower()
        if entry.plain and (top in {"metadata", "chunks"} or len(entry.chunks) != 1):
            raise BundleFormatError(
                expected="plain files of one chunk beside metadata/ and chunks/", found=entry.path
            )
