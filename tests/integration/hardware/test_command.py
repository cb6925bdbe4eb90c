"""`appliance hardware ...` as a process: answers, exit codes, wrong input."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from appliance.core.home import Home
from appliance.hardware.catalogue import folder

Command = Callable[..., tuple[int, Any, str]]
RECORDINGS = folder() / "recordings"


def test_this_machine_is_judged_and_its_recording_gives_the_same_answer(
    command: Command, tmp_path: Path
) -> None:
    code, live, _ = command(
        "check", "--profile", "cpu-demo", "--json", "--record", str(tmp_path / "rec")
    )
    assert code == (0 if live["ok"] else 1)
    assert live["profile"] == "cpu-demo"
    again, replayed, _ = command(
        "check", "--profile", "cpu-demo", "--json", "--replay", str(tmp_path / "rec")
    )
    assert again == code
    names = [(c["name"], c["status"]) for c in live["checks"]]
    assert [(c["name"], c["status"]) for c in replayed["checks"]] == names


def test_the_inventory_shows_links_peers_and_what_root_would_add(command: Command) -> None:
    code, found, _ = command(
        "inventory", "--json", "--replay", str(RECORDINGS / "target-before-install")
    )
    assert code == 0
    assert [g["pcie_width"] for g in found["gpus"]] == [16, 16]
    assert found["driver"]["peers"][0]["a"] == 0
    assert found["root_would_add"] == ["dmidecode", "smart-nvme0n1", "smart-nvme1n1"]
    code, text, _ = command("inventory", "--lang", "pt-BR")
    assert code == 0
    assert "cpu.cores:" in text


@pytest.mark.parametrize(
    ("recording", "code", "language", "words"),
    [
        ("target-2x-rtx-5090", 0, "en", "will do"),
        ("driver-missing", 1, "pt-BR", "Instale o driver NVIDIA"),
    ],
)
def test_the_table_says_what_to_do(
    command: Command, recording: str, code: int, language: str, words: str
) -> None:
    got, text, _ = command(
        "check", "--replay", str(RECORDINGS / recording), "--lang", language,
        "--profile", "2x-rtx-5090",
    )  # fmt: skip
    assert got == code
    assert words in text


def test_a_hanging_nvidia_smi_and_docker_do_not_hang_the_check(
    command: Command, tmp_path: Path
) -> None:
    code, answer, _ = command("check", "--profile", "2x-rtx-5090", "--json", path="/nonexistent")
    assert code == 1
    assert {c["status"] for c in answer["checks"]} >= {"fail"}


@pytest.mark.parametrize(
    ("arguments", "code", "identifier"),
    [
        (("check", "--profile", "none"), 110, "hardware-profile-invalid"),
        (("check", "--replay", "none"), 111, "hardware-recording-invalid"),
        (("plan", "--model", "none"), 114, "hardware-model-unknown"),
        (("plan", "--model", "/etc/passwd"), 113, "hardware-model-shape"),
        (("plan", "--model", "/etc"), 113, "hardware-model-shape"),
        (("plan", "--cards", "2x abacus"), 110, "hardware-profile-invalid"),
        (("bench", "--model", "/etc/passwd"), 113, "hardware-model-shape"),
    ],
)
def test_wrong_input_is_an_error_in_words(
    command: Command, arguments: tuple[str, ...], code: int, identifier: str, tmp_path: Path
) -> None:
    if arguments[0] == "bench":
        quick(tmp_path)
    got, answer, errors = command(*arguments, "--json")
    assert got == code
    assert answer["error"]["id"] == identifier
    assert "to do:" in errors


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "--answer", "power_supply_watts"),
        ("check", "--answer", "power_supply_watts=lots"),
        ("check", "--answer", "power_supply_watts=nan"),
        ("plan", "--profile", "cpu-demo", "--cards", "2x RTX 5090"),
        ("plan", "--users", "0"),
        ("plan", "--quant", "Q1"),
    ],
)
def test_wrong_use_is_code_2(command: Command, arguments: tuple[str, ...]) -> None:
    assert command(*arguments)[0] == 2


def test_an_answer_is_kept_for_the_next_check(command: Command, tmp_path: Path) -> None:
    command("check", "--json", "--answer", "power_supply_watts=1500")
    _, answer, _ = command("check", "--json", "--profile", "2x-rtx-5090")
    found = {c["name"]: c for c in answer["checks"]}
    assert found["question.power_supply_watts"]["status"] == "pass"


def test_the_plan_compares_models_for_the_target(command: Command) -> None:
    code, answer, _ = command(
        "plan", "--profile", "2x-rtx-5090", "--json",
        "--model", "Llama-3.1-70B-Instruct", "--model", "Llama-3.1-8B-Instruct",
    )  # fmt: skip
    assert code == 0
    big, small = answer["models"]
    assert big["quantisation"] == "Q4_K_M"
    assert big["wanted_speed"] is True
    assert small["tokens_s"] > big["tokens_s"]
    code, _, _ = command("plan", "--cards", "RTX 4090", "--model", "Mistral-Large-2407", "--json")
    assert code == 1


def test_the_catalogue_is_listed(command: Command) -> None:
    code, answer, _ = command("plan", "--list", "--json")
    assert code == 0
    assert {m["use"] for m in answer["models"]} == {"free", "ask", "forbidden"}


def quick(tmp_path: Path) -> Home:
    """Settings that keep a measurement short."""
    home = Home(tmp_path / "home").prepare()
    home.settings_file.write_text(
        "[hardware]\nbench_seconds = 0.05\nbench_disk_bytes = 4194304\n", encoding="utf-8"
    )
    return home


def test_bench_measures_the_engine_signs_and_compares(
    command: Command, tmp_path: Path, gguf_writer: Callable[[Path, dict[str, int]], Path]
) -> None:
    quick(tmp_path)
    shape = {"layers": 2, "hidden": 128, "heads": 4, "kv_heads": 2, "head_dim": 32, "ffn": 384,
             "vocab": 512}  # fmt: skip
    toy = gguf_writer(tmp_path / "toy.gguf", shape)
    _, first, _ = command("bench", "--model", str(toy), "--json")
    result = first["result"]
    for name in ("memory_copy", "memory_bandwidth", "prompt_tokens_s", "generate_tokens_s",
                 "disk_write", "disk_flushes_s", "hash_speed", "roofline_tokens_s"):  # fmt: skip
        assert result[name] > 0, name
    assert result["decode_efficiency"] < 1
    code, text, _ = command("bench", "--model", str(toy), "--lang", "pt-BR")
    assert code in {0, 1}
    assert "Assinado e salvo" in text
    saved = Path(first["saved"])
    value = json.loads(saved.read_bytes())
    value["result"]["hash_speed"] *= 2
    later = saved.with_name("99990101T000000000000Z.json")
    later.write_text(json.dumps(value), encoding="utf-8")
    code, answer, _ = command("bench", "--json")
    assert (code, answer["error"]["id"]) == (115, "hardware-bench-damaged")


def test_watch_serves_logs_and_ends_on_a_signal(tmp_path: Path) -> None:
    environment = dict(os.environ, APPLIANCE_HOME=str(tmp_path / "home"))
    with subprocess.Popen(
        [sys.executable, "-m", "appliance", "hardware", "watch", "--port", "0", "--interval", "1",
         "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        url = json.loads(process.stdout.readline())["listening"]
        json.loads(process.stdout.readline() if not _synchronised() else "{}")
        with urllib.request.urlopen(url, timeout=30) as answer:
            assert b"process_resident_memory_bytes" in answer.read()
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        assert "Traceback" not in process.stderr.read()
    found = subprocess.run(
        [sys.executable, "-m", "appliance", "audit", "search", "--json"],
        capture_output=True, text=True, env=environment, check=False, timeout=60,
    )  # fmt: skip
    assert "hardware.baseline" in found.stdout


def _synchronised() -> bool:
    from appliance.hardware.probing import adjtimex

    value = adjtimex().json()
    return not value["status"] & 0x40 and value["state"] != 5
