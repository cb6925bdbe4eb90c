"""The training stage in a container: what the runner, the entry point and the engine make of it.

The image here is the gateway's with the trainer's entry point and a stage that counts
(``toy_worker.py``): the protocol, the confinement, stop, death and refusal are proven. That
torch and unsloth work in the real trainer image is proven by hand (docs/it/images.md).
"""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from docker import DockerClient
from docker.models.containers import Container

from appliance.bundle.images import services
from appliance.bundle.images.services import Plan
from appliance.core.errors import (
    ImageRefusedError,
    InterruptedRunError,
    ToolFailedError,
    ToolMissingError,
)
from appliance.core.progress import NoProgress
from appliance.core.settings.training import TrainingSettings
from appliance.training.container import VERSION, container_name
from appliance.training.processes import Running
from appliance.training.runner import run_stage, starter
from appliance.training.worker.protocol import CANCEL_FILE
from tests.containers.container_support import ROOT

pytestmark = pytest.mark.containers
PROGRAM = """
import json, sys
from pathlib import Path
from appliance.core.progress import NoProgress
from appliance.core.settings.training import TrainingSettings
from appliance.training.processes import Running
from appliance.training.runner import run_stage, starter
settings = TrainingSettings(**json.loads(sys.argv[3]))
run_stage(Path(sys.argv[1]), json.loads(sys.argv[2]), starter(settings), settings, NoProgress())
"""


class Steps(NoProgress):
    """Calls back at each step."""

    def __init__(self, then: Callable[[], object] = lambda: None) -> None:
        self.seen = 0
        self.then = then

    def update(self, done: float, total: float | None = None, note: str = "") -> None:
        self.seen = int(done)
        self.then()


def commit(docker: DockerClient, image: str, tag: str, **changes: Any) -> str:
    """Return the id of ``image`` with the toy worker as its entry point."""
    source = (Path(__file__).parent / "toy_worker.py").read_bytes()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        member = tarfile.TarInfo("usr/lib/appliance/toy_worker.py")
        member.size, member.mode = len(source), 0o644
        archive.addfile(member, io.BytesIO(source))
    container = docker.containers.create(image)
    try:
        container.put_archive("/", buffer.getvalue())
        entry = ["/usr/bin/python3", "/usr/lib/appliance/toy_worker.py"]
        conf = {"Entrypoint": entry, "Cmd": [], "Healthcheck": {"Test": ["NONE"]}} | changes
        made = container.commit(repository="apptest-trainer", tag=tag, conf=conf)
    finally:
        container.remove(force=True)
    return str(made.id)


@pytest.fixture(scope="module")
def image(docker: DockerClient, loaded: dict[str, str]) -> Iterator[str]:
    """The image with the toy worker."""
    yield commit(docker, loaded["gateway"], "toy")
    docker.images.remove("apptest-trainer:toy", force=True)


@pytest.fixture
def place(tmp_path: Path) -> tuple[Path, Path]:
    """A run folder and the base it reads."""
    run, base = tmp_path / "runs" / "base-1", tmp_path / "base"
    run.mkdir(parents=True)
    base.mkdir()
    (base / "weights").write_text("these", encoding="ascii")
    (tmp_path / "runs" / "other-2").mkdir()
    return run, base


def settings_of(image: str, **changes: Any) -> TrainingSettings:
    seccomp = ROOT / "security" / "seccomp" / "appliance.json"
    fields = {"runner": "container", "image": image, "seccomp": seccomp, "stop_seconds": 20}
    return TrainingSettings(**fields | {"memory_mb": 256, "pids": 64} | changes)


def job_of(base: Path, steps: int, seconds: float = 0.01, **more: int) -> dict[str, Any]:
    part = {"steps": steps, "seconds": seconds, **more}
    return {"stage": "base", "seed": 7, "threads": 0, "base": str(base), "part": part}


def drive(
    place: tuple[Path, Path], settings: TrainingSettings, steps: Steps, count: int, **more: Any
) -> dict[str, Any]:
    run, base = place
    return run_stage(run, job_of(base, count, **more), starter(settings), settings, steps)


