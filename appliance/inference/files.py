"""Which files are to be loaded, and the proof that they are the registered ones."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from appliance.core.canonical import file_hash
from appliance.core.durable import os_errors
from appliance.core.errors import ModelHashMismatchError
from appliance.core.settings.inference import InferenceSettings
from appliance.core.settings.registry import RegistrySettings
from appliance.registry.gguf import read_header

GGUF_MAGIC = b"GGUF"
MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A base GGUF and perhaps a LoRA GGUF, with the SHA-256 the registry holds of each."""

    base: Path
    base_hash: str
    adapter: Path | None = None
    adapter_hash: str | None = None

    @classmethod
    def of(cls, base: Path, adapter: Path | None = None) -> ModelFiles:
        """Return the files with the hashes they have now (for files just made here)."""
        with os_errors(base):
            base_hash = file_hash(base)
        if adapter is None:
            return cls(base, base_hash)
        with os_errors(adapter):
            return cls(base, base_hash, adapter, file_hash(adapter))

    def verify(self) -> None:
        """Refuse files that are not the registered ones.

        llama.cpp's loader has had overflows on crafted files (CVE-2025-53630, CVE-2026-27940):
        nothing reaches it that was not registered.
        """
        _check(self.base, self.base_hash)
        if self.adapter is not None:
            _check(self.adapter, self.adapter_hash or "")

    def context_tokens(self, wanted: int) -> int:
        """Return ``wanted`` tokens of context, or what the base was trained for if that is less.

        Beyond it a model without position scaling writes nonsense.
        """
        metadata = read_header(self.base, RegistrySettings()).metadata
        trained = metadata.get(f"{metadata.get('general.architecture')}.context_length")
        return min(wanted, trained) if isinstance(trained, int) and trained > 0 else wanted

    def threads(self, settings: InferenceSettings) -> int:
        """Return how many threads to compute with."""
        if settings.threads:
            return settings.threads
        small = self.base.stat().st_size < settings.one_thread_below_mb * MEGABYTE
        return 1 if small else len(os.sched_getaffinity(0))

    def fitting(self, settings: InferenceSettings) -> InferenceSettings:
        """Return the settings with the context and the threads that fit these files."""
        return settings.model_copy(
            update={
                "context_tokens": self.context_tokens(settings.context_tokens),
                "threads": self.threads(settings),
            }
        )


def _check(path: Path, wanted: str) -> None:
    with os_errors(path):
        with path.open("rb") as stream:
            magic = stream.read(len(GGUF_MAGIC))
        found = file_hash(path)
    if found != wanted:
        raise ModelHashMismatchError(
            expected=f"SHA-256 {wanted} of {path.name}", found=f"SHA-256 {found}"
        )
    if magic != GGUF_MAGIC:
        raise ModelHashMismatchError(
            expected=f"a GGUF file at {path.name}", found="a file without the GGUF mark"
        )
