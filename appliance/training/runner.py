"""Run one stage in the trainer environment: start, watch, resume, stop.

A stage's folder is named by the hash of its inputs. It holds the job, the checkpoints, the
metrics and, at the end, ``result.json``, written last. Whatever kills agent or trainer, the same
call goes on from the last whole checkpoint.
"""

from __future__ import annotations

import json
import os
import selectors
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from appliance.core.durable import exclusive, os_errors, read_json, write_json
from appliance.core.errors import (
    ApplianceError,
    DiskFullError,
    InterruptedRunError,
    SampleTooLongError,
    ToolFailedError,
    ToolMissingError,
    TrainingDivergedError,
    WeightsRefusedError,
)
from appliance.core.progress import Progress
from appliance.core.settings.training import TrainingSettings
from appliance.training.environment import (
    child_environment,
    find_trainer,
    link_code,
    make_cache,
)
from appliance.training.processes import Attached, Child, Running
from appliance.training.worker import protocol

READ_BYTES = 65_536
POLL_SECONDS = 1.0  # how often a cancelled or silent trainer is noticed
FULL_BYTES = 64 << 20  # less than this left, and a trainer that failed, failed for want of space
PID_FILE = "pid"
LOCK_FILE = "lock"
Start = Callable[[Path, dict[str, Any]], Running]


def run_stage(
    run: Path,
    job: dict[str, Any],
    start: Start,
    settings: TrainingSettings,
    progress: Progress,
) -> dict[str, Any]:
    """Run the stage ``job`` in ``run``, or return the result it already has.

    Raises:
        BusyError: another process runs this stage now.
        InterruptedRunError: cancelled, with a checkpoint written.
        SampleTooLongError, TrainingDivergedError, ToolFailedError: what their names say.
    """
    with exclusive(run / LOCK_FILE, what="run of this training stage"):
        if (run / protocol.RESULT_FILE).is_file():
            return _result(run)
        with os_errors(run):
            (run / protocol.CANCEL_FILE).unlink(missing_ok=True)
            shutil.rmtree(run / protocol.OUTPUT_FOLDER, ignore_errors=True)
        write_json(run / protocol.JOB_FILE, job)
        convert = job["stage"] == "convert"  # a script that says nothing while it works
        silence = settings.converter_seconds if convert else settings.stall_seconds
        _drive(run, start(run, job), settings, progress, silence)
        return _result(run)


def starter(settings: TrainingSettings) -> Start:
    """Return how a worker is started here: as a child, or in a container.

    Raises:
        ToolMissingError, ImageRefusedError: what it would run in is not there, or is another.
    """
    if settings.runner == "container":
        return _in_container(settings)
    if settings.runner == "attached":
        return _offered
    trainer = find_trainer(settings)

    def child(run: Path, job: dict[str, Any]) -> Running:
        with os_errors(run):
            link_code(run)
        environment = child_environment(run, settings, job["seed"], os.environ)
        return Child(run, trainer.python, environment)

    return child


def _offered(run: Path, job: dict[str, Any]) -> Running:
    home = str(run.parents[protocol.HOME_DEPTH])
    write_json(run / protocol.JOB_FILE, job | {protocol.HOME: home})
    return Attached(run)


def _in_container(settings: TrainingSettings) -> Start:
    from appliance.training.container import Box, Contained, connect

    client = connect(settings)

    def contained(run: Path, job: dict[str, Any]) -> Running:
        with os_errors(run):
            make_cache(run)
        weights = [Path(job[name]) for name in ("base", "adapter") if job.get(name)]
        box = Box(run, readable=weights, seed=job["seed"])
        return Contained(client, box, settings)

    return contained


def _result(run: Path) -> dict[str, Any]:
    result: dict[str, Any] = read_json(run / protocol.RESULT_FILE)
    return result


