"""Images of removed versions leave the real engine; nothing else does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from docker import DockerClient
from docker.errors import ImageNotFound

from appliance.bundle.images import engine
from appliance.bundle.install.leftovers import DockerEngine
from tests.unit.bundle.images.memory_engine import small_archive

pytestmark = pytest.mark.containers
NAME = "apptest-pruned:1"


@pytest.fixture
def images(docker: DockerClient, tmp_path: Path) -> Iterator[SimpleNamespace]:
    """Two images that had the same name one after the other, and a third of somebody else."""
    found = SimpleNamespace()
    for key, name in (("old", NAME), ("new", NAME), ("foreign", "apptest-foreign:1")):
        path = tmp_path / f"{key}.oci.tar"
        setattr(found, key, small_archive(path, name, key.encode()))
        assert engine.bring(docker, path) == getattr(found, key)
        setattr(found, f"{key}_archive", path)
    yield found
    for image_id in (found.old, found.new, found.foreign):
        if there(docker, image_id):
            docker.images.remove(image_id, force=True)


def there(docker: DockerClient, image: str) -> bool:
    try:
        docker.images.get(image)
    except ImageNotFound:
        return False
    return True


def test_an_image_whose_name_went_on_goes_by_its_id(
    docker: DockerClient, images: SimpleNamespace
) -> None:
    """Two versions bring the same name: the older image has none left."""
    assert DockerEngine(docker).remove({images.old: NAME}) == {}
    assert not there(docker, images.old)
    assert docker.images.get(NAME).id == images.new
    assert there(docker, images.foreign)


def test_an_image_goes_with_its_name_and_twice_is_no_fault(
    docker: DockerClient, images: SimpleNamespace
) -> None:
    for _ in range(2):
        assert DockerEngine(docker).remove({images.new: NAME}) == {}
    assert not there(docker, images.new) and not there(docker, NAME)
    assert there(docker, images.old) and there(docker, images.foreign)


def test_a_name_that_somebody_else_gave_keeps_the_image(
    docker: DockerClient, images: SimpleNamespace
) -> None:
    docker.images.get(images.new).tag("apptest-kept", "by-hand")
    assert DockerEngine(docker).remove({images.new: NAME}) == {}
    assert docker.images.get("apptest-kept:by-hand").id == images.new
    assert not there(docker, NAME)
    assert DockerEngine(docker).remove({images.new: NAME}) == {}
    assert there(docker, "apptest-kept:by-hand")


def test_an_image_that_a_container_uses_stays_with_the_reason(
    docker: DockerClient, images: SimpleNamespace
) -> None:
    container = docker.containers.create(images.new, ["/usr/bin/program"])
    try:
        stayed = DockerEngine(docker).remove({images.new: NAME, images.old: NAME})
        assert list(stayed) == [images.new] and "container" in stayed[images.new]
        assert there(docker, NAME) and not there(docker, images.old)
    finally:
        container.remove(force=True)
    assert DockerEngine(docker).remove({images.new: NAME}) == {}


def test_an_image_the_engine_has_is_not_loaded_again_and_a_lost_one_is(
    docker: DockerClient, images: SimpleNamespace
) -> None:
    assert engine.bring(docker, images.new_archive) == images.new
    docker.images.remove(images.new)
    assert engine.bring(docker, images.new_archive) == images.new
    assert there(docker, NAME)


def test_without_an_engine_everything_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    found = DockerEngine().remove({"sha256:" + "0" * 64: NAME})
    assert list(found.values()) == ["DockerException"]
