"""Signing keys sealed to this machine's TPM 2: the file alone is of no use elsewhere.

No TPM in the field signs Ed25519, so the TPM seals the 32-byte seed (an object under the owner
hierarchy's primary key, and under the boot state when ``audit.tpm2_pcrs`` names registers); the
seed is in memory while the writer runs. A copied disk does not open; a taken-over root does.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from appliance.audit.layout import KEYS
from appliance.audit.note import SeedSigner, Signer, Verifier, b64decode, b64encode
from appliance.core.canonical import sha256_hex, value_hash
from appliance.core.durable import os_errors, write_json
from appliance.core.errors import (
    AuditKeyError,
    AuditNoteInvalidError,
    ToolFailedError,
    ToolMissingError,
)
from appliance.core.settings.audit import AuditSettings

TOOL_TIMEOUT_S = 60  # a firmware TPM takes some seconds for a primary key
SEED_BYTES = 32


@dataclass(frozen=True)
class Sealed:
    """What the TPM gives back: two blobs that only it can turn into the secret."""

    public: bytes
    private: bytes


class Tpm(Protocol):
    """A TPM 2 that seals small secrets."""

    def seal(self, secret: bytes) -> Sealed:
        """Return the sealed form of ``secret``."""
        ...

    def unseal(self, sealed: Sealed) -> bytes:
        """Return the secret; raises :class:`AuditKeyError` on another machine or boot state."""
        ...


class ToolTpm:
    """The TPM through tpm2-tools; secrets pass through pipes, never through files."""

    def __init__(self, folder: Path, tcti: str, pcrs: str) -> None:
        """Use ``folder`` for the tools' context files; ``pcrs`` is like ``sha256:7`` or empty."""
        self._folder = folder
        self._pcrs = pcrs
        self._environment = {**os.environ, **({"TPM2TOOLS_TCTI": tcti} if tcti else {})}

    def seal(self, secret: bytes) -> Sealed:
        """Seal ``secret`` under the primary key (and the boot state)."""
        with tempfile.TemporaryDirectory(dir=self._folder, prefix=".tmp-") as name:
            work = Path(name)
            self._primary(work)
            limits = self._boot_state(work)
            self._tool(
                "tpm2_create",
                *("-Q", "-C", "primary", "-i", "-", "-u", "public", "-r", "private"),
                *limits,
                work=work,
                given=secret,
            )
            return Sealed((work / "public").read_bytes(), (work / "private").read_bytes())

    def unseal(self, sealed: Sealed) -> bytes:
        """Open a sealed secret."""
        with tempfile.TemporaryDirectory(dir=self._folder, prefix=".tmp-") as name:
            work = Path(name)
            (work / "public").write_bytes(sealed.public)
            (work / "private").write_bytes(sealed.private)
            self._primary(work)
            load = ("-Q", "-C", "primary", "-u", "public", "-r", "private", "-c", "object")
            self._tool("tpm2_load", *load, work=work)
            self._tool("tpm2_flushcontext", "-t", work=work)
            proof = ["-p", f"pcr:{self._pcrs}"] if self._pcrs else []
            return self._tool("tpm2_unseal", "-c", "object", *proof, work=work)

    def _primary(self, work: Path) -> None:
        self._tool("tpm2_createprimary", "-Q", "-C", "o", "-c", "primary", work=work)
        self._tool("tpm2_flushcontext", "-t", work=work)

    def _boot_state(self, work: Path) -> list[str]:
        """Return the options that tie an object to today's boot state, if that is asked for."""
        if not self._pcrs:
            return []
        policy = ("-Q", "--policy-pcr", "-l", self._pcrs, "-L", "policy")
        self._tool("tpm2_createpolicy", *policy, work=work)
        return ["-L", "policy"]

    def _tool(self, *command: str, work: Path, given: bytes = b"") -> bytes:
        try:
            done = subprocess.run(
                command,
                input=given,
                capture_output=True,
                cwd=work,
                env=self._environment,
                timeout=TOOL_TIMEOUT_S,
                check=True,
            )
        except FileNotFoundError as error:
            raise ToolMissingError(
                expected="tpm2-tools (Debian package tpm2-tools)", found=f"no {command[0]}"
            ) from error
        except subprocess.TimeoutExpired as error:
            raise ToolFailedError(
                expected=f"{command[0]} within {TOOL_TIMEOUT_S} s", found="no end"
            ) from error
        except subprocess.CalledProcessError as error:
            raise AuditKeyError(
                expected=f"a TPM that accepts {command[0]}",
                found=f"exit code {error.returncode}",
                remedy="Is this the machine and boot state the key was sealed on?",
            ) from error
        return done.stdout


class TpmKeys:
    """Sealed keys, one file a shard; the file says which public key it must open to."""

    def __init__(self, audit: Path, settings: AuditSettings, tpm: Tpm | None = None) -> None:
        self._folder = audit / KEYS
        with os_errors(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._tpm = tpm or ToolTpm(self._folder, settings.tpm2_tcti, settings.tpm2_pcrs)

    def _path(self, name: str) -> Path:
        return self._folder / f"{name.rsplit('/', 1)[-1]}.tpm2"

    def create(self, name: str) -> Signer:
        """Make a key and seal it; prove that it opens before it is used."""
        path = self._path(name)
        if path.exists():
            raise AuditKeyError(expected="no key of that name yet", found=path.name)
        signer = SeedSigner.generate()
        sealed = self._tpm.seal(signer.seed)
        value = {
            "vkey": Verifier(name, signer.public_key).vkey,
            "public": b64encode(sealed.public),
            "private": b64encode(sealed.private),
        }
        write_json(path, {**value, "sha256": value_hash(value)}, mode=0o600)
        return self.load(name)

    def load(self, name: str) -> Signer:
        """Unseal the key called ``name``."""
        verifier, sealed = read_sealed(self._path(name))
        seed = self._tpm.unseal(sealed)
        if len(seed) != SEED_BYTES:
            raise AuditKeyError(expected=f"a seed of {SEED_BYTES} bytes", found=f"{len(seed)}")
        signer = SeedSigner(seed)
        if verifier.name != name or signer.public_key != verifier.public_key:
            raise AuditKeyError(expected=f"the key of {name}", found="another key")
        return signer

    def destroy(self, name: str) -> None:
        """Remove the sealed file: without it the TPM has nothing to open."""
        with os_errors(self._folder):
            self._path(name).unlink(missing_ok=True)


def read_sealed(path: Path) -> tuple[Verifier, Sealed]:
    """Read a sealed key file and check that it is whole; raises :class:`AuditKeyError`."""
    with os_errors(path):
        data = path.read_bytes()
    try:
        value = json.loads(data)
        said = value.pop("sha256")
        sealed = Sealed(b64decode(value["public"]), b64decode(value["private"]))
        verifier = Verifier.parse(value["vkey"])
        whole = said == value_hash(value) and data.count(b"\n") == 1
    except (AuditNoteInvalidError, ValueError, KeyError, TypeError, AttributeError) as error:
        found = f"{type(error).__name__} in {sha256_hex(data)[:8]}"
        raise AuditKeyError(expected="a sealed key file", found=found) from error
    if not whole:
        raise AuditKeyError(expected="a sealed key file as it was written", found="changed bytes")
    return verifier, sealed
