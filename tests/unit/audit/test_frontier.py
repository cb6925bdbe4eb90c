from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.audit.frontier import Frontier
from appliance.audit.tiles import parse_path, tile_width, unpack_bundle
from appliance.audit.tree import CompactRange, leaf_hash


def entries(count: int) -> list[bytes]:
    return [b"entry %d" % n for n in range(count)]


def test_the_root_is_that_of_rfc6962_at_every_size() -> None:
    tree, reference = Frontier(), CompactRange()
    assert tree.root() == reference.root()
    for entry in entries(1100):
        tree.append([entry])
        reference.append(leaf_hash(entry))
        assert tree.root() == reference.root()


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 400), max_size=5), st.integers(0, 255))
def test_the_way_entries_are_grouped_changes_nothing(groups: list[int], more: int) -> None:
    together, apart = Frontier(), Frontier()
    every = entries(sum(groups) + more)
    made = together.append(every)
    pieces = []
    position = 0
    for size in [*groups, more]:
        pieces += apart.append(every[position : position + size])
        position += size
    assert (pieces, apart.partials()) == (made, together.partials())
    assert apart.root() == together.root()


def test_tiles_have_the_names_and_widths_of_the_specification() -> None:
    tree = Frontier()
    made = tree.append(entries(70_000)) + tree.partials()
    for name, data in made:
        level, n, width = parse_path(name)
        if isinstance(level, int):
            assert len(data) == width * 32 == tile_width(level, n, 70_000) * 32
        else:
            assert len(unpack_bundle(data)) == width
    assert {name for name, _ in made} >= {"tile/2/000.p/1", "tile/1/000", "tile/1/001.p/17"}


def test_a_segment_head_is_enough_to_go_on() -> None:
    tree = Frontier()
    tree.append(entries(70_001))
    head = tree.head("o", {}, "")
    again = Frontier(head.start, head.edge)
    again.append(tree.entries)
    assert (again.root(), again.partials()) == (tree.root(), tree.partials())
    with pytest.raises(ValueError, match="hashes at level"):
        Frontier(head.start + 256, head.edge)
