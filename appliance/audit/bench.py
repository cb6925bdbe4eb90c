"""`audit bench`: what the log does on this machine, beside the limits of the same disk.

Disks differ a hundredfold, so every figure stands beside raw baselines of the same run. The
producers do all a real one does: build the event, check it, write it canonically, send it, wait
for durability.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from appliance.audit import wire
from appliance.audit.benchbase import baselines
from appliance.audit.client import SocketSink, connect
from appliance.audit.event import encode, make_event, monotonic_counter, new_id
from appliance.audit.index import Filter, open_index
from appliance.audit.layout import current_shard
from appliance.audit.note import Checkpoint, Note
from appliance.audit.tiles import TileHashes, folder_tiles, read_bundle
from appliance.audit.tree import inclusion_proof, leaf_hash, verify_inclusion
from appliance.audit.verify import Options, verify_home
from appliance.core.clock import SystemClock, rfc3339
from appliance.core.home import Home
from appliance.core.progress import Progress

STAMP_BYTES = 90  # what the writer adds
MODELS = 3
USERS = 40
PATIENTS = 2000


@dataclass(frozen=True)
class Sizes:
    """How much to do."""

    entries: int = 1_000_000
    producers: int = 8
    entry_bytes: int = 600
    batch: int = 16  # entries a request
    window: int = 2  # requests a producer has under way
    proofs: int = 1000
    baseline_entries: int = 50_000


@dataclass(frozen=True)
class Produced:
    """What one producer measured: seconds since the epoch and of each request."""

    started: float
    ended: float
    latencies: list[float]


def sample_body(number: int, producer: int, pad: int) -> bytes:
    """Return an event like a gateway's, with ``pad`` characters of padding."""
    chosen = random.Random(number * 64 + producer)  # noqa: S311 - sample data, no secret
    detail: dict[str, Any] = {"tokens": chosen.randrange(4096), "n": number}
    for start in range(0, pad, 200):
        detail[f"h{start // 200}"] = "f" * min(200, pad - start)
    outcome = "refused" if number % 500 == 0 else "success"
    event = make_event(
        id=new_id(),
        time=rfc3339(SystemClock().now()),
        counter=monotonic_counter(),
        phase="event",
        action="gateway.chat",
        type="110110",
        crude="R",
        component="gateway",
        user=f"user-{chosen.randrange(USERS)}",
        patient=f"p1-{chosen.randrange(PATIENTS):024x}",
        model=f"{chosen.randrange(MODELS):064x}",
        outcome=outcome,
        detail=detail,
    )
    return encode(event)


def _produce(root: str, sizes: Sizes, producer: int, results: Any) -> None:
    home = Home(Path(root))
    sink = connect(home, start=False)
    bare = len(sample_body(10**6, producer, 0)) + STAMP_BYTES
    pad = max(0, sizes.entry_bytes - bare - 6)
    count = sizes.entries // sizes.producers // sizes.batch
    waiting: deque[tuple[float, Any]] = deque()
    latencies: list[float] = []
    started = time.time()
    for request in range(count):
        first = request * sizes.batch
        bodies = [sample_body(n, producer, pad) for n in range(first, first + sizes.batch)]
        waiting.append((time.perf_counter(), sink.send(wire.append_frame(bodies))))
        if len(waiting) >= sizes.window:
            _take(sink, waiting, latencies)
    while waiting:
        _take(sink, waiting, latencies)
    results.put(Produced(started, time.time(), latencies))
    sink.close()


def _take(sink: SocketSink, waiting: deque[tuple[float, Any]], latencies: list[float]) -> None:
    sent, ticket = waiting.popleft()
    sink.wait(ticket)
    latencies.append(time.perf_counter() - sent)


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value below which ``share`` of ``values`` lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def run_bench(home: Home, sizes: Sizes, progress: Progress) -> dict[str, Any]:
    """Measure in a folder of its own inside ``home``, which is removed afterwards."""
    folder = home.root / f"bench-{os.getpid()}"
    folder.mkdir(parents=True)
    try:
        progress.update(0, 6, "baselines")
        raw = baselines(folder, sizes.baseline_entries, sizes.entry_bytes)
        inner = Home(folder / "home").prepare()
        progress.update(1, 6, "appends")
        appends = bench_appends(inner, sizes)
        after = baselines(folder, sizes.baseline_entries, sizes.entry_bytes)
        progress.update(2, 6, "crash and reopen")
        reopened = bench_reopen(inner)
        progress.update(3, 6, "proofs")
        proofs = bench_proofs(inner, sizes.proofs)
        progress.update(4, 6, "search")
        searches = bench_search(inner)
        progress.update(5, 6, "verify")
        verified = bench_verify(inner)
        progress.update(6, 6)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    rate = appends["entries_per_s"]
    for name, value in after.items():  # the mean of before and after: disks and loads wander
        raw[name] = round(((raw[name] or 0) + value) / 2) if value else None
    ratios = {f"to_{name}": round(rate / value, 4) for name, value in raw.items() if value}
    load = os.getloadavg()[0]
    return {
        "machine": {"processors": os.cpu_count(), "load_1min": round(load, 2)},
        "sizes": sizes.__dict__,
        "baselines_entries_per_s": raw,
        "append": appends,
        "append_ratio": ratios,
        "reopen_after_kill": reopened,
        "proof": proofs,
        "search": searches,
        "verify": verified,
    }


