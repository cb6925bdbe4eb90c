"""Read a GGUF header without trusting it: every count and length is bounded before use.

Format: the GGUF specification, version 3 (little-endian), in the ggml repository's docs/gguf.md.
A file comes from outside; llama.cpp had memory-safety faults in this parser (CVE-2024-21802,
CVE-2024-21836, CVE-2025-53630), so what is absurd is refused before the engine sees it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from appliance.core.durable import os_errors
from appliance.core.errors import WeightsRefusedError
from appliance.core.settings.registry import RegistrySettings

MAGIC = b"GGUF"
VERSIONS = (2, 3)
MAX_DIMENSIONS = 4
MAX_DIMENSION = 2**40
MAX_NAME_BYTES = 64  # the format's own limit on a tensor name (GGML_MAX_NAME)
ARRAY_KEPT = 16  # items of an array that are kept for display
_SCALARS = {
    0: "<B",
    1: "<b",
    2: "<H",
    3: "<h",
    4: "<I",
    5: "<i",
    6: "<f",
    7: "<?",
    10: "<Q",
    11: "<q",
    12: "<d",
}
_STRING = 8
_ARRAY = 9


@dataclass(frozen=True)
class GgufHeader:
    """What a GGUF file says about itself; arrays longer than a few items become their length."""

    version: int
    metadata: dict[str, Any]
    tensors: dict[str, tuple[int, ...]]
    bytes: int

    @property
    def architecture(self) -> str:
        """Return ``general.architecture``."""
        return str(self.metadata.get("general.architecture", ""))

    @property
    def is_adapter(self) -> bool:
        """Tell a LoRA adapter from a whole model."""
        return self.metadata.get("general.type") == "adapter"

    @property
    def chat_template(self) -> str | None:
        """Return the chat template, when there is one."""
        template = self.metadata.get("tokenizer.chat_template")
        return template if isinstance(template, str) else None


def refuse(expected: str, found: str) -> WeightsRefusedError:
    """Return the error of a GGUF file that is not taken."""
    return WeightsRefusedError(expected=expected, found=found)


class _Reader:
    """Bounded reads from the head of a file."""

    def __init__(self, stream: BinaryIO, limits: RegistrySettings) -> None:
        self._stream = stream
        self.limits = limits
        self.read_bytes = 0

    def take(self, count: int) -> bytes:
        self.read_bytes += count
        if self.read_bytes > self.limits.max_header_bytes:
            raise refuse(f"GGUF metadata of at most {self.limits.max_header_bytes} bytes", "more")
        data = self._stream.read(count)
        if len(data) != count:
            raise refuse("a whole GGUF header", "the file ends inside it")
        return data

    def number(self, form: str) -> Any:
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def string(self) -> str:
        length = self.number("<Q")
        if length > self.limits.max_header_bytes:
            raise refuse("strings that fit the header limit", f"a length of {length}")
        return self.take(length).decode("utf-8", "replace")

    def value(self, kind: int) -> Any:
        if kind in _SCALARS:
            return self.number(_SCALARS[kind])
        if kind == _STRING:
            return self.string()
        if kind == _ARRAY:
            return self.array()
        raise refuse("a GGUF value type of the specification (0 to 12)", f"type {kind}")

    def array(self) -> Any:
        kind, count = self.number("<I"), self.number("<Q")
        if count > self.limits.max_metadata_items:
            raise refuse(
                f"arrays of at most {self.limits.max_metadata_items} items", f"{count} items"
            )
        if kind == _ARRAY:
            raise refuse("flat arrays", "an array of arrays")
        if kind in _SCALARS:
            data = self.take(count * struct.calcsize(_SCALARS[kind]))
            if count > ARRAY_KEPT:
                return count
            return [item[0] for item in struct.iter_unpack(_SCALARS[kind], data)]
        items = [self.value(kind) for _ in range(count)]
        return items if count <= ARRAY_KEPT else count


def _metadata(reader: _Reader, count: int) -> dict[str, Any]:
    metadata: dict[str, Any] = {}
    for _ in range(count):
        key = reader.string()
        if key in metadata:
            raise refuse("each metadata key once", f"{key[:80]!r} twice")
        metadata[key] = reader.value(reader.number("<I"))
    return metadata


def _tensors(reader: _Reader, count: int, file_bytes: int) -> dict[str, tuple[int, ...]]:
    tensors: dict[str, tuple[int, ...]] = {}
    for _ in range(count):
        name = reader.string()
        if not name or len(name.encode()) > MAX_NAME_BYTES or name in tensors:
            raise refuse(f"unique tensor names of 1 to {MAX_NAME_BYTES} bytes", repr(name[:80]))
        dimensions = reader.number("<I")
        if not 1 <= dimensions <= MAX_DIMENSIONS:
            raise refuse(f"1 to {MAX_DIMENSIONS} dimensions", f"{dimensions} in {name}")
        shape = tuple(reader.number("<Q") for _ in range(dimensions))
        total = 1
        for size in shape:
            total *= size
        if not 0 < total <= MAX_DIMENSION:
            raise refuse("tensor sizes above 0 and below 2^40", f"{shape} in {name}")
        reader.number("<I")
        if reader.number("<Q") >= file_bytes:
            raise refuse("tensor data inside the file", f"an offset behind its end in {name}")
        tensors[name] = shape
    return tensors


def read_header(path: Path, limits: RegistrySettings) -> GgufHeader:
    """Return the checked header of the GGUF file at ``path``.

    Raises:
        WeightsRefusedError: wrong magic, unknown version, absurd counts, lengths or offsets.
    """
    with os_errors(path), path.open("rb") as stream:
        file_bytes = path.stat().st_size
        if stream.read(4) != MAGIC:
            raise refuse("a GGUF file", "another magic number at its start")
        reader = _Reader(stream, limits)
        version = reader.number("<I")
        if version not in VERSIONS:
            raise refuse(f"GGUF version {VERSIONS} (little-endian)", f"version {version}")
        tensor_count, key_count = reader.number("<Q"), reader.number("<Q")
        if not 0 < tensor_count <= limits.max_tensors:
            raise refuse(f"1 to {limits.max_tensors} tensors", f"{tensor_count}")
        if not 0 < key_count <= limits.max_metadata_keys:
            raise refuse(f"1 to {limits.max_metadata_keys} metadata keys", f"{key_count}")
        metadata = _metadata(reader, key_count)
        tensors = _tensors(reader, tensor_count, file_bytes)
    header = GgufHeader(version, metadata, tensors, file_bytes)
    if (
        not header.architecture.isidentifier()
        and not header.architecture.replace("-", "").isalnum()
    ):
        raise refuse("general.architecture in the metadata", "none")
    return header
