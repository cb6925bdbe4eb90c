"""The closure of Debian packages, by the real apt over a small signed archive made here."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest

from appliance.bundle.collect.apt import collect_apt
from appliance.bundle.collect.common import BuildShell
from appliance.bundle.model import Machine
from appliance.bundle.recipe import Apt
from appliance.core.errors import CollectFailedError

PACKAGES = {
    "toy-agent": "Depends: toy-engine (>= 1), toy-libc\nRecommends: toy-extra\n",
    "toy-engine": "Depends: toy-libc\n",
    "toy-libc": "",
    "toy-extra": "",
    "toy-unrelated": "",
}
COPYRIGHT = "Files: *\nLicense: MIT\n"
MACHINE = Machine(distribution="debian", release="12")


def run(*argv: str, cwd: Path, home: Path) -> bytes:
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "GNUPGHOME": str(home)}
    return subprocess.run(argv, cwd=cwd, env=environment, check=True, capture_output=True).stdout


def package(name: str, fields: str, pool: Path, work: Path) -> str:
    root = work / name
    (root / "DEBIAN").mkdir(parents=True)
    (root / "usr/share/doc" / name).mkdir(parents=True)
    (root / "usr/share/doc" / name / "copyright").write_text(COPYRIGHT)
    control = (
        f"Package: {name}\nVersion: 1:1.0+b1\nArchitecture: all\nMaintainer: nobody\n{fields}"
        f"Description: made by a test\n"
    )
    (root / "DEBIAN" / "control").write_text(control)
    file = pool / f"{name}_1.0+b1_all.deb"
    run("dpkg-deb", "--root-owner-group", "-b", str(root), str(file), cwd=work, home=work)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    more = f"Filename: pool/{file.name}\nSize: {file.stat().st_size}\nSHA256: {digest}\n"
    return control + more + "\n"


@pytest.fixture
def archive(tmp_path: Path) -> Apt:
    """Return the source of an archive with five packages, signed by a key of its own."""
    work, root, home = tmp_path / "w", tmp_path / "archive", tmp_path / "gpg"
    home.mkdir(mode=0o700)
    (root / "pool").mkdir(parents=True)
    lists = "".join(package(n, f, root / "pool", work) for n, f in PACKAGES.items())
    where = root / "dists" / "stable" / "main" / "binary-amd64"
    where.mkdir(parents=True)
    (where / "Packages").write_text(lists)
    digest = hashlib.sha256(lists.encode()).hexdigest()
    (root / "dists" / "stable" / "Release").write_text(
        "Origin: test\nSuite: stable\nCodename: stable\nArchitectures: amd64\nComponents: main\n"
        "Date: Thu, 01 Jan 2026 00:00:00 UTC\n"
        f"SHA256:\n {digest} {len(lists)} main/binary-amd64/Packages\n"
    )
    batch = ["gpg", "--batch", "--pinentry-mode", "loopback", "--passphrase", ""]
    run(*batch, "--quick-gen-key", "test@example.invalid", "ed25519", cwd=root, home=home)
    keyring = tmp_path / "archive.gpg"
    run(*batch, "--output", str(keyring), "--export", cwd=root, home=home)
    suite = root / "dists" / "stable"
    run(*batch, "--clearsign", "-o", "InRelease", "Release", cwd=suite, home=home)
    run("gpgconf", "--kill", "all", cwd=root, home=home)
    source = {"uri": f"copy:{root}", "suites": ["stable"], "keyring": str(keyring)}
    return Apt.model_validate({"sources": [source], "packages": ["toy-agent"]})


def test_the_whole_closure_and_nothing_else(archive: Apt, tmp_path: Path) -> None:
    shell = BuildShell(tmp_path / "log")
    found = collect_apt(archive, MACHINE, tmp_path / "build", shell)
    assert [c.content.name for c in found] == ["toy-agent", "toy-engine", "toy-libc"]
    first = found[0].content
    assert first.path == "debs/toy-agent_1=1.0+b1_all.deb"
    assert first.licence == "MIT"
    assert first.source == "toy-agent@1:1.0+b1"
    place = "pkg:deb/debian/toy-agent@1:1.0%2Bb1?arch=all&distro=debian-12"
    assert first.purl == f"{place}&upstream=toy-agent%401:1.0%2Bb1"
    more = archive.model_copy(update={"recommends": True})
    again = collect_apt(more, MACHINE, tmp_path / "build", shell)
    assert [c.content.name for c in again][1:3] == ["toy-engine", "toy-extra"]


def test_an_archive_signed_by_another_key_is_refused(archive: Apt, tmp_path: Path) -> None:
    keyring = Path(archive.sources[0].keyring)
    release = keyring.parent / "archive" / "dists" / "stable" / "InRelease"
    release.write_text(release.read_text().replace("Origin: test", "Origin: evil"))
    with pytest.raises(CollectFailedError):
        collect_apt(archive, MACHINE, tmp_path / "build", BuildShell(tmp_path / "log"))


def test_a_package_that_is_not_there(archive: Apt, tmp_path: Path) -> None:
    wrong = archive.model_copy(update={"packages": ("no-such-package",)})
    with pytest.raises(CollectFailedError, match="no-such-package"):
        collect_apt(wrong, MACHINE, tmp_path / "build", BuildShell(tmp_path / "log"))
