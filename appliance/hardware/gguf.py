"""Read a GGUF header with a bound on every number it claims (GGUF specification, version 2 and 3).

Only the header is read: a file that claims more keys, tensors or bytes than any model has is
refused before memory is taken for it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from appliance.core.errors.hardware import ModelShapeError

MAX_KEYS = 10_000  # real files have below 100
MAX_TENSORS = 100_000  # the largest mixture of experts has below 3,000
MAX_NAME = 65_535  # the specification's own limit for a key
MAX_STRING = 16_777_216  # chat templates are below 100 KB
MAX_ARRAY = 8_388_608  # tokens and merges: vocabularies end at 262,144
MAX_DIMENSIONS = 4
MAX_SIDE = 1 << 32
_FIXED = {
    0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d",
}  # fmt: skip
_STRING, _ARRAY = 8, 9
# ggml type number -> name, of the types the formulas know [ggml.h]
TYPE_NAMES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 6: "Q5_0", 7: "Q5_1", 8: "Q8_0", 10: "Q2_K",
    11: "Q3_K", 12: "Q4_K", 13: "Q5_K", 14: "Q6_K", 20: "IQ4_NL", 23: "IQ4_XS", 30: "BF16",
}  # fmt: skip


@dataclass(frozen=True)
class TensorInfo:
    """A tensor of the file: name, sides, type number."""

    name: str
    sides: tuple[int, ...]
    kind: int


@dataclass(frozen=True)
class Header:
    """The keys (arrays as their length only) and tensors of a GGUF file."""

    keys: dict[str, Any]
    tensors: list[TensorInfo]
    file_bytes: int


class _Reader:
    """Reads little-endian values and stops at the byte limit."""

    def __init__(self, stream: BinaryIO, path: Path, limit: int) -> None:
        self._stream = stream
        self._path = path
        self._left = limit

    def fail(self, found: str) -> NoReturn:
        raise ModelShapeError(expected=f"a GGUF header in {self._path}", found=found)

    def bytes(self, count: int) -> bytes:
        if count > self._left:
            self.fail("a header larger than any model's")
        self._left -= count
        data = self._stream.read(count)
        if len(data) != count:
            self.fail("a file that ends inside its header")
        return data

    def number(self, code: str) -> Any:
        return struct.unpack(f"<{code}", self.bytes(struct.calcsize(f"<{code}")))[0]

    def count(self, most: int, what: str) -> int:
        value = int(self.number("Q"))
        if value > most:
            self.fail(f"{value} {what}, more than {most}")
        return value

    def string(self, most: int) -> str:
        return self.bytes(self.count(most, "bytes of text")).decode("utf-8", "replace")

    def value(self) -> Any:
        kind = self.number("I")
        if kind in _FIXED:
            return self.number(_FIXED[kind])
        if kind == _STRING:
            return self.string(MAX_STRING)
        if kind == _ARRAY:
            return self._array()
        return self.fail(f"a value of unknown type {kind}")

    def _array(self) -> Any:
        """Numbers in full when few, else their count; strings as their count."""
        kind, count = self.number("I"), self.count(MAX_ARRAY, "array items")
        if kind == _STRING:
            for _ in range(count):
                self.bytes(self.count(MAX_STRING, "bytes of text"))
            return count
        if kind not in _FIXED:
            self.fail(f"an array of type {kind}")
        code = _FIXED[kind]
        data = self.bytes(count * struct.calcsize(code))
        return list(struct.unpack(f"<{count}{code}", data)) if count <= 1000 else count  # noqa: PLR2004 - a value a layer; more is a vocabulary


def read_header(path: Path, max_bytes: int) -> Header:
    """Read the header of ``path``; raise ``ModelShapeError``."""
    try:
        with path.open("rb") as stream:
            return _read(_Reader(stream, path, max_bytes), path.stat().st_size)
    except OSError as error:
        raise ModelShapeError(
            expected=f"a GGUF file at {path}", found=error.strerror or "not readable"
        ) from error


def _read(reader: _Reader, file_bytes: int) -> Header:
    if reader.bytes(4) != b"GGUF":
        reader.fail("other first bytes than GGUF")
    version = reader.number("I")
    if version not in {2, 3}:
        reader.fail(f"version {version}")
    tensor_count = reader.count(MAX_TENSORS, "tensors")
    key_count = reader.count(MAX_KEYS, "keys")
    keys = {}
    for _ in range(key_count):
        name = reader.string(MAX_NAME)
        keys[name] = reader.value()
    tensors = []
    for _ in range(tensor_count):
        name = reader.string(MAX_NAME)
        dimensions = reader.number("I")
        if not 1 <= dimensions <= MAX_DIMENSIONS:
            reader.fail(f"a tensor of {dimensions} dimensions")
        sides = tuple(reader.count(MAX_SIDE, "rows") for _ in range(dimensions))
        kind = reader.number("I")
        reader.number("Q")
        tensors.append(TensorInfo(name, sides, kind))
    return Header(keys, tensors, file_bytes)