def gone(docker: DockerClient, run: Path, seconds: float = 30) -> bool:
    """Say whether no process of the run's container is left (in time)."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        filters: dict[str, str | list[str] | bool] = {
            "name": container_name(run),
            "status": "running",
        }
        if not docker.containers.list(filters=filters):
            return True
        time.sleep(0.1)
    return False


def test_a_stage_runs_confined_and_its_steps_are_seen(
    docker: DockerClient, image: str, place: tuple[Path, Path]
) -> None:
    steps = Steps()
    result = drive(place, settings_of(image), steps, 5)
    assert (steps.seen, result["began"], result["steps"]) == (5, 0, 5)
    around = result["around"]
    assert around["uid"] == 10001 and around["capabilities"] == 0
    assert around["no_new_privileges"] and around["seccomp"]
    assert around["interfaces"] == ["lo"]
    assert around["root_read_only"] and around["base_read_only"] and around["base"] == "these"
    assert around["others"] == [place[0].name]  # no other run's samples
    assert not {"HF_TOKEN", "HTTPS_PROXY", "PATH_INFO"} & set(around["environment"])
    assert not docker.containers.list(all=True, filters={"name": container_name(place[0])})


def test_a_cancelled_stage_keeps_its_checkpoint_and_goes_on(
    image: str, place: tuple[Path, Path]
) -> None:
    ask = Steps((place[0] / CANCEL_FILE).touch)
    with pytest.raises(InterruptedRunError):
        drive(place, settings_of(image), ask, 200, seconds=0.05)
    began = int((place[0] / "checkpoint").read_text())
    assert 0 < began < 200
    assert drive(place, settings_of(image), Steps(), began + 1)["began"] == began


def test_docker_stop_is_a_cancel(
    docker: DockerClient, image: str, place: tuple[Path, Path]
) -> None:
    stopping = threading.Thread(
        target=lambda: docker.containers.get(container_name(place[0])).stop(timeout=60)
    )
    steps = Steps(lambda: stopping.start() if stopping.ident is None else None)
    with pytest.raises(InterruptedRunError):
        drive(place, settings_of(image), steps, 2_000, seconds=0.05)
    stopping.join()
    assert int((place[0] / "checkpoint").read_text()) < 2_000


def test_a_killed_agent_leaves_no_container_and_the_next_run_goes_on(
    docker: DockerClient, image: str, place: tuple[Path, Path]
) -> None:
    run, base = place
    settings = settings_of(image)
    arguments = [str(run), json.dumps(job_of(base, 2_000, 0.05)), settings.model_dump_json()]
    agent = subprocess.Popen([sys.executable, "-c", PROGRAM, *arguments], cwd=ROOT)
    while not (run / "checkpoint").is_file():
        assert agent.poll() is None
        time.sleep(0.05)
    os.kill(agent.pid, signal.SIGKILL)
    agent.wait()
    assert gone(docker, run)
    began = int((run / "checkpoint").read_text())
    assert drive(place, settings, Steps(), began + 1)["began"] == began


def test_more_memory_than_allowed_ends_the_stage(image: str, place: tuple[Path, Path]) -> None:
    with pytest.raises(ToolFailedError, match="want of memory"):
        drive(place, settings_of(image), Steps(), 3, bytes=400 << 20)


@pytest.fixture
def trainer(
    docker: DockerClient, image: str, plan: Plan, place: tuple[Path, Path], tmp_path: Path
) -> Iterator[Container]:
    """The compose file's trainer service with the toy worker, started; the state is ``plan``'s."""
    options = services.container_options(plan, "trainer")
    runs = tmp_path / "runs"
    for path in (tmp_path, runs, *runs.iterdir()):
        os.chown(path, 10001, 10000)
    options |= {"image": image, "network_mode": "none", "mem_limit": "256m"}
    options |= {"command": ["--serve", str(runs)], "working_dir": "/"}
    options |= {"volumes": [f"{runs}:{runs}", f"{place[1]}:{place[1]}:ro"]}
    container = docker.containers.create(**options)
    container.start()
    yield container
    container.remove(force=True)


def offer(place: tuple[Path, Path], steps: Steps, count: int, **more: Any) -> dict[str, Any]:
    """Run a stage in the service; what root's agent makes there belongs to the service's user."""
    run, base = place
    settings = TrainingSettings(runner="attached", stop_seconds=20, stall_seconds=60)
    begin = starter(settings)

    def start(folder: Path, job: dict[str, Any]) -> Running:
        running = begin(folder, job)
        for path in folder.rglob("*"):
            os.chown(path, 10001, 10000)
        return running

    return run_stage(run, job_of(base, count, **more), start, settings, steps)


def test_the_trainer_service_takes_up_one_run_after_another(
    trainer: Container, place: tuple[Path, Path]
) -> None:
    steps = Steps()
    assert offer(place, steps, 4)["around"]["interfaces"] == ["lo"]
    assert steps.seen == 4
    other = place[0].parent / "other-2"
    assert offer((other, place[1]), Steps(), 3)["began"] == 0
    ask = Steps((other / CANCEL_FILE).touch)
    (other / "result.json").unlink()
    with pytest.raises(InterruptedRunError):
        offer((other, place[1]), ask, 200, seconds=0.05)
    began = int((other / "checkpoint").read_text())
    assert offer((other, place[1]), Steps(), began + 1)["began"] == began
    trainer.reload()
    assert trainer.status == "running"


def test_an_agent_that_lets_go_ends_the_worker_and_not_the_service(
    trainer: Container, place: tuple[Path, Path]
) -> None:
    class LeaveError(Exception):
        pass

    def leave() -> None:
        raise LeaveError

    with pytest.raises(LeaveError):
        offer(place, Steps(leave), 2_000, seconds=0.05)
    began = int((place[0] / "checkpoint").read_text())
    assert began < 2_000
    assert offer(place, Steps(), began + 1)["began"] == began
    assert trainer.logs() == b""


def test_stopping_the_service_keeps_a_checkpoint(
    trainer: Container, place: tuple[Path, Path]
) -> None:
    stopping = threading.Thread(target=lambda: trainer.stop(timeout=60))
    steps = Steps(lambda: stopping.start() if stopping.ident is None else None)
    with pytest.raises(InterruptedRunError):
        offer(place, steps, 2_000, seconds=0.05)
    stopping.join()
    trainer.reload()
    assert trainer.attrs["State"]["ExitCode"] == 0


def test_without_the_service_the_run_says_so(place: tuple[Path, Path]) -> None:
    settings = TrainingSettings(runner="attached", stop_seconds=1, stall_seconds=10)
    run, base = place
    with pytest.raises(ToolMissingError, match="trainer service"):
        run_stage(run, job_of(base, 1), starter(settings), settings, Steps())


def test_only_the_image_that_was_named_runs(
    docker: DockerClient, image: str, loaded: dict[str, str]
) -> None:
    for named in ("", "apptest-trainer:toy", "sha256:" + "0" * 64):
        with pytest.raises(ImageRefusedError):
            starter(settings_of(named))
    older = commit(docker, loaded["gateway"], "older", Labels={VERSION: "0.0.1"})
    try:
        with pytest.raises(ImageRefusedError, match=r"0\.0\.1"):
            starter(settings_of(older))
    finally:
        docker.images.remove("apptest-trainer:older", force=True)
    starter(settings_of(image))
