"""What llama.cpp is compiled with: its key, instructions that the target has, the named cards."""

from __future__ import annotations

import os
import shlex
import subprocess
import zipfile
from pathlib import Path

import pytest

from appliance.bundle.images import llama
from appliance.bundle.images.llama import ARCHITECTURES_VARIABLE, CPU_FLAGS, LlamaBuilder
from appliance.bundle.images.recipe import Wheels, load_defaults
from appliance.bundle.images.wheels import Wheel, WheelHouse
from appliance.core.errors import BundleRecipeError, CollectFailedError

IMAGES = Path(__file__).resolve().parents[4] / "images"
ASKED = "-DCMAKE_CUDA_ARCHITECTURES="


@pytest.fixture(autouse=True)
def _nothing_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ARCHITECTURES_VARIABLE, raising=False)


def builder(cache: Path) -> LlamaBuilder:
    defaults = load_defaults(IMAGES)
    house = WheelHouse(cache, IMAGES / "locks", defaults.python)
    return LlamaBuilder(IMAGES, cache, house, defaults, defaults.source_date_epoch)


class Compiler:
    """Stands for mmdebstrap: notes the hook, and makes the parts or breaks off."""

    def __init__(self) -> None:
        self.hook = ""
        self.breaks = False

    def __call__(self, command: list[object], **_: object) -> bytes:
        words = [str(part) for part in command]
        hook = next(w for w in words if "build.sh" in w)
        self.hook = hook.removeprefix("--customize-hook=")
        if self.breaks:
            raise CollectFailedError(expected="parts", found="a broken compile")
        out = next(w.split()[-1] for w in words if w.startswith("--customize-hook=sync-out"))
        for name in (llama.SERVER, "llama_cpp_python-1-py3-none-any.whl"):
            (Path(out) / name).write_bytes(b"x")
        return b""


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> Compiler:
    stands = Compiler()
    monkeypatch.setattr(llama, "call", stands)
    monkeypatch.setattr(LlamaBuilder, "source", lambda _: IMAGES / "compose.yaml")
    monkeypatch.setattr(LlamaBuilder, "_unpack", lambda *_: None)
    return stands


def test_other_flags_are_another_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ggml leaves AVX2 off when SOURCE_DATE_EPOCH is set, so the flags name what is wanted."""
    here = builder(tmp_path)
    keys = {here.key(), here.key(cuda=True)}
    assert {"AVX2", "FMA", "F16C"} <= {w[7:-3] for w in CPU_FLAGS}
    monkeypatch.setattr(llama, "CPU_FLAGS", ("-DGGML_AVX512=ON",))
    assert not {here.key(), here.key(cuda=True)} & keys


def test_the_processors_instructions_are_named_for_cuda_too(
    tmp_path: Path, compiler: Compiler
) -> None:
    here = builder(tmp_path)
    for cuda in (False, True):
        assert here.get(cuda=cuda).has_server
        inner = shlex.split(" ".join(shlex.split(compiler.hook)))
        assert {"--net", "chroot", *CPU_FLAGS} <= set(inner)
        assert ("-DGGML_CUDA=ON" in inner) is cuda


def test_the_recipe_names_the_cards_and_a_builder_others(
    tmp_path: Path, compiler: Compiler, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = builder(tmp_path)
    assert here.architectures() == ["120"]  # RTX 5090, the product's card
    own, processor = here.key(cuda=True), here.key()
    monkeypatch.setenv(ARCHITECTURES_VARIABLE, "89;120")
    assert here.architectures() == ["89", "120"]
    assert here.key(cuda=True) != own
    assert here.key() == processor
    here.get(cuda=True)
    assert f"{ASKED}89-real;120-real" in shlex.split(shlex.split(compiler.hook)[-2])


@pytest.mark.parametrize("words", ["", "native", "sm_120", "120;", "120 -DX=1", "120$(id)"])
def test_what_names_no_card_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    monkeypatch.setenv(ARCHITECTURES_VARIABLE, words)
    with pytest.raises(BundleRecipeError, match=ARCHITECTURES_VARIABLE):
        builder(tmp_path).key(cuda=True)


def test_a_broken_compile_leaves_its_objects_for_the_next(
    tmp_path: Path, compiler: Compiler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    here = builder(tmp_path)
    kept = tmp_path / "llama" / f"{here.key()}.unfinished"
    compiler.breaks = True
    with pytest.raises(CollectFailedError):
        here.get()
    assert f"mount --bind {kept} " in compiler.hook
    (kept / "objects").mkdir(parents=True)
    with pytest.raises(CollectFailedError):
        here.get()
    assert (kept / "objects").is_dir()
    compiler.breaks = False
    here.get()
    assert not kept.exists()


def test_without_rights_to_mount_it_compiles_in_the_root_itself(
    tmp_path: Path, compiler: Compiler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    builder(tmp_path).get()
    assert not {"mount", "flock"} & set(shlex.split(" ".join(shlex.split(compiler.hook))))


def test_the_shell_hands_every_word_over(
    tmp_path: Path, compiler: Compiler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three shells lie between the recipe and the compiler; a cache's name may have spaces."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    cache, root, programs = tmp_path / "a cache's", tmp_path / "root", tmp_path / "programs"
    for folder in (root, programs):
        folder.mkdir()
    here = builder(cache)
    here.get(cuda=True)
    for name, text in {
        "flock": 'test -d "${1%/*}" && shift && exec "$@"',
        "unshare": 'test "$1 $2" = "--net --mount" && shift 2 && exec "$@"',
        "mount": 'test "$1" = --bind && test -d "$2" && test -d "$3"',
        "chroot": f"printf '%s\\n' \"$@\" > '{tmp_path}/said'",
    }.items():
        (programs / name).write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
        (programs / name).chmod(0o755)
    subprocess.run(
        ["/bin/sh", "-c", compiler.hook, "sh", root],
        env={"PATH": f"{programs}:/usr/bin:/bin"},
        check=True,
    )
    said = (tmp_path / "said").read_text(encoding="utf-8").splitlines()
    assert said[0] == str(root)
    assert said[said.index("sh") + 1] == "/in/build.sh"
    assert said[-1] == f"{ASKED}120-real"


def test_headers_are_older_than_the_objects_made_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unpacked with the time of now, they would have every kept object compiled again."""
    here, path = builder(tmp_path), tmp_path / "a-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo("bin/nvcc")
        info.external_attr = 0o755 << 16
        archive.writestr(info, b"x")
    wheel = Wheel("a", "1", path.name, "0" * 64, path)
    monkeypatch.setattr(WheelHouse, "collect", lambda *_: [wheel])
    here._unpack(Wheels(lock="a.lock", roots=["a"]), tmp_path / "in")
    found = (tmp_path / "in" / "bin" / "nvcc").stat()
    assert found.st_mtime == load_defaults(IMAGES).source_date_epoch
    assert found.st_mode & 0o111