def bench_appends(home: Home, sizes: Sizes) -> dict[str, Any]:
    """Append with all producers at once; latency is from sending a request to its answer."""
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    keeper = connect(home)
    workers = [
        context.Process(target=_produce, args=(str(home.root), sizes, number, results))
        for number in range(sizes.producers)
    ]
    for worker in workers:
        worker.start()
    produced = [results.get() for _ in workers]
    for worker in workers:
        worker.join()
    elapsed = max(p.ended for p in produced) - min(p.started for p in produced)
    latencies = [value for p in produced for value in p.latencies]
    count = len(latencies) * sizes.batch
    state = keeper.ask(wire.STATUS)
    cpu = _cpu_seconds(int(state["pid"]))
    started = time.perf_counter()
    keeper.ask(wire.SYNC)
    synced = time.perf_counter() - started
    keeper.close()
    return {
        "entries": count,
        "entries_per_s": round(count / elapsed),
        "p50_ms": round(quantile(latencies, 0.5) * 1e3, 2),
        "p99_ms": round(quantile(latencies, 0.99) * 1e3, 2),
        "writer_resident_mb": round(state["resident_bytes"] / 1e6, 1),
        "writer_cpu_us_per_entry": round(cpu / count * 1e6, 1),
        "checkpoint_after_last_s": round(synced, 3),
    }


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    return ticks / float(os.sysconf("SC_CLK_TCK"))


def bench_reopen(home: Home) -> dict[str, Any]:
    """Kill the writer in the middle of work; time until the next one answers."""
    sink = connect(home)
    before = sink.ask(wire.STATUS)
    bodies = [sample_body(n, 0, 100) for n in range(512)]
    sink.append(bodies)
    os.kill(int(before["pid"]), signal.SIGKILL)
    sink.close()
    while Path(f"/proc/{before['pid']}").exists() and _alive(int(before["pid"])):
        time.sleep(0.005)
    started = time.perf_counter()
    again = connect(home)
    elapsed = time.perf_counter() - started
    after = again.ask(wire.STATUS)
    again.close()
    return {
        "entries": after["size"],
        "lost": max(0, before["size"] + 512 - after["size"]),
        "seconds": after["opened_in_s"],
        "seconds_with_process_start": round(elapsed, 3),
        "writer_resident_mb": round(after["resident_bytes"] / 1e6, 1),
    }


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def bench_proofs(home: Home, count: int) -> dict[str, Any]:
    """Make and check inclusion proofs of random entries, each with a reader of its own."""
    sink = connect(home)
    sink.ask(wire.SYNC)
    sink.close()
    shard = current_shard(home)
    head = Checkpoint.parse(Note.parse(shard.checkpoint.read_bytes()).text)
    chosen = random.Random(1)  # noqa: S311 - sample data, no secret
    times: list[float] = []
    for _ in range(count):
        index = chosen.randrange(head.size)
        started = time.perf_counter()
        reader = TileHashes(head.size, folder_tiles(shard.folder))
        proof = inclusion_proof(index, head.size, reader)
        times.append(time.perf_counter() - started)
        leaf = leaf_hash(read_bundle(shard.folder, index // 256, index % 256 + 1)[-1])
        assert verify_inclusion(leaf, index, head.size, proof, head.root)
    return {
        "entries": head.size,
        "p50_ms": round(quantile(times, 0.5) * 1e3, 3),
        "p99_ms": round(quantile(times, 0.99) * 1e3, 3),
    }


def bench_search(home: Home) -> dict[str, Any]:
    """Make the index, then time each kind of question the console asks, first and last page."""
    started = time.perf_counter()
    index = open_index(home.audit)
    built = time.perf_counter() - started
    rows = index.count(Filter())
    user, patient = Filter(user="user-7"), Filter(patient=f"p1-{7:024x}")
    mixed = Filter(user="user-7", outcome="refused", model=f"{1:064x}")
    questions: dict[str, Callable[[], object]] = {
        "newest": lambda: index.search(Filter()),
        "user": lambda: index.search(user),
        "user_count": lambda: index.count(user),
        "patient": lambda: index.search(patient),
        "model": lambda: index.search(Filter(model=f"{1:064x}")),
        "action": lambda: index.search(Filter(action="gateway.*")),
        "outcome": lambda: index.search(Filter(outcome="refused")),
        "user_outcome_model": lambda: index.search(mixed),
        "user_outcome_model_count": lambda: index.count(mixed),
        "user_by_day": lambda: index.per_day(user),
        "all_by_day": lambda: index.per_day(Filter()),
        "nobody": lambda: index.search(Filter(user="nobody")),
    }
    times = {name: _median_ms(question) for name, question in questions.items()}
    index.close()
    return {
        "rows": rows,
        "build_s": round(built, 2),
        "ms": times,
        "slowest_ms": max(times.values()),
    }


def _median_ms(question: Callable[[], object]) -> float:
    times = []
    for _ in range(5):
        started = time.perf_counter()
        question()
        times.append(time.perf_counter() - started)
    return round(quantile(times, 0.5) * 1e3, 2)


def bench_verify(home: Home) -> dict[str, Any]:
    """Stop the writer and read every byte again."""
    sink = connect(home)
    sink.ask(wire.STOP)
    sink.close()
    while (home.run / "audit.sock").exists():
        time.sleep(0.01)
    started = time.perf_counter()
    report = verify_home(home.audit, Options())
    return {
        "ok": report.ok,
        "entries": report.size,
        "megabytes": round(report.checked["bytes"] / 1e6, 1),
        "seconds": round(time.perf_counter() - started, 2),
        "index": report.index,
    }
