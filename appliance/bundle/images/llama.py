"""llama-server and the llama-cpp-python wheel, compiled in a Debian root of their own.

The builder is made by mmdebstrap for this one step; the compiler runs without a network. The
result is kept by the hash of everything that went in.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from appliance.bundle.images.recipe import Defaults
from appliance.bundle.images.recipe import Wheels as WheelsWanted
from appliance.bundle.images.tools import call, require
from appliance.bundle.images.wheels import WheelHouse, read_lock
from appliance.core.canonical import file_hash, value_hash
from appliance.core.durable import new_folder, os_errors
from appliance.core.errors import BundleRecipeError, CollectFailedError

NAME = "llama-cpp-python"
PACKAGES = "g++,cmake,ninja-build,python3,python3-pip"
TOOLS = WheelsWanted(lock="bootstrap.lock", roots=["scikit-build-core"])
SCRIPT = "inference/build-llama.sh"
# CUDA's compiler comes as wheels too; RTX 50 (120) needs 12.8 or newer.
CUDA = WheelsWanted(
    lock="../inference-cuda/cuda.lock",
    roots=["nvidia-cuda-nvcc", "nvidia-cuda-cccl", "nvidia-cuda-runtime", "nvidia-cublas"],
)
CUDA_HOME = "/in/cuda/nvidia/cu13"
CUDA_FLAGS = (
    "-DGGML_CUDA=ON",
    f"-DCUDAToolkit_ROOT={CUDA_HOME}",
    f"-DCMAKE_CUDA_COMPILER={CUDA_HOME}/bin/nvcc",
    # No driver on the build machine to link with: its memory functions are not used.
    "-DGGML_CUDA_NO_VMM=ON",
)
ARCHITECTURES = "inference-cuda/architectures"
ARCHITECTURE = re.compile(r"\d{2,3}[af]?")
# CMake's own name for the choice of architectures: it goes before the recipe's file.
ARCHITECTURES_VARIABLE = "CUDAARCHS"
# SOURCE_DATE_EPOCH makes ggml leave every instruction set off, not only the build machine's own:
# these are what each supported processor has, and without them a token takes several times as long.
CPU_FLAGS = tuple(f"-DGGML_{name}=ON" for name in ("SSE42", "AVX", "AVX2", "BMI2", "FMA", "F16C"))
SERVER = "llama-server"
CONVERTERS = ("convert_hf_to_gguf.py", "convert_lora_to_gguf.py", "conversion/", "gguf-py/gguf/")
LICENCE = "LICENSE.llama.cpp"


@dataclass(frozen=True)
class Llama:
    """The compiled parts."""

    folder: Path

    @property
    def server(self) -> Path:
        """The program."""
        return self.folder / SERVER

    @property
    def wheel(self) -> Path:
        """The wheel."""
        return next(self.folder.glob("llama_cpp_python-*.whl"))

    @property
    def has_server(self) -> bool:
        """Whether the program is among the parts."""
        return self.server.is_file()

    def identity(self) -> str:
        """Return one hash of all parts."""
        names = [SERVER, LICENCE, self.wheel.name]
        paths = [self.folder / name for name in names]
        return value_hash({p.name: file_hash(p) for p in paths if p.is_file()})


def complete(folder: Path) -> bool:
    """Say whether ``folder`` holds the program and the wheel."""
    return (folder / SERVER).is_file() and _has_wheel(folder)


def _has_wheel(folder: Path) -> bool:
    return any(folder.glob("llama_cpp_python-*.whl"))


def converters(source: Path) -> dict[str, bytes]:
    """Return the files of the GGUF converters in the source package, by their path in llama.cpp."""
    found: dict[str, bytes] = {}
    with os_errors(source), tarfile.open(source) as archive:
        for member in archive:
            _, _, inner = member.name.partition("/vendor/llama.cpp/")
            if member.isfile() and (inner.startswith(CONVERTERS) or inner == "LICENSE"):
                stream = archive.extractfile(member)
                assert stream is not None  # a file
                found[inner] = stream.read()
    return found


class LlamaBuilder:
    """Compiles once for each set of inputs."""

    def __init__(
        self, images: Path, cache: Path, house: WheelHouse, defaults: Defaults, epoch: int
    ) -> None:
        """Take the script and the locks from ``images``; keep results under ``cache``."""
        self._images = images
        self._cache = cache
        self._house = house
        self._defaults = defaults
        self._epoch = epoch

    def get(self, prebuilt: Path | None = None, *, cuda: bool = False) -> Llama:
        """Return the parts: those in ``prebuilt`` when it is given, else kept or compiled ones.

        A prebuilt wheel may come without the server (tests on a machine that compiled only that).
        """
        if prebuilt is not None:
            if not _has_wheel(prebuilt):
                raise CollectFailedError(expected=f"the wheel of {NAME}", found="none")
            return Llama(prebuilt)
        folder = self._cache / "llama" / self.key(cuda=cuda)
        if not complete(folder):
            self._compile(folder, cuda=cuda)
        return Llama(folder)

    def key(self, *, cuda: bool = False) -> str:
        """Return the hash of all that goes in."""
        return value_hash(
            {
                "source": sorted(self._pin()),
                "script": file_hash(self._images / SCRIPT),
                "suite": self._defaults.suite,
                "python": self._defaults.python,
                "packages": PACKAGES,
                "epoch": self._epoch,
                "flags": self._flags(cuda=cuda),
                "cuda": self._cuda_lock() if cuda else "",
            }
        )

    def _cuda_lock(self) -> str:
        path = self._images / "locks" / CUDA.lock
        with os_errors(path):
            return file_hash(path)

    def _flags(self, *, cuda: bool) -> list[str]:
        if not cuda:
            return list(CPU_FLAGS)
        # The same instructions of the processor: what does not fit on the card runs there.
        wanted = ";".join(f"{name}-real" for name in self.architectures())
        return [*CPU_FLAGS, *CUDA_FLAGS, f"-DCMAKE_CUDA_ARCHITECTURES={wanted}"]

    def architectures(self) -> list[str]:
        """Return the GPU architectures to compile for: the environment's, else the recipe's."""
        path = self._images / ARCHITECTURES
        with os_errors(path):
            lines = path.read_text(encoding="utf-8").splitlines()
        recipe = " ".join(line for line in lines if not line.startswith("#"))
        names = re.split(r"[;,\s]+", os.environ.get(ARCHITECTURES_VARIABLE, recipe).strip())
        for name in names:
            if not ARCHITECTURE.fullmatch(name):
                raise BundleRecipeError(
                    expected=f"GPU architectures as 89 or 120 ({ARCHITECTURES_VARIABLE}, "
                    f"{ARCHITECTURES})",
                    found=repr(name),
                )
        return names

    def _pin(self) -> frozenset[str]:
        path = self._images / "locks" / "agent.lock"
        with os_errors(path):
            pins = read_lock(path.read_text(encoding="utf-8"), self._defaults.python)
        return pins[NAME].hashes

    def source(self) -> Path:
        """Return the pinned source package, fetched by pip when it is not kept."""
        folder = self._cache / "sdist"
        for kept in (folder, self._cache.parent / "sdist"):  # the second is where ./run keeps it
            for path in kept.glob("llama_cpp_python-*.tar.gz"):
                if file_hash(path) in self._pin():
                    return path
        text = (self._images / "locks" / "agent.lock").read_text(encoding="utf-8")
        entry = re.search(rf"^{NAME}==(?:.*\\\n)*.*$", text, re.MULTILINE)
        assert entry is not None
        with tempfile.TemporaryDirectory(prefix="appliance-sdist-") as work:
            names = Path(work, "names.txt")
            names.write_text(entry[0] + "\n", encoding="utf-8")
            # pip asks a source package for its metadata, which needs its build back end.
            self._unpack(TOOLS, Path(work, "tools"))
            call(
                [
                    *(sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", folder),
                    *("--no-build-isolation", "--no-binary", ":all:", "--require-hashes"),
                    *("-r", names),
                ],
                what=f"the source package of {NAME} by hash",
                environment={**os.environ, "PYTHONPATH": str(Path(work, "tools"))},
            )
        return next(folder.glob("llama_cpp_python-*.tar.gz"))

    def _compile(self, folder: Path, *, cuda: bool) -> None:
        require("mmdebstrap", "unshare", "chroot", "flock")
        source = self.source()
        kept = folder.with_name(f"{folder.name}.unfinished").resolve()
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="appliance-llama-") as name:
            work = Path(name)
            inside, out = work / "in", work / "out"
            (inside / "wheels").mkdir(parents=True)
            out.mkdir()
            shutil.copy(source, inside)
            shutil.copy(self._images / SCRIPT, inside / "build.sh")
            self._unpack(TOOLS, inside / "wheels")
            if cuda:
                self._unpack(CUDA, inside / "cuda")
            call(
                [
                    *("mmdebstrap", "--quiet", "--variant=minbase", "--format=null"),
                    *(f"--include={PACKAGES}", '--aptopt=Apt::Install-Recommends "false"'),
                    f"--customize-hook=copy-in {inside} /",
                    f"--customize-hook={self._hook(source.name, kept, cuda=cuda)}",
                    f"--customize-hook=sync-out /out {out}",
                    *(self._defaults.suite, "/dev/null", *self._defaults.mirrors),
                ],
                what=f"{SERVER} and the wheel compiled from the pinned source",
            )
            with new_folder(folder) as target:
                for path in sorted(out.iterdir()):
                    shutil.copy(path, target)
        shutil.rmtree(kept, ignore_errors=True)

    def _hook(self, source: str, kept: Path, *, cuda: bool) -> str:
        """Return the shell command that compiles in the root ``$1``.

        Run by root, the objects lie in ``kept`` outside of it, so that a compile that was broken
        off is gone on with; a lock lets two builders of the same inputs take turns.
        """
        inner = shlex.join(
            [
                *("env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"),
                *(f"SOURCE_DATE_EPOCH={self._epoch}", "sh", "/in/build.sh", f"/in/{source}"),
                *("/in/wheels", "/out", self._defaults.python, *self._flags(cuda=cuda)),
            ]
        )
        compiled, turn = f'exec chroot "$0" {inner}', ""
        if os.geteuid() == 0:  # another user's root has no rights to the folder
            place = shlex.quote(str(kept))
            # The mount is this process's alone: whoever removes the root does not see it.
            compiled = f'mkdir -p {place} && mount --bind {place} "$0/build" && {compiled}'
            turn = f"flock {shlex.quote(f'{kept}.lock')} "
        return f'mkdir "$1/build" && {turn}unshare --net --mount sh -c {shlex.quote(compiled)} "$1"'

    def _unpack(self, wanted: WheelsWanted, folder: Path) -> None:
        for wheel in self._house.collect(wanted):
            with zipfile.ZipFile(wheel.path) as archive:
                for info in archive.infolist():
                    path = Path(archive.extract(info, folder))
                    if (info.external_attr >> 16) & 0o111:  # a compiler must stay a program
                        path.chmod(0o755)
                    # A new time would make every object older than the headers it is made of.
                    os.utime(path, (self._epoch, self._epoch))
