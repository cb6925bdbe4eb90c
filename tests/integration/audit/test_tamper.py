"""Every attack on a log at rest is found and named."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.audit import wire
from appliance.audit.client import connect
from appliance.audit.frontier import Frontier
from appliance.audit.index import open_index
from appliance.audit.keys import FileKeys
from appliance.audit.layout import current_shard
from appliance.audit.note import (
    COSIGNATURE,
    Checkpoint,
    Note,
    SeedSigner,
    Verifier,
    cosign,
    open_checkpoint,
    sign,
)
from appliance.audit.tiles import (
    TileHashes,
    folder_tiles,
    pack_bundle,
    read_bundle,
    unpack_bundle,
)
from appliance.audit.verify import Options, Report, verify_folder, verify_home
from appliance.audit.witness import WitnessBook
from appliance.core.home import Home
from tests.integration.audit.conftest import stop_writer
from tests.integration.audit.test_writer import body

SIZE = 700
ORIGIN = "hospital-appliance/audit/0002"


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stopped log of two shards, and a search index."""
    home = Home(tmp_path_factory.mktemp("log") / "home").prepare()
    sink = connect(home)
    sink.append([body() for _ in range(10)])
    sink.ask(wire.ROTATE)
    sink.append([body(user=f"u{n}") for n in range(SIZE)])
    sink.close()
    stop_writer(home)
    open_index(home.audit).close()
    return home.audit


@pytest.fixture
def audit(intact: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(intact, tmp_path / "audit"))


def check(audit: Path, *kept: bytes) -> Report:
    return verify_home(audit, Options(kept=kept))


def names(report: Report) -> set[str]:
    return {problem.name for problem in report.problems}


def bundle(audit: Path, n: int = 0) -> Path:
    return audit / f"log-0002/tile/entries/{n:03d}"


def rebuild(folder: Path, entries: list[bytes], signer: SeedSigner, origin: str) -> None:
    """Write a consistent log of ``entries``, as somebody with a key could."""
    shutil.rmtree(folder / "tile")
    tree = Frontier()
    for name, data in tree.append(entries) + tree.partials():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    text = Checkpoint(origin, tree.size, tree.root()).text
    (folder / "checkpoint").write_bytes(Note(text, (sign(text, origin, signer),)).encode())
    shutil.rmtree(folder / "wal", ignore_errors=True)


