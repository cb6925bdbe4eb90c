"""The layers of an image, from its recipe: packages, wheels, llama.cpp, the agent, its own files.

Each layer knows what goes into it before it is made; an unchanged one is never made again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import appliance
from appliance.bundle.images import wheels
from appliance.bundle.images.bytecode import compiled
from appliance.bundle.images.debs import Deb, Packages
from appliance.bundle.images.llama import CONVERTERS, LICENCE, SERVER, Llama, converters
from appliance.bundle.images.oci import AGENT_COMMENT
from appliance.bundle.images.recipe import Image, load_image
from appliance.bundle.images.tree import Tree, base_links
from appliance.bundle.images.wheels import Wheel, WheelHouse
from appliance.core.canonical import file_hash
from appliance.core.errors import BundleRecipeError

AGENT = Path(appliance.__file__).parent
NOT_SOURCE = ("__pycache__",)
SCRIPTS = "usr/share/llama.cpp"


@dataclass
class Parts:
    """What went into an image, for the SBOM."""

    debs: list[Deb] = field(default_factory=list)
    wheels: list[Wheel] = field(default_factory=list)
    llama: Llama | None = None


@dataclass(frozen=True)
class Step:
    """A layer to be: a line for people, everything that goes in, and how it is made."""

    comment: str
    inputs: Any
    make: Callable[[], Tree]


@dataclass(frozen=True)
class Kitchen:
    """Turns the recipes in ``images`` into steps; ``llama`` compiles, for CUDA when told so.

    ``source`` fetches llama.cpp's pinned source package.
    """

    images: Path
    python: str
    packages: Packages
    house: WheelHouse
    llama: Callable[[bool], Llama]
    source: Callable[[], Path]
    agent: Path = AGENT

    @property
    def _site(self) -> str:
        return f"usr/local/lib/python{self.python}/dist-packages"

    def steps(self, chain: Sequence[str]) -> tuple[list[Step], Parts]:
        """Return the layers of the images of ``chain``, lowest first, and what is in them."""
        parts = Parts()
        steps: list[Step] = []
        asked: list[str] = []
        for name in chain:
            image = load_image(self.images, name)
            asked += image.packages
            if image.packages:
                steps.append(self._debian(name, image, asked, parts))
            steps.extend(self._wheels(name, image, parts))
            steps.extend(self._compiled(name, image, parts))
            steps.extend(self._converters(name, image))
            steps.append(self._own(name, image, lowest=name == chain[0]))
            if image.agent:  # the layer that changes most comes last
                steps.append(self._agent(list(parts.debs)))
        return steps, parts

    def _debian(self, name: str, image: Image, asked: Sequence[str], parts: Parts) -> Step:
        below = {deb.name for deb in parts.debs}
        only = set(image.only)
        debs = [
            deb
            for deb in self.packages.closure(asked)
            if deb.name not in below and (deb.name in only or not only)
        ]
        if missing := sorted(only - below - {deb.name for deb in debs}):
            raise BundleRecipeError(
                expected=f"only packages of the closure of {name}", found=", ".join(missing)
            )
        parts.debs += debs
        everything = list(parts.debs)

        def make() -> Tree:
            tree = self.packages.tree(debs)
            tree.drop(image.drop)
            tree.without_setid()
            if below:
                return tree
            for path, target in image.links.items():
                tree.link(path, target)
            tree.prune()
            tree.add(base_links())
            tree.add(compiled(tree, self._system(everything), self.python))
            return tree

        inputs = [[deb.name, deb.sha256] for deb in debs]
        return Step(f"Debian packages of {name}", [inputs, image.drop, image.links], make)

    def _system(self, debs: Sequence[Deb]) -> Tree:
        """Return a tree in which the image's Python runs."""
        tree = self.packages.tree(debs)
        tree.add(base_links())
        return tree

    def _wheels(self, name: str, image: Image, parts: Parts) -> Iterator[Step]:
        if not image.wheels:
            return
        below = {wheel.name for wheel in parts.wheels}
        found = {w.name: w for wanted in image.wheels for w in self.house.collect(wanted)}
        new = [wheel for key, wheel in sorted(found.items()) if key not in below]
        parts.wheels += new
        debs = list(parts.debs)

        def make() -> Tree:
            tree = Tree()
            for wheel in new:
                tree.add(wheels.files_of(wheel.path, self._site, image.drop))
            tree.drop(image.drop)
            tree.add(compiled(tree, self._system(debs), self.python))
            return tree

        inputs = [[w.name, w.sha256] for w in new]
        yield Step(f"wheels of {name}", [inputs, image.drop, [d.sha256 for d in debs]], make)

    def _compiled(self, name: str, image: Image, parts: Parts) -> Iterator[Step]:
        if image.llama == "no":
            return
        llama = self.llama(image.accelerator == "cuda")
        parts.llama = llama
        debs = list(parts.debs)

        def make() -> Tree:
            tree = Tree()
            if llama.has_server:
                tree.file("usr/bin/llama-server", llama.server.read_bytes(), mode=0o755)
            licence = llama.folder / LICENCE
            if licence.is_file():
                tree.file("usr/share/doc/llama.cpp/copyright", licence.read_bytes())
            if image.llama == "server and wheel":
                modules = wheels.files_of(llama.wheel, self._site)
                modules.drop(image.drop)
                modules.add(compiled(modules, self._system(debs), self.python))
                tree.add(modules)
            return tree

        yield Step(f"{SERVER} of {name}", [llama.identity(), image.llama, image.drop], make)

    def _converters(self, name: str, image: Image) -> Iterator[Step]:
        if not image.converters:
            return
        source = self.source()

        def make() -> Tree:
            tree = Tree()
            for path, data in converters(source).items():
                licence = path == "LICENSE"
                where = "usr/share/doc/llama.cpp/copyright" if licence else f"{SCRIPTS}/{path}"
                tree.file(where, data)
            return tree

        inputs = [file_hash(source), CONVERTERS]
        yield Step(f"GGUF converters of {name}", inputs, make)

    def _own(self, name: str, image: Image, *, lowest: bool) -> Step:
        folder = self.images / name
        sources = {target: folder / source for source, target in image.files.items()}

        def make() -> Tree:
            tree = Tree()
            for target, source in sources.items():
                tree.file(target, source.read_bytes())
            for path, mode in image.folders.items():
                tree.folder(path, mode=mode, uid=image.user, gid=image.group)
            if lowest:
                tree.folder("tmp", mode=0o1777)
                for place in ("proc", "sys", "dev", "run", "root", "var/tmp"):
                    tree.folder(place)
                tree.file("etc/nsswitch.conf", b"passwd: files\ngroup: files\nhosts: files dns\n")
            else:
                for path, target in image.links.items():
                    tree.link(path, target)
            for path, text in accounts(image.user, image.group).items():
                tree.file(path, text.encode())
            return tree

        inputs = [
            sorted((target, file_hash(source)) for target, source in sources.items()),
            [image.folders, image.links, image.user, image.group],
        ]
        return Step(f"files of {name}", inputs, make)

    def _agent(self, debs: Sequence[Deb]) -> Step:
        files = agent_files(self.agent)

        def make() -> Tree:
            tree = Tree()
            for path, source in files.items():
                tree.file(f"{self._site}/{path}", source.read_bytes())
            tree.file(
                f"{self._site}/hospital_ai_appliance-{appliance.__version__}.dist-info/METADATA",
                f"Metadata-Version: 2.4\nName: hospital-ai-appliance\n"
                f"Version: {appliance.__version__}\nLicense-Expression: Apache-2.0\n".encode(),
            )
            tree.add(compiled(tree, self._system(debs), self.python))
            return tree

        inputs = {path: file_hash(file) for path, file in files.items()}
        return Step(AGENT_COMMENT, [inputs, [d.sha256 for d in debs]], make)


def agent_files(folder: Path) -> dict[str, Path]:
    """Return the agent's files in ``folder`` by their path below the modules' folder."""
    return {
        path.relative_to(folder.parent).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(part in NOT_SOURCE for part in path.parts)
    }


def accounts(user: int, group: int) -> dict[str, str]:
    """Return ``/etc/passwd`` and ``/etc/group`` with root, nobody and the service."""
    nologin = "/usr/sbin/nologin"  # stands for itself: there is no such program, nor a shell
    return {
        "etc/passwd": f"root:x:0:0:root:/root:{nologin}\n"
        f"nobody:x:65534:65534:nobody:/nonexistent:{nologin}\n"
        f"appliance:x:{user}:{group}:appliance:/nonexistent:{nologin}\n",
        "etc/group": f"root:x:0:\nnogroup:x:65534:\nappliance:x:{group}:\n",
    }
