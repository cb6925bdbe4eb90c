"""What licence a package or wheel states; NOASSERTION where it states none."""

from __future__ import annotations

import contextlib
import re
import subprocess
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

from appliance.core.durable import read_json, write_json

NONE = "NOASSERTION"
MAX_COPYRIGHT = 4 << 20
_SPDX = re.compile(r"[A-Za-z0-9.+-]+")


def deb_licence(path: Path, name: str) -> str:
    """Return the licence names of a package's machine-readable copyright file.

    The answer is kept beside the package: unpacking every package again takes minutes.
    """
    note = path.with_name(f"{path.name}.licence.json")
    if note.is_file() and note.stat().st_mtime_ns >= path.stat().st_mtime_ns:
        return str(read_json(note)["licence"])
    found = licences_in(_copyright(path, name))
    write_json(note, {"licence": found})
    return found


def _copyright(path: Path, name: str) -> str:
    wanted = {f"./usr/share/doc/{name}/copyright", f"usr/share/doc/{name}/copyright"}
    with subprocess.Popen(
        ["dpkg-deb", "--fsys-tarfile", str(path)],  # noqa: S607 - from PATH, checked by the caller
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        text = b""
        assert process.stdout is not None
        with (
            contextlib.suppress(tarfile.TarError),
            tarfile.open(fileobj=process.stdout, mode="r|") as archive,
        ):
            for member in archive:
                if member.name in wanted and member.isfile():
                    stream = archive.extractfile(member)
                    text = stream.read(MAX_COPYRIGHT) if stream is not None else b""
                    break
        process.stdout.close()
        process.terminate()
    return text.decode("utf-8", "replace")


def licences_in(copyright_file: str) -> str:
    """Return the distinct ``License:`` short names of a DEP-5 file, joined by AND."""
    names: list[str] = []
    for line in copyright_file.splitlines():
        if line.startswith("License:"):
            name = line.partition(":")[2].strip().replace(" ", "-")
            if name and _SPDX.fullmatch(name) and name not in names:
                names.append(name)
    return " AND ".join(sorted(names)) or NONE


def wheel_metadata(path: Path) -> tuple[str, str, str]:
    """Return name, version and licence of a wheel."""
    with zipfile.ZipFile(path) as archive:
        names = [n for n in archive.namelist() if n.endswith(".dist-info/METADATA")]
        names = [n for n in names if n.count("/") == 1]
        data = archive.read(names[0]) if names else b""
    parsed = Parser().parsestr(data.decode("utf-8", "replace"))
    licence = parsed.get("License-Expression") or ""
    if not licence:
        words = [c.split(" :: ")[-1] for c in parsed.get_all("Classifier") or [] if "License" in c]
        short = (parsed.get("License") or "").strip()
        brief = short if short and "\n" not in short and len(short) <= 60 else ""  # noqa: PLR2004 - longer is the text, not the name
        licence = brief or " AND ".join(sorted(set(words)))
    return parsed.get("Name") or path.name, parsed.get("Version") or "", licence or NONE
