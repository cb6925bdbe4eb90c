"""The evidence zip: the members of :mod:`~appliance.audit.evidence`, the verifier, the guides."""

from __future__ import annotations

import hashlib
import os
import secrets
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from appliance.audit.evidence import Evidence, Member
from appliance.audit.evidence_readme import ENGLISH, PORTUGUESE
from appliance.audit.standalone.assemble import assemble
from appliance.core.durable import TEMP_PREFIX, fsync_dir, os_errors

# One time for every member: the same evidence is the same bytes.
_TIME: Final = (2000, 1, 1, 0, 0, 0)
_MODE: Final = 0o100644 << 16


def members_of(evidence: Evidence) -> list[Member]:
    """Return everything the zip holds, guides first."""
    return [
        ("LEIA-ME.md", PORTUGUESE.encode()),
        ("README.md", ENGLISH.encode()),
        ("verify.py", assemble("verify")),
        *evidence.members,
    ]


def write_zip(path: Path, members: Sequence[Member]) -> str:
    """Write the zip, whole or not at all; return its SHA-256."""
    temp = path.with_name(f"{TEMP_PREFIX}{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    with os_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temp.open("xb") as stream:
                with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
                    for name, data in members:
                        info = zipfile.ZipInfo(name, _TIME)
                        info.external_attr = _MODE
                        archive.writestr(info, data, zipfile.ZIP_DEFLATED)
                stream.flush()
                os.fsync(stream.fileno())
            with temp.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
            temp.replace(path)
            fsync_dir(path.parent)
        finally:
            temp.unlink(missing_ok=True)
    return digest
