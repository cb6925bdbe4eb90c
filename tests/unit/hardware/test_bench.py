from __future__ import annotations

import json
from pathlib import Path

import pytest

from appliance.core.errors.hardware import BenchDamagedError
from appliance.core.home import Home
from appliance.core.progress import NoProgress
from appliance.hardware import formulas
from appliance.hardware.bench import disk_speed, engine_speed, hash_speed, memory_speed, read_bytes
from appliance.hardware.bench_store import (
    KEY_FILE,
    BenchResult,
    bench_folder,
    compare,
    last_bench,
    save_bench,
)
from appliance.hardware.models import find_model
from appliance.hardware.shape_files import ReadModel


def result(second: int, **values: object) -> BenchResult:
    base = {"taken_at": f"2026-01-01T00:00:{second:02d}.000000Z", "version": "1", "machine": "m"}
    return BenchResult.model_validate(base | values)


class PaceEngine:
    """An engine that takes a given time a token."""

    on_cards = False

    def __init__(self, prompt_s: float, token_s: float) -> None:
        self.prompt_s, self.token_s = prompt_s, token_s
        self.asked: list[int] = []

    def read_prompt(self, tokens: int) -> float:
        self.asked.append(tokens)
        return self.prompt_s * tokens

    def generate(self, tokens: int) -> float:
        return self.token_s * tokens


def test_what_is_saved_comes_back(home: Home) -> None:
    path = save_bench(home, result(1, memory_bandwidth=3.5e10), keep=5)
    assert last_bench(home) == result(1, memory_bandwidth=3.5e10)
    assert path.parent == bench_folder(home)
    assert (home.keys / KEY_FILE).stat().st_mode & 0o777 == 0o600


def test_the_last_one_counts_and_old_ones_are_removed(home: Home) -> None:
    for second in range(6):
        save_bench(home, result(second, hash_speed=float(second + 1)), keep=3)
    assert len(list(bench_folder(home).iterdir())) == 3
    last = last_bench(home)
    assert last is not None
    assert last.hash_speed == 6.0


def test_the_last_one_with_a_model_is_found_behind_others(home: Home) -> None:
    save_bench(home, result(1, generate_tokens_s=9.0), keep=5)
    save_bench(home, result(2), keep=5)
    last = last_bench(home, with_model=True)
    assert last is not None
    assert last.generate_tokens_s == 9.0


@pytest.mark.parametrize(
    "change",
    [
        lambda v: v["result"].update(hash_speed=99.0),
        lambda v: v.update(signature="AAAA"),
        lambda v: v.update(signature="not base64!"),
        lambda v: v.pop("signature"),
        lambda v: v["result"].update(extra=1),
        lambda v: v["result"].update(hash_speed=-1.0),
    ],
)
def test_a_polished_measurement_is_refused(home: Home, change: object) -> None:
    path = save_bench(home, result(1, hash_speed=1.0), keep=5)
    value = json.loads(path.read_bytes())
    assert callable(change)
    change(value)
    path.write_text(json.dumps(value), encoding="utf-8")
    with pytest.raises(BenchDamagedError):
        last_bench(home)


def test_another_homes_measurement_is_refused(home: Home, tmp_path: Path) -> None:
    other = Home(tmp_path / "other").prepare()
    path = save_bench(other, result(1, hash_speed=1.0), keep=5)
    save_bench(home, result(0), keep=5)
    (bench_folder(home) / path.name).write_bytes(path.read_bytes())
    with pytest.raises(BenchDamagedError):
        last_bench(home)


def test_a_fall_is_called_slower_and_another_model_is_not_compared() -> None:
    before = result(1, model="a", generate_tokens_s=10.0, hash_speed=100.0)
    rows = compare(result(2, model="a", generate_tokens_s=8.0, hash_speed=99.0), before, 0.15)
    assert {r["name"]: r["slower"] for r in rows} == {
        "generate_tokens_s": True, "hash_speed": False,
    }  # fmt: skip
    rows = compare(result(2, model="b", generate_tokens_s=8.0), before, 0.15)
    assert rows[0]["last"] is None
    assert rows[0]["slower"] is False
    assert compare(result(2, hash_speed=1.0), None, 0.15)[0]["ratio"] is None


def test_the_engines_speed_is_tokens_over_seconds() -> None:
    shape = find_model("Llama-3.2-1B-Instruct").shape
    engine = PaceEngine(prompt_s=0.001, token_s=0.02)
    speed = engine_speed(engine, ReadModel("m", shape, 800_000_000), 0.5, NoProgress())
    assert speed.prompt_tokens_s == pytest.approx(1000)
    assert speed.generate_tokens_s == pytest.approx(50)
    assert speed.prompt_flops == pytest.approx(formulas.prompt_flops(shape, 512) / 0.512)
    assert engine.asked[0] == 512


def test_a_tied_model_reads_all_its_bytes_and_an_untied_one_all_but_the_embedding() -> None:
    tied = find_model("Llama-3.2-1B-Instruct").shape
    assert read_bytes(ReadModel("m", tied, 1_000_000_000), 0) == pytest.approx(1e9)
    untied = find_model("Llama-3.1-8B-Instruct").shape
    share = 1 - 128256 * 4096 / formulas.parameters(untied)
    assert read_bytes(ReadModel("m", untied, 10**9), 0) == pytest.approx(share * 1e9, rel=0.001)


def test_memory_disk_and_hash_are_really_measured(tmp_path: Path) -> None:
    memory = memory_speed(0.01, threads=1)
    assert memory.copy > 1e8
    assert memory.read > 1e8
    assert hash_speed(0.01) > 1e6
    written, flushes = disk_speed(tmp_path / "bench", 4 << 20)
    assert written > 0
    assert flushes > 0
    assert list((tmp_path / "bench").iterdir()) == []