def all_entries(folder: Path) -> list[bytes]:
    size = Checkpoint.parse(Note.parse((folder / "checkpoint").read_bytes()).text).size
    found = []
    for n in range((size + 255) // 256):
        found += read_bundle(folder, n, min(256, size - n * 256))
    return found


def test_an_untouched_log_is_intact(audit: Path) -> None:
    report = check(audit)
    assert report.ok, report.problems
    assert report.size == SIZE + 2
    assert report.checked["entries"] == SIZE + 2 + 13
    assert report.index["state"] == "ok"


def test_attack_edit(audit: Path) -> None:
    entries = unpack_bundle(bundle(audit).read_bytes())
    entries[17] = entries[17].replace(b'"u16"', b'"u99"')
    bundle(audit).write_bytes(pack_bundle(entries))
    report = check(audit)
    assert [p.to_dict()["place"] for p in report.problems] == ["log-0002: entry 17"]
    assert names(report) == {"edit"}


def test_attack_delete(audit: Path) -> None:
    entries = unpack_bundle(bundle(audit).read_bytes())
    del entries[17]
    bundle(audit).write_bytes(pack_bundle(entries))
    assert names(check(audit)) == {"delete"}


def test_attack_delete_a_bundle(audit: Path) -> None:
    bundle(audit, 1).unlink()
    assert names(check(audit)) == {"delete"}


def test_attack_swap(audit: Path) -> None:
    entries = unpack_bundle(bundle(audit).read_bytes())
    entries[17], entries[18] = entries[18], entries[17]
    bundle(audit).write_bytes(pack_bundle(entries))
    report = check(audit)
    assert names(report) == {"swap"}
    assert "entries 17 to 18" in report.problems[0].place


def test_attack_truncate_a_bundle(audit: Path) -> None:
    entries = unpack_bundle(bundle(audit).read_bytes())
    bundle(audit).write_bytes(pack_bundle(entries[:-1]))
    assert names(check(audit)) == {"truncate"}


def test_attack_truncate_the_log_and_sign_it_again_with_another_key(audit: Path) -> None:
    folder = audit / "log-0002"
    rebuild(
        folder, all_entries(folder)[:500], SeedSigner.generate(), "hospital-appliance/audit/0002"
    )
    assert "signature" in names(check(audit))


def thief(audit: Path) -> SeedSigner:
    signer = FileKeys(audit).load(ORIGIN)
    assert isinstance(signer, SeedSigner)
    return signer


@pytest.mark.parametrize("attack", ["truncate", "fork"])
def test_attack_with_the_stolen_key_is_found_by_a_kept_checkpoint(audit: Path, attack: str) -> None:
    folder = audit / "log-0002"
    kept = (folder / "checkpoint").read_bytes()
    entries = all_entries(folder)
    if attack == "truncate":
        entries = entries[:500]
    else:
        entries[17] = entries[17].replace(b'"u16"', b'"u99"')
    rebuild(folder, entries, thief(audit), ORIGIN)
    report = check(audit, kept)
    assert ("older-copy" if attack == "truncate" else "fork") in names(report)


def test_attack_older_copy_put_back_is_found_by_a_kept_checkpoint(
    audit: Path, tmp_path: Path
) -> None:
    older = tmp_path / "older" / "home"
    home = Home(tmp_path / "now").prepare()
    shutil.copytree(audit, home.audit)
    shutil.copytree(audit, older)
    sink = connect(home)
    sink.append([body()])
    sink.ask(wire.SYNC)
    kept = (home.audit / "log-0002" / "checkpoint").read_bytes()
    sink.close()
    stop_writer(home)
    assert verify_home(home.audit, Options(kept=[kept])).ok
    assert verify_home(older, Options()).ok
    assert names(verify_home(older, Options(kept=[kept]))) == {"older-copy"}


def test_attack_older_copy_put_back_is_found_by_the_witnessed_checkpoint_alone(
    audit: Path, tmp_path: Path
) -> None:
    home = Home(tmp_path / "now").prepare()
    shutil.copytree(audit, home.audit)
    device = SeedSigner.generate()
    book = WitnessBook(home.audit / "witness")
    book.trust(Verifier("officer/w1", device.public_key, COSIGNATURE).vkey)
    sink = connect(home)
    sink.append([body()])
    sink.ask(wire.SYNC)
    shard = current_shard(home)
    data = shard.checkpoint.read_bytes()
    head, note, _ = open_checkpoint(data, shard.verifier)
    book.request(shard.verifier, data, TileHashes(head.size, folder_tiles(shard.folder)), 0)
    signed = cosign(note.text, "officer/w1", device, 1_700_000_000)
    book.accept(shard.verifier, signed.line.encode())
    sink.close()
    stop_writer(home)
    assert verify_home(home.audit, Options()).ok
    shutil.copytree(home.audit / "witness", audit / "witness")
    assert names(check(audit)) == {"older-copy"}


def test_attack_leave_out_the_newest_shard(audit: Path) -> None:
    shutil.rmtree(audit / "log-0002")
    assert "delete" in names(check(audit))


def test_attack_leave_out_the_oldest_shard(audit: Path) -> None:
    shutil.rmtree(audit / "log-0001")
    assert names(check(audit)) == {"delete"}


def test_attack_replace_the_first_shard_by_another_log(audit: Path) -> None:
    folder = audit / "log-0001"
    signer = SeedSigner.generate()
    origin = "hospital-appliance/audit/0001"
    (folder / "log.vkey").write_text(f"{Verifier(origin, signer.public_key).vkey}\n")
    entries = all_entries(folder)
    rebuild(folder, [*entries[:5], *entries[6:]], signer, origin)
    assert "fork" in names(check(audit))


def test_attack_put_a_file_where_none_belongs(audit: Path) -> None:
    (audit / "log-0002/tile/0/000.p").mkdir()
    (audit / "log-0002/tile/0/000.p/3").write_bytes(b"x" * 96)
    (audit / "log-0002/notes.txt").write_text("x")
    (audit / "other").write_text("x")
    report = check(audit)
    assert names(report) == {"stray"} and len(report.problems) == 3


def test_a_true_partial_tile_left_by_a_crash_is_no_attack(audit: Path) -> None:
    (audit / "log-0002/tile/0/000.p").mkdir()
    tile = (audit / "log-0002/tile/0/000").read_bytes()
    (audit / "log-0002/tile/0/000.p/3").write_bytes(tile[:96])
    assert check(audit).ok


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_one_changed_bit_in_any_file_is_found(intact: Path, data: st.DataObject) -> None:
    files = sorted(p for p in intact.rglob("*") if p.is_file())
    path = data.draw(st.sampled_from(files))
    original = path.read_bytes()
    position = data.draw(st.integers(0, len(original) - 1))
    changed = bytearray(original)
    changed[position] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(bytes(changed))
    try:
        assert not check(intact).ok, f"{path.name} at {position}"
    finally:
        path.write_bytes(original)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_file_cut_short_or_grown_is_found(intact: Path, data: st.DataObject) -> None:
    files = sorted(p for p in intact.rglob("*") if p.is_file() and p.name != "reserve")
    path = data.draw(st.sampled_from(files))
    original = path.read_bytes()
    cut = data.draw(st.integers(0, len(original) - 1) | st.none())
    path.write_bytes(original + b"\x01" if cut is None else original[:cut])
    try:
        report = check(intact)
        torn = path.parent.name == "wal" and cut is not None
        assert not report.ok or (torn and report.notes), f"{path.name} cut at {cut}"
    finally:
        path.write_bytes(original)


def test_any_tlog_tiles_folder_is_verified_with_its_key(audit: Path) -> None:
    folder = audit / "log-0002"
    vkey = (folder / "log.vkey").read_text()
    shutil.rmtree(folder / "wal")
    report = verify_folder(folder, vkey, Options())
    assert report.ok, report.problems
    assert report.size == SIZE + 2
    tile = next((folder / "tile/0/002.p").iterdir())
    tile.write_bytes(bytes(32) + tile.read_bytes()[32:])
    assert not verify_folder(folder, vkey, Options()).ok


def test_reading_only_what_is_newer_still_compares_the_kept_root(audit: Path) -> None:
    folder = audit / "log-0002"
    kept = (folder / "checkpoint").read_bytes()
    report = verify_home(audit, Options(kept=[kept], newer_only=True))
    assert report.ok
    assert report.checked["entries"] < 400
    tile = folder / "tile/0/000"
    tile.write_bytes(bytes(32) + tile.read_bytes()[32:])
    assert not verify_home(audit, Options(kept=[kept], newer_only=True)).ok


def test_attack_another_shard_under_another_key_in_the_place_of_the_next(audit: Path) -> None:
    """It begins with the right checkpoint, but the closed log named another key."""
    folder = audit / "log-0002"
    entries = all_entries(folder)
    thief = SeedSigner.generate()
    (folder / "log.vkey").write_text(f"{Verifier(ORIGIN, thief.public_key).vkey}\n")
    rebuild(folder, entries, thief, ORIGIN)
    for key in (audit / "keys").iterdir():
        key.unlink()
    places = {p.place: p.what for p in check(audit).problems if p.name == "fork"}
    assert places == {"log-0001: entry 12": "names another log or key than the one that follows"}


def test_a_rotation_that_was_cut_short_leaves_a_key_and_no_damage(
    audit: Path, tmp_path: Path
) -> None:
    """The next shard's key is made before the shard is closed; a crash may come in between."""
    home = Home(tmp_path / "home").prepare()
    shutil.copytree(audit, home.audit)
    FileKeys(home.audit).create("hospital-appliance/audit/0003")
    report = verify_home(home.audit, Options())
    assert report.ok, report.problems
    assert [n.place for n in report.notes if n.name == "unfinished"] == ["keys/0003.key"]
    left = (home.audit / "keys/0003.key").read_bytes()
    sink = connect(home)
    assert sink.ask(wire.ROTATE)["log"] == 3
    sink.close()
    stop_writer(home)
    report = verify_home(home.audit, Options())
    assert report.ok, report.problems
    assert (home.audit / "keys/0003.key").read_bytes() != left
