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
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from appliance.core.durable import exclusive, os_errors, read_json, write_json
from appliance.core.errors import (
    ApplianceError,
    DiskFullError,
    InterruptedRunError,
    SampleTooLongError,
    ToolFailedError,
    TrainingDivergedError,
    WeightsRefusedError,
)
from appliance.core.progress import Progress
from appliance.core.settings.training import TrainingSettings
from appliance.training.environment import Trainer, child_environment, link_code
from appliance.training.worker import protocol

READ_BYTES = 65_536
POLL_SECONDS = 1.0  # how often a cancelled or silent trainer is noticed
FULL_BYTES = 64 << 20  # less than this left, and a trainer that failed, failed for want of space
PID_FILE = "pid"
LOCK_FILE = "lock"
PRIVATE = 0o077  # umask: samples are de-identified, and still nobody else's business


def run_stage(
    run: Path,
    job: dict[str, Any],
    trainer: Trainer,
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
            link_code(run)
        write_json(run / protocol.JOB_FILE, job)
        environment = child_environment(run, settings, job["seed"], os.environ)
        _drive(run, trainer.python, environment, settings, progress)
        return _result(run)


def _result(run: Path) -> dict[str, Any]:
    result: dict[str, Any] = read_json(run / protocol.RESULT_FILE)
    return result


def _drive(
    run: Path,
    python: Path,
    environment: dict[str, str],
    settings: TrainingSettings,
    progress: Progress,
) -> None:
    reader, writer = os.pipe()
    command = [str(python), "-m", "appliance.training.worker"]
    command += ["--fd", str(writer), "--parent", str(os.getpid())]
    try:
        with os_errors(run), (run / protocol.LOG_FILE).open("ab") as log:
            process = subprocess.Popen(
                command,
                cwd=run,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(writer,),
                umask=PRIVATE,
            )
    except BaseException:
        os.close(reader)
        os.close(writer)
        raise
    os.close(writer)
    write_json(run / PID_FILE, {"pid": process.pid})
    stopped: dict[str, Any] = {}
    try:
        for message in _messages(reader, process, run, settings):
            if message["kind"] == "step":
                progress.update(message["step"], message["total"], _note(message))
            elif message["kind"] == "stopped":
                stopped = message
    finally:
        os.close(reader)
        _end(process, settings)
        progress.close()
        (run / PID_FILE).unlink(missing_ok=True)
    if process.returncode != protocol.EXIT_FINE:
        raise failure(process.returncode, stopped, run)


def _note(message: dict[str, Any]) -> str:
    names = {"loss": "loss", "token_accuracy": "accuracy", "reward_margin": "margin"}
    shown = [f"{names[k]} {message[k]:.3f}" for k in names if k in message]
    return f"step {message['step']}/{message['total']} {' '.join(shown)}"


def _messages(
    reader: int, process: subprocess.Popen[bytes], run: Path, settings: TrainingSettings
) -> Iterator[dict[str, Any]]:
    """Yield what the worker says until it closes the pipe; end it when it hangs."""
    buffer = b""
    heard = time.monotonic()
    asked: float | None = None
    with selectors.DefaultSelector() as selector:
        selector.register(reader, selectors.EVENT_READ)
        while True:
            if selector.select(POLL_SECONDS):
                data = os.read(reader, READ_BYTES)
                if not data:
                    return
                heard = time.monotonic()
                *lines, buffer = (buffer + data).split(b"\n")
                yield from map(json.loads, lines)
            now = time.monotonic()
            if now - heard > settings.stall_seconds:
                process.kill()
            if (run / protocol.CANCEL_FILE).exists():
                asked = asked or now
                if now - asked > settings.stop_seconds:
                    process.kill()


def _end(process: subprocess.Popen[bytes], settings: TrainingSettings) -> None:
    """Wait for the worker; end it when the agent itself is leaving."""
    try:
        process.wait(timeout=settings.stop_seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


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
