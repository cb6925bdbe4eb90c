"""The age of the witnesses' word stands among the gateway's metrics."""

from __future__ import annotations

import time

import httpx

from appliance.audit import wire
from appliance.audit.client import connect
from appliance.audit.layout import current_shard, shards
from appliance.audit.note import COSIGNATURE, SeedSigner, Verifier, cosign, open_checkpoint
from appliance.audit.officer import book_of
from appliance.audit.tiles import TileHashes, folder_tiles
from tests.integration.audit.conftest import stop_writer
from tests.integration.gateway.conftest import Bench

NAME = "oficial.example/w1"
DEVICE = SeedSigner.generate()
WITNESS = Verifier(NAME, DEVICE.public_key, COSIGNATURE)


def measured(bench: Bench) -> dict[str, float]:
    """What the gateway says of the witness."""
    key = {"authorization": f"Bearer {bench.running.api_key}"}
    text = httpx.get(f"{bench.root}/metrics", headers=key).text
    lines = [line.rsplit(" ", 1) for line in text.splitlines() if f'witness="{NAME}"' in line]
    prefix = "appliance_audit_witness_"
    return {line[0].split("{")[0].removeprefix(prefix): float(line[1]) for line in lines}


def sign(bench: Bench, ago: float) -> None:
    """Have the newest shard signed, as if it had been so many seconds ago."""
    shard, book = current_shard(bench.home), book_of(bench.home)
    data = shard.checkpoint.read_bytes()
    head, note, _ = open_checkpoint(data, shard.verifier)
    book.request(shard.verifier, data, TileHashes(head.size, folder_tiles(shard.folder)), 0)
    signed = cosign(note.text, NAME, DEVICE, int(time.time() - ago))
    book.accept(shard.verifier, signed.line.encode())


def test_the_witnesses_age_is_exported_and_a_new_shard_does_not_hide_it(bench: Bench) -> None:
    assert measured(bench) == {}  # no log yet, and the other metrics are there all the same
    sink = connect(bench.home)
    try:
        sink.ask(wire.SYNC)
        book_of(bench.home).trust(WITNESS.vkey)
        assert measured(bench)["age_seconds"] == float("inf")
        sign(bench, 7200)
        found = measured(bench)
        assert 7200 <= found["age_seconds"] < 7400
        assert (found["conflict"], found["newest_log_signed"]) == (0.0, 1.0)
        sink.ask(wire.ROTATE)
        sink.ask(wire.SYNC)
        assert len(shards(bench.home.audit)) == 2
        found = measured(bench)
        assert 7200 <= found["age_seconds"] < 7400
        assert (found["conflict"], found["newest_log_signed"]) == (0.0, 0.0)
        assert found["behind_entries"] >= 2
        sign(bench, 60)
        found = measured(bench)
        assert 60 <= found["age_seconds"] < 200
        assert found["newest_log_signed"] == 1.0
    finally:
        sink.close()
        stop_writer(bench.home)
