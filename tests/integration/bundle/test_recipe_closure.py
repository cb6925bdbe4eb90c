"""The shipped recipes resolved by the real apt over archives made here with their names.

No Ubuntu archive and no NVIDIA archive can be asked while testing. What this proves: the sources
(two archives and a flat one) are written as apt reads them, each is checked with its own key, every
name is asked for, and the driver's closure comes along. It does not prove that the archives of the
day have these names.
"""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest

from appliance.bundle.collect.apt import collect_apt, one_line
from appliance.bundle.collect.common import BuildShell
from appliance.bundle.recipe import Apt, AptSource, Recipe, load_recipe
from appliance.core.errors import CollectFailedError

TOOLKIT = "nvidia-container-toolkit"
# Of the real archives: what the driver's and the kernel's names stand for.
DEPENDS = {
    "linux-image-generic": "linux-image-6.8.0-1-generic",
    "linux-modules-nvidia-580-server-open-generic": "linux-modules-nvidia-580-6.8.0-1-generic",
    "linux-modules-nvidia-580-6.8.0-1-generic": "linux-image-6.8.0-1-generic",
    "nvidia-headless-no-dkms-580-server-open": "libnvidia-compute-580-server, nvidia-firmware-580",
    TOOLKIT: "nvidia-container-toolkit-base",
    "nvidia-container-toolkit-base": "libnvidia-container1",
}


def run(*argv: str, cwd: Path, home: Path) -> None:
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "GNUPGHOME": str(home)}
    subprocess.run(argv, cwd=cwd, env=environment, check=True, capture_output=True)


def closure(names: set[str]) -> set[str]:
    found = set(names)
    for name in names:
        wanted = set(DEPENDS[name].split(", ")) if name in DEPENDS else set()
        found |= closure(wanted - {name}) if wanted else set()
    return found


class Archive:
    """A signed archive in a folder, with a key of its own."""

    def __init__(self, folder: Path, source: AptSource, names: set[str]) -> None:
        self.root, self.home = folder / "archive", folder / "gpg"
        self.home.mkdir(parents=True, mode=0o700)
        (self.root / "pool").mkdir(parents=True)
        self.keyring = folder / "archive.gpg"
        self._gpg("--quick-gen-key", "test@example.invalid", "ed25519")
        self._gpg("--output", str(self.keyring), "--export")
        lists = "".join(self._package(name) for name in sorted(names))
        for number, suite in enumerate(source.suites):
            # The first suite has the packages, the others (updates) none.
            self._suite(suite, source.components, "" if number else lists)
        run("gpgconf", "--kill", "all", cwd=self.root, home=self.home)
        self.source = source.model_copy(
            update={"uri": f"copy:{self.root}", "keyring": str(self.keyring)}
        )

    def _gpg(self, *argv: str, cwd: Path | None = None) -> None:
        batch = ["gpg", "--batch", "--pinentry-mode", "loopback", "--passphrase", ""]
        run(*batch, *argv, cwd=cwd or self.root, home=self.home)

    def _package(self, name: str) -> str:
        made = self.root / "work" / name
        (made / "DEBIAN").mkdir(parents=True)
        depends = f"Depends: {DEPENDS[name]}\n" if name in DEPENDS else ""
        control = (
            f"Package: {name}\nVersion: 1.0-1\nArchitecture: amd64\nMaintainer: nobody\n{depends}"
            "Description: made by a test\n"
        )
        (made / "DEBIAN" / "control").write_text(control)
        file = self.root / "pool" / f"{name}_1.0-1_amd64.deb"
        argv = ["dpkg-deb", "-Znone", "--root-owner-group", "-b", str(made), str(file)]
        run(*argv, cwd=self.root, home=self.home)
        data = file.read_bytes()
        return (
            f"{control}Filename: pool/{file.name}\nSize: {len(data)}\n"
            f"SHA256: {hashlib.sha256(data).hexdigest()}\n\n"
        )

    def _suite(self, suite: str, components: tuple[str, ...], lists: str) -> None:
        top = self.root if suite == "/" else self.root / "dists" / suite
        hashes = ""
        for number, component in enumerate(components or ("",)):
            inside = f"{component}/binary-amd64/Packages" if component else "Packages"
            text = "" if number else lists
            (top / inside).parent.mkdir(parents=True, exist_ok=True)
            (top / inside).write_text(text)
            digest = hashlib.sha256(text.encode()).hexdigest()
            hashes += f" {digest} {len(text)} {inside}\n"
        (top / "Release").write_text(
            f"Suite: {suite}\nCodename: {suite}\nArchitectures: amd64\n"
            f"Components: {' '.join(components)}\n"
            f"Date: Thu, 01 Jan 2026 00:00:00 UTC\nSHA256:\n{hashes}"
        )
        self._gpg("--clearsign", "-o", "InRelease", "Release", cwd=top)


def archives(recipe: Recipe, folder: Path, *, leave_out: str = "") -> Apt:
    """Return the recipe's packages over archives made here: the first has all but the toolkit."""
    assert recipe.apt is not None
    everything = closure(set(recipe.apt.packages)) - {leave_out}
    toolkit = closure({TOOLKIT}) & everything
    sources = []
    for number, source in enumerate(recipe.apt.sources):
        flat = source.suites == ("/",)
        names = toolkit if flat else everything - toolkit if number == 0 else set[str]()
        sources.append(Archive(folder / str(number), source, names).source)
    return recipe.apt.model_copy(update={"sources": tuple(sources)})


@pytest.mark.parametrize("name", ["debian-13", "ubuntu-24.04-nvidia"])
def test_a_recipe_takes_the_whole_closure_from_its_archives(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    apt = archives(recipe, tmp_path)
    found = collect_apt(apt, recipe.machine, tmp_path / "build", BuildShell(tmp_path / "log"))
    assert {c.content.name for c in found} == closure(set(apt.packages))
    if TOOLKIT in apt.packages:
        have = {c.content.name for c in found}
        assert {"nvidia-firmware-580", "linux-image-6.8.0-1-generic"} <= have
        assert "libnvidia-container1" in have


def test_a_driver_that_the_archive_lacks_stops_the_build(tmp_path: Path) -> None:
    recipe = load_recipe("ubuntu-24.04-nvidia")
    missing = "nvidia-firmware-580"
    apt = archives(recipe, tmp_path, leave_out=missing)
    with pytest.raises(CollectFailedError, match=missing):
        collect_apt(apt, recipe.machine, tmp_path / "build", BuildShell(tmp_path / "log"))


def test_sources_in_one_line_for_the_compilers_root() -> None:
    recipe = load_recipe("ubuntu-24.04-nvidia")
    assert recipe.apt is not None
    lines = [line for source in recipe.apt.sources for line in one_line(source)]
    assert len(lines) == 4
    assert lines[0].endswith("http://archive.ubuntu.com/ubuntu noble main restricted universe")
    assert lines[3].endswith("/stable/deb/amd64 /")
    assert all("[signed-by=/usr/share/keyrings/" in line for line in lines)
