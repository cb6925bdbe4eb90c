"""The whole chain in the real trainer environment, at the smallest size, killed on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from appliance.audit.memory import MemoryRecorder
from appliance.core.errors import (
    DatasetNotReadyError,
    RecipeInvalidError,
    SampleTooLongError,
    TrainingDivergedError,
    WeightsRefusedError,
)
from appliance.core.home import Home
from appliance.core.settings import Settings
from appliance.datasets.record import Record
from appliance.datasets.store import DatasetStore, Draft, Tally
from appliance.registry import gguf
from appliance.registry.importing import import_model
from appliance.training import quantise
from appliance.training.convert import convert_adapter, convert_base
from appliance.training.recipe import Recipe, load_recipe
from appliance.training.service import Workshop, build_demo_base, preference, sft
from appliance.training.status import all_stages
from appliance.training.worker.protocol import read_metrics

KILLED_AT = 4  # steps; the recipe writes a checkpoint every second one
WAIT_SECONDS = 240


def shop_of(home: Home, settings: Settings) -> Workshop:
    return Workshop(home, settings, MemoryRecorder("training"))


@pytest.fixture(scope="session")
def made(
    tmp_path_factory: pytest.TempPathFactory, trainer_settings: Settings, records: list[Record]
) -> dict[str, Any]:
    """Base, both adapters and the GGUF files, made once; the supervised stage is killed midway."""
    home = Home(tmp_path_factory.mktemp("chain") / "home").prepare()
    dataset = DatasetStore(home).write(records, Draft(stage="split", licence="MIT"), Tally()).hash
    shop, recipe = shop_of(home, trainer_settings), load_recipe("tiny")
    base = build_demo_base(shop, dataset, recipe)
    killed = kill_midway(home, base, dataset)
    first = sft(shop, base, dataset, recipe)
    second = preference(shop, base, dataset, recipe, first)
    return {
        "home": home,
        "shop": shop,
        "recipe": recipe,
        "dataset": dataset,
        "base": base,
        "killed": killed,
        "sft": first,
        "preference": second,
        "adapter_gguf": convert_adapter(shop, second),
        "base_gguf": convert_base(shop, base),
    }


def kill_midway(home: Home, base: str, dataset: str) -> dict[str, Any]:
    """Start the supervised stage in a process of its own and SIGKILL it after a few steps."""
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from appliance.audit.memory import MemoryRecorder\n"
        "from appliance.core.home import Home\n"
        "from appliance.core.settings import Settings\n"
        "from appliance.training.recipe import load_recipe\n"
        "from appliance.training.service import Workshop, sft\n"
        "shop = Workshop(Home(Path(sys.argv[1])), Settings(), MemoryRecorder())\n"
        "sft(shop, sys.argv[2], sys.argv[3], load_recipe('tiny'))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(home.root), base, dataset])
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        for run in (home.runs / "training").glob("sft-*"):
            rows = list(read_metrics(run))
            if rows and rows[-1]["step"] >= KILLED_AT:
                worker = json.loads((run / "pid").read_bytes())["pid"]
                process.kill()
                process.wait()
                return {"run": run, "worker": worker, "steps": len(rows), "rows": rows}
        assert process.poll() is None, "the stage ended before it could be killed"
        time.sleep(0.02)
    process.kill()
    pytest.fail("the stage made no progress")


def test_the_trainer_dies_with_the_agent(made: dict[str, Any]) -> None:
    with pytest.raises(ProcessLookupError):
        os.kill(made["killed"]["worker"], signal.SIG_DFL)


def test_a_killed_stage_goes_on_from_its_checkpoint(made: dict[str, Any]) -> None:
    shop: Workshop = made["shop"]
    curve = shop.models.curve(made["sft"])
    steps = [row["step"] for row in curve]
    assert steps == list(range(1, int(curve[-1]["total"]) + 1))
    # What was learnt before the checkpoint was kept, not learnt again.
    before = made["killed"]["rows"]
    assert curve[0] == before[0]
    assert curve[1] == before[1]
    resumed = (made["killed"]["run"] / "worker.log").read_text(encoding="utf-8")
    assert resumed.count("Unsloth") >= 2


def test_a_finished_stage_is_not_run_again(made: dict[str, Any]) -> None:
    shop: Workshop = made["shop"]
    recorder = MemoryRecorder("training")
    again = Workshop(shop.home, shop.settings, recorder)
    dataset, recipe = made["dataset"], made["recipe"]
    assert build_demo_base(again, dataset, recipe) == made["base"]
    assert sft(again, made["base"], dataset, recipe) == made["sft"]
    assert preference(again, made["base"], dataset, recipe, made["sft"]) == made["preference"]
    assert convert_adapter(again, made["preference"]) == made["adapter_gguf"]
    assert recorder.events == []
    assert {s["state"] for s in all_stages(shop.home)} == {"finished"}


def test_every_object_names_what_it_was_made_from(made: dict[str, Any]) -> None:
    shop: Workshop = made["shop"]
    adapter = shop.models.verify(made["preference"])
    assert adapter.links == {
        "base": made["base"],
        "dataset": made["dataset"],
        "adapter": made["sft"],
        "recipe": made["recipe"].hash,
    }
    assert set(adapter.versions) >= {"torch", "unsloth", "trl", "transformers", "peft"}
    assert adapter.chat_template_sha256 == shop.models.get(made["base"]).chat_template_sha256
    assert shop.models.verify(made["adapter_gguf"]).links == {
        "adapter": made["preference"],
        "base_gguf": made["base_gguf"],
    }


def test_nothing_of_this_machine_is_in_an_adapter(made: dict[str, Any]) -> None:
    shop: Workshop = made["shop"]
    for path in shop.models.files(made["preference"]).iterdir():
        assert str(shop.home.root).encode() not in path.read_bytes()


def test_the_trainer_writes_into_its_run_folder_only(made: dict[str, Any]) -> None:
    home: Home = made["home"]
    assert not (Path.cwd() / "unsloth_compiled_cache").exists()
    for run in (home.runs / "training").glob("*-*"):
        left = {p.name for p in run.iterdir()}
        assert left <= {"job.json", "stage.json", "metrics.jsonl", "worker.log", "lock", "code"}


def test_llama_cpp_cuts_a_text_into_the_tokens_the_trainer_saw(made: dict[str, Any]) -> None:
    from llama_cpp import Llama

    shop: Workshop = made["shop"]
    text = "Olá, é normal?\n\n### Pergunta:\n  dois  espaços, 500 mg às 8h — 😀 não.</s>"
    program = (
        "import json, sys\n"
        "from transformers import AutoTokenizer\n"
        "t = AutoTokenizer.from_pretrained(sys.argv[1])\n"
        "print(json.dumps(t(sys.argv[2], add_special_tokens=False)['input_ids']))\n"
    )
    folder = shop.models.files(made["base"])
    command = [str(shop.trainer().python), "-c", program, str(folder), text]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    shown = subprocess.run(command, check=True, capture_output=True, env=environment).stdout
    engine = Llama(str(shop.models.gguf_path(made["base_gguf"])), vocab_only=True, verbose=False)
    assert json.loads(shown) == engine.tokenize(text.encode(), add_bos=False, special=True)


def test_the_adapter_changes_what_the_engine_says(made: dict[str, Any]) -> None:
    from appliance.inference.registered import registered

    shop: Workshop = made["shop"]
    what = registered(shop.models, made["adapter_gguf"])
    assert what.files.adapter_hash == made["adapter_gguf"]
    header = gguf.read_header(shop.models.gguf_path(made["adapter_gguf"]), shop.settings.registry)
    assert header.is_adapter
    assert header.metadata["adapter.type"] == "lora"


def test_a_toy_quantises_and_is_found_again(made: dict[str, Any]) -> None:
    shop: Workshop = made["shop"]
    small = quantise.quantise(shop, made["base_gguf"], "Q8_0")
    assert quantise.quantise(shop, made["base_gguf"], "Q8_0") == small
    assert shop.models.get(small).bytes < shop.models.get(made["base_gguf"]).bytes
    assert shop.models.serving(small).adapter_gguf is None


def test_a_sample_that_would_be_cut_is_refused(made: dict[str, Any]) -> None:
    recipe = made["recipe"].model_copy(
        update={
            "sft": made["recipe"].sft.model_copy(update={"max_length": 300, "too_long": "refuse"})
        }
    )
    with pytest.raises(SampleTooLongError, match="at most 300 tokens"):
        sft(made["shop"], made["base"], made["dataset"], recipe)


def test_a_loss_that_is_no_number_stops_the_training(made: dict[str, Any]) -> None:
    toy = made["recipe"].base.model_copy(update={"learning_rate": 0.1, "steps": 60, "layers": 1})
    shop: Workshop = made["shop"]
    broken = import_model(
        shop.models,
        _with_nan(shop.models.files(made["base"]), made["home"].root / "broken"),
        licence="mit",
        limits=shop.settings.registry,
    )
    assert toy is not None
    with pytest.raises(TrainingDivergedError):
        sft(shop, broken.hash, made["dataset"], made["recipe"])


def _with_nan(source: Path, folder: Path) -> Path:
    """Copy a base and put not-a-number into one of its weights."""
    import shutil
    import struct

    shutil.copytree(source, folder)
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-4:] = struct.pack("<f", float("nan"))
    path.write_bytes(data)
    return folder


def test_another_template_than_the_pinned_is_refused(
    made: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    shop: Workshop = made["shop"]
    path = shop.models.files(made["base"]).parent / "manifest.json"
    kept = path.read_text(encoding="utf-8")
    value = json.loads(kept) | {"chat_template_sha256": "0" * 64}
    path.write_text(json.dumps(value), encoding="utf-8")
    recipe = made["recipe"].model_copy(update={"seed": 1})
    try:
        with pytest.raises(WeightsRefusedError, match="template"):
            sft(shop, made["base"], made["dataset"], recipe)
    finally:
        path.write_text(kept, encoding="utf-8")


def test_records_as_imported_are_not_trained_on(
    home: Home, trainer_settings: Settings, records: list[Record]
) -> None:
    dataset = DatasetStore(home).write(records, Draft(stage="imported"), Tally()).hash
    with pytest.raises(DatasetNotReadyError):
        build_demo_base(shop_of(home, trainer_settings), dataset, load_recipe("tiny"))


def test_a_recipe_without_a_toy_trains_no_base(
    home: Home, trainer_settings: Settings, dataset: str
) -> None:
    with pytest.raises(RecipeInvalidError):
        build_demo_base(shop_of(home, trainer_settings), dataset, Recipe(name="x"))
