#!/usr/bin/python3
"""Make a package index over a folder of proven .deb files, and prove each against the signed list.

    make_index.py DEBS TARGETS_JSON INDEX [--check]

TARGETS_JSON is the TUF metadata that the bundle's signature leads to; the agent verified it. A
package it does not name, or with other bytes, is refused. Prints ``changed`` or ``same``; with
--check it writes nothing. Exit code 1: a package is not what was signed.
"""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path

MEMBER = 60  # bytes of the head of a member of an ar archive


def hash_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    value = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            value.update(block)
    return value.hexdigest()


def control_of(path: Path) -> str:
    """Return a proven package's own description (deb(5): ar(5) with control.tar in it).

    dpkg-deb would do, as a process for each of hundreds of packages; it does the rest (zstd).
    """
    with path.open("rb") as stream:
        stream.seek(8)
        while len(head := stream.read(MEMBER)) == MEMBER:
            name, size = head[:16].decode("ascii").strip().rstrip("/"), int(head[48:58])
            if name in {"control.tar.xz", "control.tar.gz", "control.tar"}:
                with tarfile.open(fileobj=io.BytesIO(stream.read(size))) as archive:
                    member = archive.extractfile("./control")
                    if member is not None:
                        return member.read().decode("utf-8").strip()
            if name.startswith("control.tar"):
                break
            stream.seek(size + size % 2, io.SEEK_CUR)
    command = ["/usr/bin/dpkg-deb", "--field", str(path)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def stanza(path: Path, digest: str) -> str:
    """Return the index entry of one package."""
    control = control_of(path)
    return f"{control}\nFilename: ./{path.name}\nSize: {path.stat().st_size}\nSHA256: {digest}\n"


def index_of(debs: Path, targets: Path) -> str:
    """Return the index, or end with what is wrong."""
    found = sorted(debs.glob("*.deb"))
    if not found:
        return ""  # a bundle without packages: whatever a role asks for must be installed already
    named = json.loads(targets.read_text(encoding="utf-8"))["signed"]["targets"]
    signed = {k.rpartition("/")[2]: v["hashes"]["sha256"] for k, v in named.items()}
    parts = []
    for path in found:
        digest = hash_of(path)
        if signed.get(path.name) != digest:
            sys.exit(f"expected {path.name} as the signed list names it, found other bytes")
        parts.append(stanza(path, digest))
    return "\n".join(parts)


def main() -> int:
    """Run."""
    debs, targets, index = (Path(a) for a in sys.argv[1:4])
    wanted = index_of(debs, targets)
    packages = index / "Packages"
    link_names = {p.name for p in index.glob("*.deb")}
    deb_names = {p.name for p in debs.glob("*.deb")}
    text = packages.read_text(encoding="utf-8") if packages.is_file() else None
    if text == wanted and link_names == deb_names:
        sys.stdout.write("same\n")
        return 0
    if "--check" not in sys.argv:
        index.mkdir(parents=True, exist_ok=True, mode=0o755)
        for old in index.glob("*.deb"):
            old.unlink()
        for deb in sorted(debs.glob("*.deb")):
            (index / deb.name).symlink_to(deb)
        new = index / ".Packages.new"
        new.write_text(wanted, encoding="utf-8")
        new.replace(packages)
    sys.stdout.write("changed\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
