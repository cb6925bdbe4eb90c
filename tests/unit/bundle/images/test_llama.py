"""What llama.cpp is compiled with: its key, and instructions that the target has."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.bundle.images import llama
from appliance.bundle.images.llama import CPU_FLAGS, LlamaBuilder
from appliance.bundle.images.recipe import load_defaults
from appliance.bundle.images.wheels import WheelHouse

IMAGES = Path(__file__).resolve().parents[4] / "images"


def builder(cache: Path) -> LlamaBuilder:
    defaults = load_defaults(IMAGES)
    house = WheelHouse(cache, IMAGES / "locks", defaults.python)
    return LlamaBuilder(IMAGES, cache, house, defaults, defaults.source_date_epoch)


def test_other_flags_are_another_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ggml leaves AVX2 off when SOURCE_DATE_EPOCH is set, so the flags name what is wanted."""
    here = builder(tmp_path)
    keys = {here.key(), here.key(cuda=True)}
    assert {"AVX2", "FMA", "F16C"} <= {w[7:-3] for w in CPU_FLAGS.split()}
    monkeypatch.setattr(llama, "CPU_FLAGS", CPU_FLAGS.replace("AVX2", "AVX512"))
    assert here.key() not in keys
    assert here.key(cuda=True) in keys


def test_the_compiler_is_given_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, said = builder(tmp_path), list[str]()

    def call(command: list[object], **_: object) -> bytes:
        said.extend(str(part) for part in command)
        out = next(p.split()[-1] for p in said if p.startswith("--customize-hook=sync-out"))
        for name in (llama.SERVER, "llama_cpp_python-1-py3-none-any.whl"):
            (Path(out) / name).write_bytes(b"x")
        return b""

    monkeypatch.setattr(llama, "call", call)
    monkeypatch.setattr(here, "source", lambda: IMAGES / "compose.yaml")
    monkeypatch.setattr(here, "_unpack", lambda *_: None)
    assert here.get().has_server
    hook = next(p for p in said if "build.sh" in p)
    assert f"EXTRA_CMAKE_ARGS='{CPU_FLAGS}'" in hook
    assert "unshare --net" in hook
