"""Debian and Ubuntu packages with their closure, resolved by apt for the target release.

apt runs over a root of its own: its sources, keyrings and an *empty* list of installed packages.
So the closure goes down to the C library and never depends on what the build machine happens to
have (apt-offline #134, #107: closures that miss packages).
"""

from __future__ import annotations

import re
from pathlib import Path

from appliance.bundle.collect.common import Collected, Shell
from appliance.bundle.collect.licences import deb_licence
from appliance.bundle.model import Content, Machine
from appliance.bundle.recipe import Apt, AptSource
from appliance.core.durable import os_errors, write_bytes
from appliance.core.errors import CollectFailedError

_SHOWN = "${Package}\\n${Version}\\n${Architecture}\\n${source:Package}@${source:Version}"
_FOLDERS = (
    "etc/apt/apt.conf.d",
    "etc/apt/preferences.d",
    "etc/apt/sources.list.d",
    "etc/apt/trusted.gpg.d",
    "var/lib/apt/lists/partial",
    "var/cache/apt/archives/partial",
    "var/cache/none/partial",
    "var/lib/dpkg",
)


def prepare_root(root: Path, apt: Apt) -> Path:
    """Write apt's own root; archives of an earlier build stay, apt checks their hashes."""
    with os_errors(root):
        for folder in _FOLDERS:
            (root / folder).mkdir(parents=True, exist_ok=True)
    sources = "\n".join(_stanza(s) for s in apt.sources)
    write_bytes(root / "etc/apt/sources.list.d/bundle.sources", sources.encode(), mode=0o644)
    write_bytes(root / "etc/apt/sources.list", b"", mode=0o644)
    write_bytes(root / "var/lib/dpkg/status", b"", mode=0o644)
    return root


def _stanza(source: AptSource) -> str:
    lines = ["Types: deb", f"URIs: {source.uri}", f"Suites: {' '.join(source.suites)}"]
    if source.components:
        lines.append(f"Components: {' '.join(source.components)}")
    return "\n".join([*lines, f"Signed-By: {source.keyring}", ""])


def one_line(source: AptSource) -> list[str]:
    """Return the source in the form of one line a suite."""
    parts = " ".join(source.components)
    return [
        f"deb [signed-by={source.keyring}] {source.uri} {suite} {parts}".rstrip()
        for suite in source.suites
    ]


def configure(root: Path, machine: Machine, *, snapshot: bool) -> Path:
    """Write apt's configuration.

    Named by APT_CONFIG it is read *before* any folder of parts, so the build machine's pinning,
    hooks and sources are not read at all.
    """
    values = {
        "Dir": str(root),
        "Dir::State::status": str(root / "var/lib/dpkg/status"),
        "APT::Architecture": machine.architecture,
        "APT::Architectures": machine.architecture,
        "APT::Get::AllowUnauthenticated": "false",
        "APT::Sandbox::User": "root",
        "Acquire::AllowInsecureRepositories": "false",
        "Acquire::Languages": "none",
        "Debug::NoLocking": "true",
    }
    if snapshot:
        # A dated snapshot's Release file is past its date; its signature is still checked.
        values |= {"Acquire::Check-Valid-Until": "false", "Acquire::Check-Date": "false"}
    path = root / "apt.conf"
    write_bytes(path, "".join(f'{k} "{v}";\n' for k, v in values.items()).encode(), mode=0o644)
    return path


def collect_apt(
    apt: Apt, machine: Machine, work: Path, shell: Shell, *, snapshot: bool = False
) -> list[Collected]:
    """Download the closure and return one entry a package."""
    root = prepare_root(work / f"apt-{machine.distribution}-{machine.release}", apt)
    for source in apt.sources:
        if not Path(source.keyring).is_file():
            raise CollectFailedError(
                expected=f"the archive keyring {source.keyring}",
                found="no such file",
                remedy="Install the keyring package of that distribution on the build machine.",
            )
    config = configure(root, machine, snapshot=snapshot)
    environment = {"APT_CONFIG": str(config), "DEBIAN_FRONTEND": "noninteractive"}
    shell.run(["apt-get", "-q", "update", "--error-on=any"], root, environment)
    recommends = "--install-recommends" if apt.recommends else "--no-install-recommends"
    ask = ["apt-get", "-q", "-y", recommends]
    # Asked over an empty cache: apt names only what it would still download.
    nothing = ["-o", f"Dir::Cache::archives={root / 'var/cache/none'}"]
    planned = shell.run(
        [*ask, *nothing, "--print-uris", "install", *apt.packages], root, environment
    )
    shell.run([*ask, "--download-only", "install", *apt.packages], root, environment)
    names = planned_files(planned)
    archives = root / "var/cache/apt/archives"
    return [_entry(archives / name, machine, shell) for name in sorted(names)]


def planned_files(printed: str) -> list[str]:
    """Return the file names of ``apt-get --print-uris``: 'uri' name size hash."""
    found = re.findall(r"^'[^']+' (\S+\.deb) \d+ \S*$", printed, re.MULTILINE)
    if not found:
        raise CollectFailedError(expected="a list of packages from apt", found="none")
    return found


def deb_purl(distribution: str, release: str, package: tuple[str, str, str], source: str) -> str:
    """Return the package URL; ``upstream`` names the source, by which advisories go."""
    name, version, architecture = package
    place = f"pkg:deb/{distribution}/{name}@{version}?arch={architecture}&distro={release}"
    return f"{place}&upstream={source.replace('@', '%40')}".replace("+", "%2B")


def _entry(path: Path, machine: Machine, shell: Shell) -> Collected:
    if not path.is_file():
        raise CollectFailedError(expected=f"{path.name} downloaded", found="no such file")
    shown = shell.run(
        ["dpkg-deb", "-W", f"--showformat={_SHOWN}", str(path)],
        path.parent,
        {},
    )
    name, version, architecture, source = shown.split("\n")[:4]
    release = f"{machine.distribution}-{machine.release}"
    content = Content(
        path=f"debs/{name}_{version.replace(':', '=')}_{architecture}.deb",
        kind="package",
        name=name,
        version=version,
        purl=deb_purl(machine.distribution, release, (name, version, architecture), source),
        licence=deb_licence(path, name),
        source=source,
    )
    return Collected(content, path)
