"""Tile names and widths by the specification's own examples, bundles, and hashes from tiles."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.audit import tiles, tree


def build(folder: Path, entries: list[bytes]) -> None:
    """Write the tiles and bundles of a log of ``entries``."""
    edge = tree.CompactRange()
    levels: dict[int, list[bytes]] = {}
    for entry in entries:
        for level, _, value in edge.append(tree.leaf_hash(entry)):
            if level % 8 == 0:
                levels.setdefault(level // 8, []).append(value)
    for level, n, width in tiles.tiles_of(len(entries)):
        path = folder / tiles.tile_path(level, n, width)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"".join(levels[level][n * 256 : n * 256 + width]))
    for n in range((len(entries) + 255) // 256):
        part = entries[n * 256 : (n + 1) * 256]
        path = folder / tiles.entries_path(n, len(part))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(tiles.pack_bundle(part))


def test_names_are_those_of_the_specification() -> None:
    assert tiles.encode_index(1234067) == "x001/x234/067"
    assert tiles.tile_path(0, 0) == "tile/0/000"
    assert tiles.tile_path(1, 1000, 17) == "tile/1/x001/000.p/17"
    assert tiles.entries_path(273, 112) == "tile/entries/273.p/112"


@given(st.integers(0, 63), st.integers(0, 1 << 54), st.integers(1, 256))
def test_a_name_reads_back(level: int, n: int, width: int) -> None:
    assert tiles.parse_path(tiles.tile_path(level, n, width)) == (level, n, width)
    assert tiles.parse_path(tiles.entries_path(n, width)) == ("entries", n, width)


@pytest.mark.parametrize(
    "path",
    [
        "tile/64/000",
        "tile/01/000",
        "tile/0/x000/001",
        "tile/0/1",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/300",
        "tile/0/../000",
        "tile/0/000/",
        "checkpoint",
    ],
)
def test_another_name_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match=r"not a tile path|at most 255"):
        tiles.parse_path(path)


def test_widths_are_those_of_the_specification() -> None:
    all_tiles = list(tiles.tiles_of(70_000))
    assert sum(1 for level, _, width in all_tiles if level == 0 and width == 256) == 273
    assert [(n, w) for level, n, w in all_tiles if level == 0 and w < 256] == [(273, 112)]
    assert [(n, w) for level, n, w in all_tiles if level == 1] == [(0, 256), (1, 17)]
    assert [(n, w) for level, n, w in all_tiles if level == 2] == [(0, 1)]
    assert list(tiles.tiles_of(256)) == [(0, 0, 256), (1, 0, 1)]
    assert list(tiles.tiles_of(300, since=299)) == [(0, 1, 44)]
    assert list(tiles.tiles_of(0)) == []


@given(st.lists(st.binary(max_size=300), max_size=256))
def test_a_bundle_reads_back(entries: list[bytes]) -> None:
    assert tiles.unpack_bundle(tiles.pack_bundle(entries)) == entries


def test_a_bundle_cut_anywhere_is_refused() -> None:
    data = tiles.pack_bundle([b"abc"])
    for end in range(1, len(data)):
        with pytest.raises(ValueError, match="cut short"):
            tiles.unpack_bundle(data[:end])
    with pytest.raises(ValueError, match="at most 256"):
        tiles.unpack_bundle(b"\0\0" * 257)
    with pytest.raises(ValueError, match="at most 65535"):
        tiles.pack_bundle([b"x" * 65_536])


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 700).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n - 1))))
def test_proofs_read_from_tiles_verify(
    tmp_path_factory: pytest.TempPathFactory, case: tuple[int, int]
) -> None:
    size, index = case
    entries = [b"%d" % i for i in range(size)]
    folder = tmp_path_factory.mktemp("log")
    build(folder, entries)
    hashes = tiles.TileHashes(size, tiles.folder_tiles(folder))
    edge = tree.CompactRange()
    for entry in entries:
        edge.append(tree.leaf_hash(entry))
    root = tree.root_hash(size, hashes)
    assert root == edge.root()
    proof = tree.inclusion_proof(index, size, hashes)
    assert tree.verify_inclusion(tree.leaf_hash(entries[index]), index, size, proof, root)
    assert tiles.read_bundle(folder, index // 256, index % 256 + 1)[-1] == entries[index]


def test_an_old_size_is_served_from_wider_tiles(tmp_path: Path) -> None:
    entries = [b"%d" % i for i in range(300)]
    build(tmp_path, entries)
    for size in (1, 255, 256, 257, 299):
        hashes = tiles.TileHashes(size, tiles.folder_tiles(tmp_path))
        assert tree.root_hash(size, hashes) == tree.fold(
            [tree.leaf_hash(e) for e in entries[:size]]
        )


def test_a_missing_or_cut_tile_is_an_error_not_a_guess(tmp_path: Path) -> None:
    build(tmp_path, [b"%d" % i for i in range(10)])
    hashes = tiles.TileHashes(300, tiles.folder_tiles(tmp_path))
    with pytest.raises(LookupError):
        hashes(0, 299)
    with pytest.raises(LookupError):
        hashes(1, 150)
    path = tmp_path / tiles.tile_path(0, 0, 10)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="bytes"):
        tiles.TileHashes(10, tiles.folder_tiles(tmp_path))(0, 3)
