"""The supplier and a good medium, made once."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.unit.bundle.bundle_attacker import MemoryMedium, World, load
from tests.unit.bundle.install_bench import bench_fixture, releases_fixture

__all__ = ["bench_fixture", "releases_fixture"]


@pytest.fixture(scope="session")
def world() -> World:
    return World()


@pytest.fixture(scope="session")
def pristine(world: World, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], MemoryMedium]:
    """Return a maker of fresh copies of one good medium."""
    where = tmp_path_factory.mktemp("medium")
    world.folder(where)
    files = load(where).files
    return lambda: MemoryMedium(dict(files))


@pytest.fixture
def medium(pristine: Callable[[], MemoryMedium]) -> MemoryMedium:
    return pristine()
