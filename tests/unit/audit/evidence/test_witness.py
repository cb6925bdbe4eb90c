"""The witness: requests, the officer's offline device, answers, staleness, attacks on the log."""

from __future__ import annotations

import ast
import dataclasses
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import proofbundle.checkpoint as outside
import pytest
import zxingcpp
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric

from appliance.audit import note, qr, tiles, tree, witness
from appliance.audit.standalone import core
from appliance.audit.standalone.assemble import assemble
from appliance.core.errors.audit import AuditNoteInvalidError, AuditWitnessRefusedError


class Device:
    """The officer's device: the single file, run by a bare interpreter."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        (folder / "witness.py").write_bytes(assemble("witness"))
        self.vkey = self.run("init", "--name", "officer.example/w1")[1].strip()

    def run(self, *arguments: str, stdin: bytes = b"") -> tuple[int, str, str]:
        command = [sys.executable, "-I", "-S", str(self.folder / "witness.py"), "--folder"]
        done = subprocess.run(
            [*command, str(self.folder / "state"), *arguments],
            input=stdin,
            capture_output=True,
            check=False,
        )
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def cosign(self, request: bytes) -> tuple[int, str, str]:
        return self.run("cosign", "-", stdin=request)


def hashes(log: Any) -> tiles.TileHashes:
    return tiles.TileHashes(len(log.entries), tiles.folder_tiles(log.folder))


@pytest.fixture
def device(tmp_path: Path, log: Any, book: witness.WitnessBook) -> Device:
    """A device that accepts the log and is accepted by it."""
    made = Device(tmp_path / "device")
    assert made.run("trust", log.key.vkey)[0] == 0
    book.trust(made.vkey)
    return made


def ask(log: Any, book: witness.WitnessBook, size: int | None = None, **more: Any) -> bytes:
    return book.request(log.key, log.checkpoint(size).encode(), hashes(log), **more)


def test_a_round_of_request_cosignature_and_import(
    log: Any, book: witness.WitnessBook, device: Device
) -> None:
    code, line, _ = device.cosign(ask(log, book, 400))
    assert code == 0
    [seen] = book.accept(log.key, line.encode())
    assert seen.checkpoint is not None and seen.checkpoint.size == 400
    second = ask(log, book)
    assert second.startswith(b"old 400\n")
    code, line, _ = device.cosign(second)
    assert code == 0
    book.accept(log.key, line.encode())
    state = book.last(log.key, book.policy().witnesses[0])
    assert state.checkpoint is not None and state.checkpoint.size == 600
    assert state.note is not None
    answer = outside.verify_witnessed_checkpoint(
        state.note.encode().decode(), log.key.vkey, [device.vkey], threshold=1
    )
    assert answer["ok"], answer
    assert log.key.name in device.run("show")[1] and "600" in device.run("show")[1]


def test_the_request_is_an_add_checkpoint_body(log: Any, book: witness.WitnessBook) -> None:
    body = ask(log, book, old=300)
    head, _, signed = body.partition(b"\n\n")
    lines = head.decode().split("\n")
    proof = [note.b64decode(line) for line in lines[1:]]
    leaves = [tree.leaf_hash(e) for e in log.entries]
    assert lines[0] == "old 300"
    assert tree.verify_consistency(300, 600, proof, tree.fold(leaves[:300]), tree.fold(leaves))
    assert signed == log.checkpoint().encode()


def test_an_older_copy_put_back_is_refused_by_the_device(
    log: Any, book: witness.WitnessBook, device: Device
) -> None:
    assert device.cosign(ask(log, book))[0] == 0
    code, line, words = device.cosign(ask(log, book, 500, old=0))
    assert (code, line) == (1, "") and "SHRANK" in words and "600" in words


def test_an_older_copy_put_back_is_seen_against_the_witnessed_checkpoint(
    log: Any, book: witness.WitnessBook, device: Device, make_log: Callable[..., Any]
) -> None:
    book.accept(log.key, device.cosign(ask(log, book))[1].encode())
    older = make_log()
    older.entries = log.entries[:500]
    older.write()
    here = witness.LogState(log.key, log.folder, 500)
    [line] = witness.status(book, [here], 0.0, 3600.0)
    assert line.problem == "rollback: 600 entries were witnessed, 500 are here"
    with pytest.raises(AuditWitnessRefusedError, match="older copy"):
        book.request(log.key, older.checkpoint().encode(), hashes(older))


def test_a_fork_is_refused_by_the_device_and_seen_here(
    log: Any, book: witness.WitnessBook, device: Device, make_log: Callable[..., Any]
) -> None:
    book.accept(log.key, device.cosign(ask(log, book, 300))[1].encode())
    fork = make_log()
    fork.entries = [e.replace(b"doctor-1", b"doctor-2") for e in log.entries]
    fork.write()
    code, line, words = device.cosign(ask(fork, book))
    assert (code, line) == (1, "") and "REWRITTEN" in words
    here = witness.LogState(log.key, log.folder, 600)
    [state] = witness.status(book, [here], 0.0, 3600.0)
    assert state.problem == "fork: another history of the first 300 entries"


def test_a_request_from_the_wrong_size_names_the_right_one(
    log: Any, book: witness.WitnessBook, device: Device
) -> None:
    device.cosign(ask(log, book, 300))
    code, _, words = device.cosign(ask(log, book, old=200))
    assert code == 1 and "--old 300" in words
    assert device.cosign(ask(log, book, old=300))[0] == 0


def test_an_unknown_log_a_foreign_key_and_a_second_key_are_refused(
    log: Any, book: witness.WitnessBook, device: Device, make_log: Callable[..., Any]
) -> None:
    other = make_log(2)
    other.opened(0)
    other.write()
    assert "trust" in device.cosign(ask(other, book))[2]
    forger = make_log(1, b"f" * 32)
    forger.entries = log.entries
    forged = forger.checkpoint().encode()
    body = witness.request_body(0, 600, hashes(log), forged)
    assert "does not verify" in device.cosign(body)[2]
    assert "Another key" in device.run("trust", forger.key.vkey)[2]


@pytest.mark.parametrize(
    "change",
    [
        (b"old 0", b"old 00"),
        (b"old 0", b"new 0"),
        (b"old 0\n", b"old 0\nAAAA\n"),
        (b"\n\n", b"\n"),
        (b"old 0\n", b"old 0\n" + b"A" * 43 + b"=\n"),
    ],
)
def test_a_damaged_request_is_refused(
    log: Any, book: witness.WitnessBook, device: Device, change: tuple[bytes, bytes]
) -> None:
    code, line, words = device.cosign(ask(log, book).replace(*change, 1))
    assert (code, line) == (1, "") and words
    assert "Traceback" not in words


def test_line_ends_that_a_camera_changed_do_not_matter(
    log: Any, book: witness.WitnessBook, device: Device
) -> None:
    body = ask(log, book).replace(b"\n", b"\r\n").rstrip()
    assert device.cosign(body)[0] == 0


def test_the_device_without_its_memory_signs_nothing(
    log: Any, book: witness.WitnessBook, device: Device
) -> None:
    (device.folder / "state" / "seen.json").unlink()
    assert device.cosign(ask(log, book))[0] == 1
    assert device.run("init", "--name", "again.example/w")[0] == 1
    assert (device.folder / "state" / "witness.key").stat().st_mode & 0o077 == 0


def test_an_answer_by_a_stranger_or_to_another_question_is_refused(
    log: Any, book: witness.WitnessBook, device: Device, tmp_path: Path
) -> None:
    stranger = Device(tmp_path / "stranger")
    stranger.run("trust", log.key.vkey)
    line = stranger.cosign(ask(log, book))[1]
    with pytest.raises(AuditWitnessRefusedError):
        book.accept(log.key, line.encode())
    never_asked = witness.request_body(0, 77, hashes(log), log.checkpoint(77).encode())
    with pytest.raises(AuditWitnessRefusedError):
        book.accept(log.key, device.cosign(never_asked)[1].encode())
    with pytest.raises(AuditNoteInvalidError, match="witness key"):
        book.trust(log.key.vkey)


def test_an_older_answer_does_not_replace_a_newer_one(
    log: Any, book: witness.WitnessBook, device: Device
) -> None:
    first = device.cosign(ask(log, book, 300))[1]
    second = device.cosign(ask(log, book, old=300))[1]
    book.accept(log.key, second.encode())
    book.accept(log.key, first.encode())
    seen = book.last(log.key, book.policy().witnesses[0]).checkpoint
    assert seen is not None and seen.size == 600


def test_a_new_shard_neither_hides_the_witness_of_the_one_before_nor_borrows_it(
    log: Any, book: witness.WitnessBook, device: Device, make_log: Callable[..., Any]
) -> None:
    after = make_log(2)
    after.opened(0, log)
    after.add(1)
    after.write()
    chain = [
        witness.LogState(log.key, log.folder, 600),
        witness.LogState(after.key, after.folder, 2),
    ]
    [never] = witness.status(book, chain, 0.0, 3600.0)
    assert (never.age_s, never.behind, never.log, never.newest_signed) == (None, 602, None, False)
    book.accept(log.key, device.cosign(ask(log, book, 500))[1].encode())
    at = book.last(log.key, book.policy().witnesses[0]).time
    [line] = witness.status(book, chain, at + 10.0, 3600.0)
    assert (line.stale, line.problem, line.size) == (False, None, 500)
    assert (line.log, line.newest, line.newest_signed) == (log.key.name, after.key.name, False)
    assert line.behind == 102
    device.run("trust", after.key.vkey)
    book.accept(after.key, device.cosign(ask(after, book, old=0))[1].encode())
    at = book.last(after.key, book.policy().witnesses[0]).time
    [line] = witness.status(book, chain, at + 10.0, 3600.0)
    assert (line.log, line.size, line.behind) == (after.key.name, 2, 0)
    assert line.newest_signed and not line.stale
    # A contradiction in the old shard is told although the new one is in order.
    chain[0] = witness.LogState(log.key, log.folder, 400)
    [line] = witness.status(book, chain, at + 10.0, 3600.0)
    assert line.problem == "rollback: 500 entries were witnessed, 400 are here"
    # So is a kept signature that somebody changed.
    [*_, kept] = sorted((book.folder / "seen").iterdir(), key=lambda p: p.stat().st_mtime_ns)
    kept.write_bytes(kept.read_bytes()[:-9])
    chain[0] = witness.LogState(log.key, log.folder, 600)
    [line] = witness.status(book, chain, at + 10.0, 3600.0)
    assert (line.problem or "").startswith("damaged: ")


def test_staleness_is_told_and_measured(
    log: Any, book: witness.WitnessBook, device: Device
) -> None:
    here = witness.LogState(log.key, log.folder, 600)
    [never] = witness.status(book, [here], 0.0, 3600.0)
    assert never.stale and never.age_s is None
    book.accept(log.key, device.cosign(ask(log, book, 400))[1].encode())
    at = book.last(log.key, book.policy().witnesses[0]).time
    [fresh] = witness.status(book, [here], at + 10.0, 3600.0)
    assert (fresh.stale, fresh.behind, fresh.problem) == (False, 200, None)
    [stale] = witness.status(book, [here], at + 3601.0, 3600.0)
    assert stale.stale

    class Collector:
        def collect(self) -> list[Metric]:
            return witness.metric_families([stale, dataclasses.replace(never, witness="w2")])

    registry = CollectorRegistry()
    registry.register(Collector())
    text = generate_latest(registry).decode()
    assert 'appliance_audit_witness_age_seconds{witness="officer.example/w1"} 3601.0' in text
    assert 'appliance_audit_witness_age_seconds{witness="w2"} +Inf' in text
    assert 'appliance_audit_witness_conflict{witness="w2"} 0.0' in text


def test_a_reader_by_others_reads_the_qr_code(log: Any, book: witness.WitnessBook) -> None:
    body = ask(log, book, old=300)
    rows = [[0 if dark else 255 for dark in row] for row in qr.make_qr(body).matrix]
    picture = np.kron(np.pad(np.array(rows, np.uint8), 4, constant_values=255), np.ones((4, 4)))
    [found] = zxingcpp.read_barcodes(picture.astype(np.uint8))
    assert found.text.encode() == body


def test_the_qr_code_is_written_and_shown(
    tmp_path: Path, log: Any, book: witness.WitnessBook
) -> None:
    body = ask(log, book)
    qr.save_qr(body, tmp_path / "a.png")
    qr.save_qr(body, tmp_path / "a.svg")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert b"<svg" in (tmp_path / "a.svg").read_bytes()
    assert len(qr.terminal_qr(body).splitlines()) > 20
    with pytest.raises(AuditWitnessRefusedError, match="as a file"):
        qr.make_qr(b"x" * 2954)


def test_the_largest_request_fits_one_qr_code() -> None:
    """2^30 entries: 30 proof hashes and the checkpoint, about 1.6 kB."""
    text = note.Checkpoint("hospital-appliance/audit/0001", 2**30 + 1, b"\xff" * 32).text
    signer = note.SeedSigner(b"l" * 32)
    signed = note.Note(text, (note.sign(text, "hospital-appliance/audit/0001", signer),)).encode()
    lines = ["old 1073741823", *[note.b64encode(b"\xff" * 32)] * 31]
    body = ("\n".join(lines) + "\n\n").encode() + signed
    assert qr.make_qr(body).version <= 40


@pytest.mark.parametrize("program", ["verify", "witness"])
def test_the_single_files_need_only_python_3_8_and_its_library(program: str) -> None:
    source = assemble(program)
    parsed = ast.parse(source, feature_version=(3, 8))
    imports = {
        name.split(".")[0]
        for item in ast.walk(parsed)
        for name in (
            [a.name for a in item.names]
            if isinstance(item, ast.Import)
            else [item.module or ""]
            if isinstance(item, ast.ImportFrom)
            else []
        )
    }
    assert imports <= sys.stdlib_module_names
    newer = {"removeprefix", "removesuffix", "pairwise", "file_digest", "bit_count", "UTC"}
    names = {item.attr for item in ast.walk(parsed) if isinstance(item, ast.Attribute)}
    assert not newer & names


@pytest.mark.parametrize("seed", [b"\0" * 32, bytes(range(32)), b"\xff" * 32])
def test_the_small_ed25519_agrees_with_the_library(seed: bytes) -> None:
    signer = note.SeedSigner(seed)
    message = b"message" + seed
    assert core.ed25519_public(seed) == signer.public_key
    assert core.ed25519_sign(seed, message) == signer.sign(message)
    assert core.ed25519_verify(signer.public_key, message, signer.sign(message))
    bad = bytearray(signer.sign(message))
    bad[5] ^= 1
    assert not core.ed25519_verify(signer.public_key, message, bytes(bad))
    assert not core.ed25519_verify(signer.public_key, message + b"x", signer.sign(message))


def test_keys_of_small_order_sign_nothing() -> None:
    """The neutral element as a key would make every message verify under s = 0."""
    neutral = (1).to_bytes(32, "little")
    assert not core.ed25519_verify(neutral, b"anything", neutral + b"\0" * 32)


def test_a_signature_is_not_malleable() -> None:
    signer = note.SeedSigner(b"m" * 32)
    value = signer.sign(b"m")
    s = int.from_bytes(value[32:], "little") + core.L
    assert not core.ed25519_verify(signer.public_key, b"m", value[:32] + s.to_bytes(32, "little"))


@pytest.mark.parametrize("size", range(1, 20))
def test_the_small_proofs_agree_with_the_large_ones(size: int) -> None:
    leaves = [tree.leaf_hash(b"%d" % i) for i in range(size)]

    def read(level: int, index: int) -> bytes:
        return tree.fold(leaves[index << level : (index + 1) << level])

    root = tree.fold(leaves)
    for index in range(size):
        proof = tree.inclusion_proof(index, size, read)
        assert core.inclusion_holds(leaves[index], index, size, proof, root)
        assert not core.inclusion_holds(b"\0" * 32, index, size, proof, root)
    for old in range(1, size + 1):
        proof = tree.consistency_proof(old, size, read)
        old_root = tree.fold(leaves[:old])
        assert core.consistency_holds(old, size, proof, old_root, root)
        assert not core.consistency_holds(old, size, proof, b"\0" * 32, root)
        assert not core.consistency_holds(old, size, [*proof, root], old_root, root)