def _drive(
    run: Path, running: Running, settings: TrainingSettings, progress: Progress, silence: int
) -> None:
    stopped: dict[str, Any] = {}
    messages, left = 0, True
    try:
        write_json(run / PID_FILE, running.describe())
        for message in _messages(running, run, settings, silence):
            messages += 1
            if message["kind"] == "step":
                progress.update(message["step"], message["total"], _note(message))
            elif message["kind"] == "stopped":
                stopped = message
        left = False
    finally:
        if left:  # the agent itself is leaving
            running.kill()
        code = running.wait(settings.stop_seconds)
        running.close()
        progress.close()
        (run / PID_FILE).unlink(missing_ok=True)
    if not messages and settings.runner == "attached" and code == -signal.SIGKILL:
        raise ToolMissingError(
            expected=f"the trainer service to take {run.name} up",
            found="nobody",
            remedy="Start it: sudo systemctl restart appliance-trainer (it says why in journalctl "
            "-u appliance-trainer). Then the same command again.",
        )
    if code != protocol.EXIT_FINE:
        raise failure(code, stopped, run)
    _require_plain(run / protocol.OUTPUT_FOLDER)


def _require_plain(output: Path) -> None:
    """Refuse links in what the trainer wrote: the copy into the registry would follow them."""
    for path in (output, *output.rglob("*")):
        if path.is_symlink() or not (path.is_dir() or path.is_file() or not path.exists()):
            raise ToolFailedError(
                expected="plain files in the trainer's output", found=f"another kind: {path.name!a}"
            )


def _note(message: dict[str, Any]) -> str:
    names = {"loss": "loss", "token_accuracy": "accuracy", "reward_margin": "margin"}
    shown = [f"{names[k]} {message[k]:.3f}" for k in names if k in message]
    return f"step {message['step']}/{message['total']} {' '.join(shown)}"


def _messages(
    running: Running, run: Path, settings: TrainingSettings, silence: int
) -> Iterator[dict[str, Any]]:
    """Yield what the worker says until it closes the pipe or has ended; end it when it hangs."""
    buffer, allowed = b"", settings.stall_seconds
    heard = time.monotonic()
    asked: float | None = None
    with selectors.DefaultSelector() as selector:
        selector.register(running.reader, selectors.EVENT_READ)
        while True:
            if selector.select(POLL_SECONDS):
                data = os.read(running.reader, READ_BYTES)
                if not data:
                    return
                heard, allowed = time.monotonic(), silence
                *lines, buffer = (buffer + data).split(b"\n")
                yield from map(json.loads, lines)
            elif running.ended():  # perhaps before it opened the pipe
                return
            now = time.monotonic()
            if now - heard > allowed:
                running.kill()
            if (run / protocol.CANCEL_FILE).exists():
                asked = asked or now
                if now - asked > settings.stop_seconds:
                    running.kill()


def failure(code: int, stopped: dict[str, Any], run: Path) -> ApplianceError:
    """Return the error that says why the worker ended with ``code``."""
    log = run / protocol.LOG_FILE
    if code == protocol.EXIT_CANCELLED or (run / protocol.CANCEL_FILE).exists():
        return InterruptedRunError(
            expected="the training to finish", found="it was cancelled; its checkpoint is kept"
        )
    if code == protocol.EXIT_TOO_LONG:
        return SampleTooLongError(
            expected=f"samples of at most {stopped.get('limit')} tokens",
            found=f"{stopped.get('count')} longer ones, the longest {stopped.get('longest')}; "
            f"lines {[p + 1 for p in stopped.get('positions', [])]} of {run / 'samples.jsonl'}",
        )
    if code == protocol.EXIT_DIVERGED:
        return TrainingDivergedError(
            expected="a loss that is a number and moves", found=str(stopped.get("why"))
        )
    if code == protocol.EXIT_TEMPLATE:
        return WeightsRefusedError(
            expected="the chat template pinned when the base was taken in",
            found=str(stopped.get("why")),
        )
    free = shutil.disk_usage(run).free
    if free < FULL_BYTES:
        return DiskFullError(expected="space for checkpoints", found=f"{free} bytes free at {run}")
    if code == -signal.SIGKILL:
        found = "it was killed (by a person, for want of memory, or for being silent too long)"
    else:
        found = f"exit code {code}"
    return ToolFailedError(
        expected="the trainer to finish",
        found=found,
        remedy=f"Read {log}; running the same command again goes on from the last checkpoint.",
    )
