"""A home with an installer whose every part a test can reach, and three releases."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path

import pytest

from appliance.audit.memory import MemoryRecorder
from appliance.bundle.install.installer import Installer, Tools
from appliance.bundle.install.preflight import Facts
from appliance.bundle.install.request import Request
from appliance.bundle.install.store import Store
from appliance.bundle.trust import fingerprint
from appliance.core.clock import FixedClock
from appliance.core.home import Home
from tests.unit.bundle.bundle_attacker import LIMITS, NOW, MemoryMedium, World, load

WEIGHTS = random.Random(7).randbytes(21_000)  # noqa: S311 - bytes of no meaning
LIFECYCLE = {
    "activate": [{"kind": "command", "argv": ["activate"]}],
    "state": ["registry/*.json"],
    "migrate": [["migrate"]],
    "health": [["health"]],
}


@dataclass
class FakeRunner:
    """Runs nothing: notes what would run, changes state like a migration, fails on demand."""

    home: Home
    ran: list[str] = field(default_factory=list)
    failing: set[str] = field(default_factory=set)
    proven: Callable[[], bool] = lambda: True

    def run(self, argv: Sequence[str], cwd: Path, log: Path, timeout: float) -> int:
        assert self.proven()
        self.ran.append(argv[0])
        if argv[0] == "migrate":
            state = self.home.root / "registry" / "state.json"
            state.write_text("migrated")
        return int(argv[0] in self.failing)


@dataclass
class FakeProbe:
    free: int = 1 << 40
    jobs: list[str] = field(default_factory=list)
    machine: Facts = field(default_factory=Facts)
    engine_free: int = 1 << 40

    def facts(self) -> Facts:
        return self.machine

    def free_bytes(self, folder: Path) -> int:
        return self.engine_free if folder.parts[:3] == ("/", "var", "lib") else self.free

    def running_jobs(self) -> list[str]:
        return self.jobs


@dataclass
class FakeEngine:
    """Holds images by id; removes them, or says why not."""

    held: set[str] = field(default_factory=set)
    used: set[str] = field(default_factory=set)
    asked: list[dict[str, str]] = field(default_factory=list)

    def remove(self, images: Mapping[str, str]) -> dict[str, str]:
        self.asked.append(dict(images))
        stayed = {k: "in use" for k in images if k in self.used}
        self.held -= images.keys() - stayed.keys()
        return stayed


@dataclass
class FakeUnits:
    """Units that run and come up again, but for those that break."""

    up: list[str] = field(default_factory=list)
    breaking: set[str] = field(default_factory=set)
    why: str | None = None
    restarted: list[list[str]] = field(default_factory=list)
    meanwhile: Callable[[], None] = lambda: None

    def why_not(self) -> str | None:
        return self.why

    def running(self, names: Sequence[str]) -> list[str]:
        return [name for name in names if name in self.up]

    def restart(self, names: Sequence[str]) -> None:
        self.meanwhile()
        self.restarted.append(list(names))
        self.up = [name for name in self.up if name not in self.breaking]


class Bench:
    """A home with an installer whose every part a test can reach."""

    def __init__(self, home: Home, world: World) -> None:
        self.home, self.world = home, world
        self.recorder = MemoryRecorder()
        self.clock = FixedClock(NOW)
        self.probe = FakeProbe()
        self.runner = FakeRunner(home)
        self.engine = FakeEngine()
        self.units = FakeUnits()
        self.hook: Callable[[str], None] = lambda _step: None
        self.limits = LIMITS
        (home.root / "registry").mkdir(exist_ok=True)
        self.state = home.root / "registry" / "state.json"
        self.state.write_text("original")

    def installer(self) -> Installer:
        tools = Tools(
            *(self.recorder, self.clock, self.probe, self.runner, self.engine, self.units),
            hook=self.hook,
        )
        return Installer(self.home, self.limits, tools)

    def install(self, medium: MemoryMedium, kind: str = "install", **more: object) -> str:
        asked = Request(fingerprint(self.world.roots[0]), date(2026, 6, 1))
        asked = replace(asked, **more)  # type: ignore[arg-type] # a test names the field
        return str(self.installer().install(medium, asked, kind)["version"])

    def current(self) -> str | None:
        version = Store(self.home).current()
        return version.id if version else None


@pytest.fixture(name="bench")
def bench_fixture(home: Home, world: World) -> Bench:
    return Bench(home, world)


def agent(version: int) -> bytes:
    noise = random.Random(version)  # noqa: S311 - bytes of no meaning
    return b"agent %d " % version + noise.randbytes(9000)


@pytest.fixture(scope="session", name="releases")
def releases_fixture(
    world: World, tmp_path_factory: pytest.TempPathFactory
) -> list[dict[str, bytes]]:
    where = tmp_path_factory.mktemp("releases")
    made = []
    for version in (1, 2, 3):
        files = {"wheels/a.whl": agent(version), "models/m.gguf": WEIGHTS}
        world.folder(where / str(version), version, files, lifecycle=LIFECYCLE)
        made.append(load(where / str(version)).files)
    return made


def medium_of(files: dict[str, bytes]) -> MemoryMedium:
    return MemoryMedium(dict(files))


def content(bench: Bench, version: str) -> dict[str, bytes]:
    folder = bench.home.root / "bundle" / "versions" / version / "content"
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }
