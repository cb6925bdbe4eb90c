"""Read a safetensors header without trusting it, and a model folder's configuration.

Format: 8 bytes little-endian header length, JSON header, tensor data (the safetensors
repository's README). Pickle formats run code when loaded; they are refused by name and by content.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

from appliance.core.durable import os_errors
from appliance.core.errors import WeightsRefusedError
from appliance.core.settings.registry import RegistrySettings

DTYPE_BYTES = {
    "BOOL": 1,
    "U8": 1,
    "I8": 1,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "U16": 2,
    "I16": 2,
    "F16": 2,
    "BF16": 2,
    "U32": 4,
    "I32": 4,
    "F32": 4,
    "U64": 8,
    "I64": 8,
    "F64": 8,
}
CONFIG_NUMBERS = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads")
LENGTH_BYTES = 8
MAX_CONFIG_BYTES = 1_000_000  # a config.json is a few kB
MAX_CONFIG_NUMBER = 10_000_000  # no real size of a model is larger


def read_header(path: Path, limits: RegistrySettings) -> dict[str, tuple[int, ...]]:
    """Return {tensor name: shape} of a safetensors file, with every offset checked.

    Raises:
        WeightsRefusedError: the header is cut, too long, not JSON, or points outside the data.
    """
    with os_errors(path), path.open("rb") as stream:
        size = path.stat().st_size
        head = stream.read(LENGTH_BYTES)
        length = struct.unpack("<Q", head)[0] if len(head) == LENGTH_BYTES else 0
        if not 0 < length <= min(limits.max_header_bytes, size - LENGTH_BYTES):
            raise _refuse("a safetensors header that fits the file", f"length {length}", path)
        data = stream.read(length)
    try:
        header = json.loads(data)
        entries = {k: v for k, v in header.items() if k != "__metadata__"}
    except (ValueError, AttributeError, RecursionError) as error:
        raise _refuse("a JSON header", type(error).__name__, path) from error
    if not 0 < len(entries) <= limits.max_tensors:
        raise _refuse(f"1 to {limits.max_tensors} tensors", str(len(entries)), path)
    return {
        name: _entry(name, entry, size - LENGTH_BYTES - length, path)
        for name, entry in entries.items()
    }


def _entry(name: str, entry: Any, data_bytes: int, path: Path) -> tuple[int, ...]:
    try:
        shape = tuple(int(n) for n in entry["shape"])
        start, end = (int(n) for n in entry["data_offsets"])
        total = DTYPE_BYTES[entry["dtype"]]
    except (KeyError, TypeError, ValueError) as error:
        raise _refuse("dtype, shape and data_offsets a tensor", repr(name[:80]), path) from error
    for size in shape:
        total *= size
    if not 0 <= start <= end <= data_bytes or end - start != total:
        raise _refuse("offsets that fit shape and file", repr(name[:80]), path)
    return shape


def _refuse(expected: str, found: str, path: Path) -> WeightsRefusedError:
    return WeightsRefusedError(expected=expected, found=f"{found} in {path.name}")


def read_config(path: Path) -> dict[str, Any]:
    """Return the checked ``config.json`` of a Hugging Face model folder.

    Raises:
        WeightsRefusedError: no JSON object, absurd numbers, or a request to run code (auto_map).
    """
    with os_errors(path), path.open("rb") as stream:
        data = stream.read(MAX_CONFIG_BYTES + 1)
    try:
        config = json.loads(data) if len(data) <= MAX_CONFIG_BYTES else None
    except (ValueError, RecursionError):
        config = None
    if not isinstance(config, dict):
        raise _refuse(f"a JSON object of at most {MAX_CONFIG_BYTES} bytes", "something else", path)
    if "auto_map" in config:
        raise _refuse("a model that needs no code of its own", "the key auto_map", path)
    architectures = config.get("architectures")
    if not (isinstance(architectures, list) and architectures):
        raise _refuse("the key architectures", "none", path)
    for key in CONFIG_NUMBERS:
        value = config.get(key)
        if not isinstance(value, int) or not 0 < value <= MAX_CONFIG_NUMBER:
            raise _refuse(f"a whole number above 0 for {key}", "none such", path)
    return config
