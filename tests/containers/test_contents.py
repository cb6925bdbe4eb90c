"""What is in the images, and what is not: read from the archives, then seen from inside."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from typing import Any

import pytest
from docker import DockerClient

from appliance.bundle.images import engine
from appliance.bundle.images.proof import prove_file
from appliance.bundle.images.recipe import load_image
from tests.containers.container_support import CACHE, RECIPES, archive

pytestmark = pytest.mark.containers
NAMES = ["base", "gateway", "console", "inference"]
SHELLS = {"sh", "bash", "dash", "busybox", "apt", "apt-get", "dpkg", "pip", "pip3", "perl"}


def members(description: dict[str, Any]) -> Iterator[tarfile.TarInfo]:
    for layer in description["layers"]:
        with tarfile.open(CACHE / "layers" / layer["digest"]) as tar:
            yield from tar


@pytest.mark.parametrize("name", NAMES)
def test_no_setuid_no_shell_no_device_no_weights(
    built: dict[str, dict[str, Any]], name: str
) -> None:
    found = list(members(built[name]))
    assert len(found) > 500
    assert not [m.name for m in found if m.mode & 0o6000]
    assert not [m.name for m in found if not (m.isreg() or m.isdir() or m.issym())]
    assert not [m.name for m in found if "/bin/" in m.name and m.name.rpartition("/")[2] in SHELLS]
    assert not [m.name for m in found if m.name.endswith((".gguf", ".safetensors", ".pth"))]
    assert not [m.name for m in found if m.isreg() and m.mode & 0o002]
    # The links that stand for the merged /usr are never covered by a folder.
    assert not [m.name for m in found if m.isdir() and m.name in {"bin", "lib", "lib64", "sbin"}]


@pytest.mark.parametrize("name", NAMES)
def test_the_archive_is_proven_and_the_engine_has_the_same_image(
    docker: DockerClient, loaded: dict[str, str], built: dict[str, dict[str, Any]], name: str
) -> None:
    proven = prove_file(archive(name))
    assert proven.image_id == built[name]["image_id"] == docker.images.get(loaded[name]).id
    assert proven.labels["org.opencontainers.image.title"] == f"appliance-{name}"
    config = docker.images.get(loaded[name]).attrs["Config"]
    user, _, group = config["User"].partition(":")
    assert int(user) >= 1000 and int(group) >= 1000
    assert bool(config.get("Healthcheck")) == (name != "base")


@pytest.mark.parametrize("name", NAMES)
def test_sizes_stay_within_their_limits(
    docker: DockerClient,
    loaded: dict[str, str],
    built: dict[str, dict[str, Any]],
    name: str,
    record_property: Any,
) -> None:
    limit = load_image(RECIPES, name).size_limit_mb
    assert limit is not None
    known = engine.describe(docker, loaded[name])["bytes"]
    record_property("bytes", known)
    assert 0 < known <= limit * 1_000_000
    assert built[name]["bytes_unpacked"] <= limit * 1_000_000


def test_the_limits_are_those_promised() -> None:
    assert load_image(RECIPES, "inference").size_limit_mb == 250
    assert load_image(RECIPES, "gateway").size_limit_mb == 400


def test_every_module_of_the_system_python_has_its_libraries(run_hardened: Any) -> None:
    text = (
        "import importlib, os\n"
        "folder = '/usr/lib/python3.11/lib-dynload'\n"
        "names = sorted(n.split('.')[0] for n in os.listdir(folder) if n.endswith('.so'))\n"
        "[importlib.import_module(n) for n in names]\n"
        "print(len(names))"
    )
    code, output = run_hardened(text)
    assert code == 0 and int(output) > 20, output


@pytest.mark.parametrize("name", ["gateway", "inference"])
def test_modules_come_compiled_so_a_read_only_start_compiles_nothing(
    run_hardened: Any, loaded: dict[str, str], name: str
) -> None:
    text = (
        "import json, os, sys\n"
        "import appliance.core.settings, numpy, pydantic, httpx\n"
        "files = {m.__file__: m.__cached__ for m in list(sys.modules.values())\n"
        "         if getattr(m, '__cached__', None) and m.__file__.endswith('.py')}\n"
        "print(json.dumps([f for f, c in files.items() if not os.path.exists(c)]\n"
        "                 if len(files) > 200 else len(files)))"
    )
    code, output = run_hardened(
        text, image=loaded[name], entrypoint=["/usr/bin/python3"], healthcheck={"test": ["NONE"]}
    )
    assert code == 0 and json.loads(output) == [], output


def test_packages_and_wheels_are_named_for_the_sbom(built: dict[str, dict[str, Any]]) -> None:
    gateway = built["gateway"]
    assert {"libc6", "libssl3", "python3.11-minimal"} <= {d["name"] for d in gateway["debian"]}
    assert {"fastapi", "uvicorn", "cryptography"} <= {w["name"] for w in gateway["wheels"]}
    assert all(len(entry["sha256"]) == 64 for entry in gateway["debian"] + gateway["wheels"])
