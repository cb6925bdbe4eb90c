"""What every stage of the worker shares: seeds, device, checkpoints, watching the loss."""

from __future__ import annotations

import json
import math
import os
import random
import resource
import shutil
import sys
from collections import deque
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments, set_seed

from appliance.training.worker.protocol import (
    CHECKPOINTS,
    EXIT_CANCELLED,
    EXIT_DIVERGED,
    OUTPUT_FOLDER,
    RESULT_FILE,
    Channel,
    trim_metrics,
)

CONSTANT_STEPS = 20  # this many equal losses in a row are no chance: nothing is being learnt
COMPLETE = "trainer_state.json"  # written last by the trainer: a checkpoint without it is half


def seed_all(seed: int) -> None:
    """Set every source of chance."""
    random.seed(seed)
    set_seed(seed)


def device() -> str:
    """Return ``cuda`` where torch sees a card (and CPU is not forced), else ``cpu``."""
    import torch

    forced = os.environ.get("UNSLOTH_FORCE_CPU") == "1"
    return "cuda" if torch.cuda.is_available() and not forced else "cpu"


def peak_bytes() -> int:
    """Return the peak resident memory of this process (Linux counts in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def cpu_seconds() -> float:
    """Return the processor time this process used: what a stage costs on a busy machine too."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return round(used.ru_utime + used.ru_stime, 1)


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a JSON lines file."""
    with path.open(encoding="utf-8") as stream:
        return [json.loads(line) for line in stream]


def last_checkpoint(run: Path) -> Path | None:
    """Return the newest whole checkpoint; half-written ones are removed."""
    whole: list[tuple[int, Path]] = []
    for path in (run / CHECKPOINTS).glob("checkpoint-*"):
        step = path.name.rsplit("-", 1)[-1]
        if step.isdigit() and _is_whole(path):
            whole.append((int(step), path))
        else:
            shutil.rmtree(path, ignore_errors=True)
    return max(whole)[1] if whole else None


def _is_whole(path: Path) -> bool:
    try:
        json.loads((path / COMPLETE).read_bytes())
    except (OSError, ValueError):
        return False
    return (path / "optimizer.pt").is_file() and (path / "scheduler.pt").is_file()


def resume_point(run: Path, channel: Channel) -> str | None:
    """Return the checkpoint to go on from (as the trainer wants it) and trim the metrics to it."""
    checkpoint = last_checkpoint(run)
    step = int(checkpoint.name.rsplit("-", 1)[-1]) if checkpoint else 0
    trim_metrics(run, step)
    channel.send("resume", step=step)
    return str(checkpoint) if checkpoint else None


class Watch(TrainerCallback):  # type: ignore[misc]  # transformers is not installed for the agent
    """Reports each step; stops on a cancel file, a loss that is not a number, or a constant one."""

    def __init__(self, channel: Channel) -> None:
        """Report to ``channel``."""
        self._channel = channel
        self._recent: deque[float] = deque(maxlen=CONSTANT_STEPS)
        self.stopped: int | None = None

    def on_log(
        self,
        args: TrainingArguments,  # noqa: ARG002 - the callback's signature
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Report a logged step and judge its loss."""
        if logs is None or "loss" not in logs:
            return
        loss = float(logs["loss"])
        if not math.isfinite(loss) or not math.isfinite(float(logs.get("grad_norm", 0.0))):
            self._stop(control, EXIT_DIVERGED, "the loss or its gradient is not a number")
            return
        self._recent.append(loss)
        if len(self._recent) == CONSTANT_STEPS and len(set(self._recent)) == 1:
            self._stop(control, EXIT_DIVERGED, f"{CONSTANT_STEPS} steps with the same loss")
            return
        kept = {
            name: float(logs[key])
            for key, name in (
                ("loss", "loss"),
                ("learning_rate", "learning_rate"),
                ("grad_norm", "grad_norm"),
                ("mean_token_accuracy", "token_accuracy"),
                ("entropy", "entropy"),
                ("rewards/margins", "reward_margin"),
                ("rewards/accuracies", "reward_accuracy"),
            )
            if key in logs
        }
        self._channel.metrics(state.global_step, state.max_steps, **kept)

    def on_step_end(
        self,
        args: TrainingArguments,  # noqa: ARG002 - the callback's signature
        state: TrainerState,  # noqa: ARG002
        control: TrainerControl,
        **_: Any,
    ) -> None:
        """Stop with a checkpoint when somebody asked for it."""
        if self._channel.cancelled():
            control.should_save = True
            self._stop(control, EXIT_CANCELLED, "cancelled")

    def _stop(self, control: TrainerControl, code: int, why: str) -> None:
        self.stopped = code
        self._channel.send("stopped", code=code, why=why)
        control.should_training_stop = True


def train(trainer: Any, run: Path, channel: Channel) -> dict[str, float]:
    """Train from the last checkpoint; leave the process when the watch stopped the training."""
    watch = Watch(channel)
    trainer.add_callback(watch)
    result = trainer.train(resume_from_checkpoint=resume_point(run, channel))
    if watch.stopped is not None:
        sys.exit(watch.stopped)
    return {
        "final_loss": float(result.training_loss),
        "steps": float(trainer.state.global_step),
        "peak_bytes": float(peak_bytes()),
        "cpu_seconds": cpu_seconds(),
    }


def shared_arguments(job: dict[str, Any], run: Path) -> dict[str, Any]:
    """Return the trainer arguments that do not depend on the stage."""
    part = job["part"]
    return {
        "output_dir": str(run / CHECKPOINTS),
        "learning_rate": part["learning_rate"],
        "save_strategy": "steps",
        "save_steps": part["checkpoint_steps"],
        "save_total_limit": 2,  # the newest may be cut by a crash; the one before is whole
        "logging_steps": 1,
        "logging_nan_inf_filter": False,  # a NaN must be seen, not averaged away
        "report_to": [],
        "seed": job["seed"],
        "data_seed": job["seed"],
        "disable_tqdm": True,
        "dataloader_num_workers": 0,
        "lr_scheduler_type": "cosine",
        "use_cpu": device() == "cpu",
        "bf16": device() == "cuda",
        "fp16": False,
    }


def finish(run: Path, channel: Channel, values: dict[str, Any]) -> None:
    """Write the result last, whole: its presence means that the output is."""
    for path in (run / OUTPUT_FOLDER).rglob("*"):
        if path.is_file():
            with path.open("rb") as stream:
                os.fsync(stream.fileno())
    temp = run / f"{RESULT_FILE}.new"
    with temp.open("w", encoding="utf-8") as stream:
        json.dump(values, stream, sort_keys=True)
        stream.flush()
        os.fsync(stream.fileno())
    temp.replace(run / RESULT_FILE)
    channel.send("done", **{k: v for k, v in values.items() if isinstance(v, int | float)})


def versions() -> dict[str, str]:
    """Return the versions of what decides the result."""
    from importlib import metadata

    names = ("torch", "transformers", "trl", "peft", "unsloth", "unsloth_zoo", "sentencepiece")
    return {name: metadata.version(name) for name in names}
