from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.core.errors import WeightsRefusedError
from appliance.core.settings.registry import RegistrySettings
from appliance.registry.gguf import read_header

LIMITS = RegistrySettings()


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_a_sound_header_is_read(tmp_path: Path, artefacts: Any) -> None:
    header = read_header(write(tmp_path / "m.gguf", artefacts.gguf_bytes()), LIMITS)
    assert header.architecture == "llama"
    assert header.tensors == {"token_embd.weight": (4, 2)}
    assert header.chat_template == artefacts.TEMPLATE
    assert header.metadata["llama.block_count"] == 1
    assert not header.is_adapter


def test_an_adapter_is_told_from_a_model(tmp_path: Path, artefacts: Any) -> None:
    data = artefacts.gguf_bytes({"general.type": "adapter"})
    assert read_header(write(tmp_path / "m.gguf", data), LIMITS).is_adapter


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"magic": b"PK\x03\x04"}, "magic"),
        ({"version": 99}, "version 99"),
        ({"version": 0x03000000}, "version"),
        ({"tensors": 0}, "0"),
        ({"tensors": 2**63}, "9223372036854775808"),
        ({"keys": 2**60}, "1152921504606846976"),
        ({"keys": 4}, "a length of"),
        ({"shape": (0, 2)}, "(0, 2)"),
        ({"shape": (2**40, 2**40)}, "token_embd"),
        ({"shape": (1, 1, 1, 1, 1)}, "5 in"),
        ({"offset": 2**50}, "behind its end"),
        ({"names": ("a" * 65,)}, "aaa"),
        ({"names": ("w", "w")}, "w"),
        ({"metadata": {"general.architecture": ""}}, "none"),
        ({"metadata": {"general.architecture": "../x"}}, "none"),
    ],
)
def test_absurd_headers_are_refused(
    tmp_path: Path, artefacts: Any, changes: dict[str, Any], found: str
) -> None:
    path = write(tmp_path / "m.gguf", artefacts.gguf_bytes(**changes))
    with pytest.raises(WeightsRefusedError) as caught:
        read_header(path, LIMITS)
    assert found in f"{caught.value.found} {caught.value.expected}"


@pytest.mark.parametrize(
    ("extra", "found"),
    [
        (struct.pack("<IIQ", 9, 4, 2**40), "items"),
        (struct.pack("<IIQ", 9, 9, 1), "array of arrays"),
        (struct.pack("<IIQ", 9, 4, 3_000_000), "ends inside"),
        (struct.pack("<IQ", 8, 2**63), "a length of"),
        (struct.pack("<I", 77), "type 77"),
    ],
)
def test_absurd_metadata_values_are_refused_before_memory_is_taken(
    tmp_path: Path, artefacts: Any, extra: bytes, found: str
) -> None:
    data = artefacts.gguf_bytes(extra=artefacts.string("x.y") + extra)
    with pytest.raises(WeightsRefusedError, match=found):
        read_header(write(tmp_path / "m.gguf", data), LIMITS)


def test_a_key_twice_is_refused(tmp_path: Path, artefacts: Any) -> None:
    again = artefacts.string("llama.block_count") + struct.pack("<II", 4, 2)
    with pytest.raises(WeightsRefusedError, match="twice"):
        read_header(write(tmp_path / "m.gguf", artefacts.gguf_bytes(extra=again)), LIMITS)


def test_a_header_over_the_limit_is_refused(tmp_path: Path, artefacts: Any) -> None:
    path = write(tmp_path / "m.gguf", artefacts.gguf_bytes({"general.name": "n" * 3990}))
    with pytest.raises(WeightsRefusedError, match="4000"):
        read_header(path, RegistrySettings(max_header_bytes=4000))


@given(cut=st.integers(0, 260))
def test_a_cut_header_is_refused(tmp_path_factory: Any, artefacts: Any, cut: int) -> None:
    data = artefacts.gguf_bytes()[:-64]
    path = tmp_path_factory.mktemp("cut") / "m.gguf"
    path.write_bytes(data[: min(cut, len(data) - 1)])
    with pytest.raises(WeightsRefusedError):
        read_header(path, LIMITS)


@given(position=st.integers(0, 200), value=st.integers(0, 255))
def test_a_changed_byte_never_breaks_the_reader(
    tmp_path_factory: Any, artefacts: Any, position: int, value: int
) -> None:
    data = bytearray(artefacts.gguf_bytes())
    data[position % len(data)] = value
    path = tmp_path_factory.mktemp("bit") / "m.gguf"
    path.write_bytes(bytes(data))
    try:
        header = read_header(path, LIMITS)
    except WeightsRefusedError:
        return
    assert len(header.tensors) == 1
