"""The trainer environment: where its python and the carried converter are, what a child may see."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import appliance
from appliance.core.errors import ToolMissingError
from appliance.core.settings.training import TrainingSettings

CONVERTER_FILES = ("convert_hf_to_gguf.py", "convert_lora_to_gguf.py", "conversion", "gguf-py")
KEPT = {"PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PYTHONPATH", "TZ"}
KEPT_PREFIXES = ("CUDA_", "NVIDIA_", "APPLIANCE_")
# Every way these libraries are known to reach for a network, closed; see the facts on Unsloth
# (#7591), LLaMA-Factory (#2793) and axolotl (#1285) calling the hub when loading or saving.
OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "UNSLOTH_DISABLE_STATISTICS": "1",
    "DO_NOT_TRACK": "1",
    "WANDB_MODE": "disabled",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONNOUSERSITE": "1",
    "PYTHONUNBUFFERED": "1",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
}


@dataclass(frozen=True)
class Trainer:
    """A trainer environment that is there."""

    python: Path
    converter: Path

    def require_converter(self) -> Path:
        """Return the converter's folder; raise ``ToolMissingError`` when a file is not there."""
        for name in CONVERTER_FILES:
            if not (self.converter / name).exists():
                raise ToolMissingError(
                    expected=f"the carried llama.cpp converter in {self.converter}",
                    found=f"no {name}",
                    remedy="Set training.converter in appliance.toml, or install the trainer "
                    "environment again with `./run`.",
                )
        return self.converter


def find_trainer(settings: TrainingSettings) -> Trainer:
    """Return the trainer environment named by the settings, or the one beside the agent's own.

    Raises:
        ToolMissingError: there is none.
    """
    default = Path(sys.prefix).parent / ".venv-train" / "bin" / "python"
    python = settings.python or default
    if not python.is_file() or not os.access(python, os.X_OK):
        raise ToolMissingError(
            expected=f"the trainer environment's python at {python}",
            found="none",
            remedy="Run `./run appliance train plan`, which sets the environment up, or set "
            "training.python in appliance.toml.",
        )
    converter = settings.converter or python.parent.parent / "share" / "llama.cpp"
    return Trainer(python, converter)


def child_environment(
    run: Path, settings: TrainingSettings, seed: int, inherited: Mapping[str, str]
) -> dict[str, str]:
    """Return the environment of a trainer process: offline, and writing into ``run`` only.

    ``inherited`` is filtered by name, so that no token of the caller's environment gets in; its
    PYTHONPATH stays behind ours, since the pipeline's network guard travels there.
    """
    kept = {k: v for k, v in inherited.items() if k in KEPT or k.startswith(KEPT_PREFIXES)}
    paths = [str(run / "code"), *filter(None, [kept.get("PYTHONPATH", "")])]
    own = {"PYTHONPATH": os.pathsep.join(paths)}
    return kept | OFFLINE | own | own_environment(run, settings, seed)


def own_environment(run: Path, settings: TrainingSettings, seed: int) -> dict[str, str]:
    """Return what a trainer is told of its folder, wherever it runs."""
    threads = str(settings.threads or len(os.sched_getaffinity(0)))
    own = {
        "HOME": str(run / "cache"),
        "XDG_CACHE_HOME": str(run / "cache"),
        "HF_HOME": str(run / "cache" / "hf"),
        "TMPDIR": str(run / "cache"),
        "TORCHINDUCTOR_CACHE_DIR": str(run / "cache" / "inductor"),
        "TRITON_CACHE_DIR": str(run / "cache" / "triton"),
        "PYTHONHASHSEED": str(seed % 2**32),
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
    }
    cpu = {"UNSLOTH_FORCE_CPU": "1"} if settings.device == "cpu" else {}
    return own | cpu


def link_code(run: Path) -> None:
    """Show the trainer this package and nothing else of the agent's environment."""
    code = run / "code"
    code.mkdir(exist_ok=True)
    make_cache(run)
    link = code / "appliance"
    target = Path(appliance.__file__).parent
    if link.is_symlink() and link.readlink() == target:
        return
    link.unlink(missing_ok=True)
    link.symlink_to(target)


def make_cache(run: Path) -> None:
    """Make the folder that every cache of the trainer's libraries is sent to."""
    (run / "cache").mkdir(exist_ok=True)
