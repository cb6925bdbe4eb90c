"""What licence a package or wheel states, in fields or in words; NOASSERTION where it does not."""

from __future__ import annotations

import contextlib
import posixpath
import re
import subprocess
import tarfile
import zipfile
from collections.abc import Sequence
from email.parser import Parser
from pathlib import Path

from appliance.bundle.collect.licence_texts import licences_of
from appliance.core.canonical import sha256_hex
from appliance.core.durable import read_json, write_json

NONE = "NOASSERTION"
MAX_COPYRIGHT = 4 << 20
MAX_LINKS = 3
RULES = 2  # of this module: an answer of earlier rules that found nothing is asked again
_DOC = re.compile(r"usr/share/doc/([a-z0-9][a-z0-9+.-]+)(?:/copyright)?$")
_LICENCE_FILE = re.compile(
    r"\.dist-info/(?:licenses/.*|[^/]*(?:LICEN[CS]E|COPYING)[^/]*)$", re.IGNORECASE
)
_SPDX = re.compile(r"[A-Za-z0-9.+-]+")


def deb_licence(path: Path, name: str) -> str:
    """Return the licences of a package, from its copyright file.

    A machine-readable file names them; of another one the licences' own words are looked for. Where
    nothing is found the answer names the file by its hash, for whoever reads it. The answer is kept
    beside the package: unpacking every package again takes minutes.
    """
    note = path.with_name(f"{path.name}.licence.json")
    if note.is_file() and note.stat().st_mtime_ns >= path.stat().st_mtime_ns:
        kept = read_json(note)
        if kept.get("rules") == RULES or not kept["licence"].startswith(NONE):
            return str(kept["licence"])
    found = licences_in(_copyright(path, name))
    write_json(note, {"licence": found, "rules": RULES})
    return found


def _copyright(path: Path, name: str, depth: int = 0) -> str:
    """Return a package's copyright file; its folder may be a link to that of another package."""
    folder = f"usr/share/doc/{name}"
    text, link = b"", ""
    with subprocess.Popen(
        ["dpkg-deb", "--fsys-tarfile", str(path)],  # noqa: S607 - from PATH, checked by the caller
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdout is not None
        with (
            contextlib.suppress(tarfile.TarError),
            tarfile.open(fileobj=process.stdout, mode="r|") as archive,
        ):
            for member in archive:
                place = member.name.removeprefix("./")
                if place in {folder, f"{folder}/copyright"} and member.issym():
                    link = posixpath.normpath(f"{posixpath.dirname(place)}/{member.linkname}")
                elif place == f"{folder}/copyright" and member.isfile():
                    stream = archive.extractfile(member)
                    text = stream.read(MAX_COPYRIGHT) if stream is not None else b""
                    break
        process.stdout.close()
        process.terminate()
    other = _DOC.match(link)
    if not text and other is not None and depth < MAX_LINKS:
        neighbour = _neighbour(path, other[1])
        return _copyright(neighbour, other[1], depth + 1) if neighbour else ""
    return text.decode("utf-8", "replace")


def _neighbour(path: Path, name: str) -> Path | None:
    """Return the package ``name`` beside ``path``: of the same version, else the newest file."""
    version = path.name.split("_")[1]
    found = sorted(path.parent.glob(f"{name}_*.deb"), key=lambda p: p.stat().st_mtime_ns)
    same = [p for p in found if p.name.split("_")[1] == version]
    chosen = same or found
    return chosen[-1] if chosen else None


def licences_in(copyright_file: str) -> str:
    """Return the licences of a copyright file, joined by AND.

    Of a DEP-5 file the distinct ``License:`` short names; of another one those whose words it has.
    """
    names: set[str] = set()
    for line in copyright_file.splitlines():
        if line.startswith("License:"):
            name = line.partition(":")[2].strip().replace(" ", "-")
            if _SPDX.fullmatch(name):
                names.add(name)
    return _said(sorted(names) or licences_of(copyright_file), copyright_file)


def licence_of_text(text: str) -> str:
    """Return the licence that the words of a licence file are, or name the file by its hash."""
    return _said(licences_of(text), text)


def _said(names: Sequence[str], text: str) -> str:
    if names:
        return " AND ".join(names)
    if not text.strip():
        return f"{NONE} (no copyright file)"
    return f"{NONE} (copyright file sha256:{sha256_hex(text.encode())})"


def wheel_metadata(path: Path) -> tuple[str, str, str]:
    """Return name, version and licence of a wheel.

    The licence in this order: ``License-Expression``, a short ``License``, the classifiers, the
    words of the licence files it carries.
    """
    with zipfile.ZipFile(path) as archive:
        names = [n for n in archive.namelist() if n.endswith(".dist-info/METADATA")]
        names = [n for n in names if n.count("/") == 1]
        data = archive.read(names[0]) if names else b""
        files = [n for n in archive.namelist() if _LICENCE_FILE.search(n)]
        texts = [archive.read(n)[:MAX_COPYRIGHT].decode("utf-8", "replace") for n in sorted(files)]
    parsed = Parser().parsestr(data.decode("utf-8", "replace"))
    licence = parsed.get("License-Expression") or ""
    if not licence:
        words = [c.split(" :: ")[-1] for c in parsed.get_all("Classifier") or [] if "License" in c]
        short = (parsed.get("License") or "").strip()
        brief = short if short and "\n" not in short and len(short) <= 60 else ""  # noqa: PLR2004 - longer is the text, not the name
        licence = brief or " AND ".join(sorted(set(words)))
    whole = "\n".join([*texts, parsed.get("License") or ""])
    licence = licence or licence_of_text(whole)
    return parsed.get("Name") or path.name, parsed.get("Version") or "", licence
