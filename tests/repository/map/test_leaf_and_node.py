from __future__ import annotations

from contextlib import suppress
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupcore.errors import Damaged
from backupcore.repository.map import (
    FAN_OUT,
    ROW,
    Leaf,
    Node,
    null_rows,
    pack_refs,
    tree_level,
    unique_packs,
)
from backupcore.repository.pack import PLACE

CHUNK = 4096
FIRST = 3 * FAN_OUT


def make_leaf(seed: int, cell_count: int, frame_count: int, first_cell: int = FIRST) -> Leaf:
    """Return a leaf with cells at random positions in random slots of frames of random packs."""
    random = np.random.default_rng(seed)
    places = np.zeros(frame_count if cell_count else 0, PLACE)
    for place in places:
        place["pack"] = np.void(random.bytes(32) + bytes([random.integers(4), 0, 0, 0]))
        place["offset"] = random.integers(1 << 25)
        place["plain_length"] = random.integers(4 * CHUNK + 1, 5 * CHUNK + 1)
        place["stored_length"] = random.integers(41, int(place["plain_length"]) + 40)
        place["checksum"] = random.integers(1 << 63)
    present = np.zeros(FAN_OUT, np.bool_)
    present[random.choice(FAN_OUT, cell_count, replace=False)] = True
    return Leaf(
        CHUNK,
        first_cell,
        places,
        present,
        random.integers(0, 256, (cell_count, 32), np.uint8),
        random.integers(0, max(frame_count, 1), cell_count).astype(np.uint16),
        random.integers(0, 5, cell_count).astype(np.uint8),
    )


def make_node(seed: int, level: int, child_count: int) -> Node:
    """Return a node with children in random rows."""
    random = np.random.default_rng(seed)
    rows = null_rows()
    used = sorted(random.choice(FAN_OUT, child_count, replace=False).tolist())
    for child in used:
        row = np.frombuffer(random.bytes(ROW.itemsize), ROW)[0].copy()
        row["stored_length"] = 1 + random.integers(1 << 30)
        rows[child] = row
    references = {random.bytes(36) for _ in range(5 if child_count and level == 1 else 0)}
    packs = pack_refs(sorted(references))
    counts = np.zeros(FAN_OUT, np.int64)
    counts[used] = random.integers(0, 3, child_count) if level == 1 else 0
    starts = np.concatenate(([0], np.cumsum(counts)))
    child_packs = random.integers(0, 5, int(starts[-1]))
    live = random.integers(0, 1 << 40, len(packs))
    return Node(
        CHUNK, level, 0 if level > 1 else FIRST * FAN_OUT, rows, packs, live, starts, child_packs
    )


def assert_same(found: Leaf | Node, wanted: Leaf | Node) -> None:
    for field in fields(wanted):
        left, right = getattr(found, field.name), getattr(wanted, field.name)
        assert np.array_equal(left, right), field.name


LEAF = make_leaf(1, 12, 3).encode()
NODE = make_node(1, 1, 5).encode()


@given(st.integers(0, 1000), st.integers(0, FAN_OUT), st.integers(1, 40))
def test_a_leaf_comes_back(seed: int, cell_count: int, frame_count: int) -> None:
    leaf = make_leaf(seed, cell_count, frame_count)
    assert_same(Leaf.decode(leaf.encode(), CHUNK, FIRST), leaf)


@given(st.integers(0, 1000), st.integers(1, 4), st.integers(0, 40))
def test_a_node_comes_back(seed: int, level: int, child_count: int) -> None:
    node = make_node(seed, level, child_count)
    assert_same(Node.decode(node.encode(), CHUNK, level, node.first_cell), node)


def test_a_full_leaf_takes_about_40_bytes_a_cell() -> None:
    assert len(make_leaf(1, FAN_OUT, 64).encode()) < 41 * FAN_OUT


@pytest.mark.parametrize(
    ("cell_count", "level"),
    [(0, 0), (1, 0), (1024, 0), (1025, 1), (1024**2, 1), (1024**2 + 1, 2), (1024**4 + 1, 4)],
)
def test_a_root_is_no_higher_than_it_must_be(cell_count: int, level: int) -> None:
    assert tree_level(cell_count) == level


def test_a_leaf_is_refused_at_another_place() -> None:
    for chunk_size_bytes, first_cell in ((CHUNK, 0), (2 * CHUNK, FIRST), (CHUNK, FIRST + 1024)):
        with pytest.raises(Damaged):
            Leaf.decode(LEAF, chunk_size_bytes, first_cell)


def test_a_node_is_refused_at_another_place() -> None:
    first_cell = FIRST * FAN_OUT
    for place in ((CHUNK, 1, 0), (CHUNK, 2, first_cell), (2 * CHUNK, 1, first_cell)):
        with pytest.raises(Damaged):
            Node.decode(NODE, *place)


def test_a_node_is_no_leaf_and_a_leaf_no_node() -> None:
    with pytest.raises(Damaged):
        Leaf.decode(NODE, CHUNK, FIRST * FAN_OUT)
    with pytest.raises(Damaged):
        Node.decode(LEAF, CHUNK, 1, FIRST)


def test_a_leaf_cut_anywhere_or_with_junk_is_refused() -> None:
    for plain in [*(LEAF[:length] for length in range(len(LEAF))), LEAF + b"\0"]:
        with pytest.raises(Damaged):
            Leaf.decode(plain, CHUNK, FIRST)


def test_a_node_cut_anywhere_or_with_junk_is_refused() -> None:
    lengths = [*range(0, len(NODE), 97), *range(len(NODE) - 99, len(NODE))]
    for plain in [*(NODE[:length] for length in lengths), NODE + b"\0"]:
        with pytest.raises(Damaged):
            Node.decode(plain, CHUNK, 1, FIRST * FAN_OUT)


CHANGES = st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), min_size=1, max_size=4)
COUNTS = st.lists(
    st.tuples(st.integers(0, 6), st.sampled_from([0, 1, 2, 1 << 16, 1 << 31, (1 << 32) - 1])),
    max_size=2,
)


def mutated(plain: bytes, changes: list[tuple[int, int]], counts: list[tuple[int, int]]) -> bytes:
    """Return bytes with single ones changed, and some of the first 28 as numbers of 4 bytes."""
    result = bytearray(plain)
    for position, value in changes:
        result[position % len(plain)] = value
    for index, value in counts:
        result[4 + 4 * index : 8 + 4 * index] = value.to_bytes(4, "little")
    return bytes(result)


@given(CHANGES, COUNTS)
def test_a_changed_leaf_is_decoded_or_damaged(
    changes: list[tuple[int, int]], counts: list[tuple[int, int]]
) -> None:
    with suppress(Damaged):
        leaf = Leaf.decode(mutated(LEAF, changes, counts), CHUNK, FIRST)
        assert (leaf.lengths() > 0).all()
        assert leaf.live().sizes.sum() == leaf.shares().sum()


@given(CHANGES, COUNTS)
def test_a_changed_node_is_decoded_or_damaged(
    changes: list[tuple[int, int]], counts: list[tuple[int, int]]
) -> None:
    with suppress(Damaged):
        node = Node.decode(mutated(NODE, changes, counts), CHUNK, 1, FIRST * FAN_OUT)
        assert sum(len(node.packs[node.packs_of(child)]) for child in range(FAN_OUT)) == len(
            node.child_packs
        )


@given(st.binary(max_size=400))
def test_arbitrary_bytes_are_damaged(plain: bytes) -> None:
    with pytest.raises(Damaged):
        Leaf.decode(b"leaf" + plain, CHUNK, FIRST)
    with pytest.raises(Damaged):
        Node.decode(b"node" + plain, CHUNK, 1, 0)


def _replace(plain: bytes, offset: int, value: int, width: int) -> bytes:
    return plain[:offset] + value.to_bytes(width, "little") + plain[offset + width :]


_FRAMES = 32 + 36 * int.from_bytes(LEAF[16:20], "little")
_PRESENCE = _FRAMES + 24 * 3
_COLUMNS = _PRESENCE + 128 + 32 * 12


@pytest.mark.parametrize(
    ("what", "offset", "value", "width"),
    [
        ("reserved", 28, 1, 4),
        ("presence", _PRESENCE, (1 << 1024) - 1, 128),
        ("pack of a frame", _FRAMES + 12, 60_000, 2),
        ("reserved of a frame", _FRAMES + 14, 1, 2),
        ("empty frame", _FRAMES + 8, 0, 4),
        ("frame over 4 MiB", _FRAMES + 8, (4 << 20) + 1, 4),
        ("frame stored longer than plain", _FRAMES + 4, 1 << 31, 4),
        ("frame of a cell", _COLUMNS, 3, 2),
        ("slot of a cell", _COLUMNS + 24, 255, 1),
    ],
)
def test_a_leaf_that_cannot_be_is_damaged(what: str, offset: int, value: int, width: int) -> None:
    with pytest.raises(Damaged):
        Leaf.decode(_replace(LEAF, offset, value, width), CHUNK, FIRST)


def _null_node(level: int = 1) -> bytes:
    return Node.null(CHUNK, level, 0).encode()


@pytest.mark.parametrize("offset", [0, 4, 8, 14, 16, 47, 48, 56, 64])
def test_a_null_row_is_zero_in_every_field(offset: int) -> None:
    plain = _replace(_null_node(), 32 + 72 * 5 + offset, 1, 1)
    with pytest.raises(Damaged):
        Node.decode(plain, CHUNK, 1, 0)


def test_a_row_that_names_no_pack_is_damaged() -> None:
    with pytest.raises(Damaged):
        Node.decode(_replace(_null_node(), 32 + 12, 0, 2), CHUNK, 1, 0)


def test_data_packs_above_level_1_are_damage() -> None:
    plain = _replace(_null_node(level=2), 24, 1, 4) + bytes(44)
    with pytest.raises(Damaged):
        Node.decode(plain, CHUNK, 2, 0)


@pytest.mark.parametrize(("child", "start"), [(0, 1), (7, 1), (1024, 1)])
def test_child_packs_that_do_not_fit_the_children_are_damage(child: int, start: int) -> None:
    plain = _null_node()
    with pytest.raises(Damaged):
        Node.decode(_replace(plain, len(plain) - 4 * (1025 - child), start, 4), CHUNK, 1, 0)


@given(st.integers(0, 1000), st.integers(1, 50), st.integers(1, 9))
def test_live_bytes_are_the_shares_of_each_packs_cells(
    seed: int, cell_count: int, frame_count: int
) -> None:
    leaf = make_leaf(seed, cell_count, frame_count)
    naive: dict[bytes, int] = {bytes(place["pack"]): 0 for place in leaf.places}
    for frame, slot in zip(leaf.frame.tolist(), leaf.slot.tolist(), strict=True):
        place: Any = leaf.places[frame]
        plain, stored = int(place["plain_length"]), int(place["stored_length"])
        naive[bytes(place["pack"])] += stored * min(CHUNK, plain - slot * CHUNK) // plain
    live = leaf.live()
    assert dict(zip(live.packs.tolist(), live.sizes.tolist(), strict=True)) == naive


@given(st.lists(st.sampled_from([b"a", b"\0", b"a\0", b"", b"\0a"]), max_size=8))
def test_pack_references_are_told_apart_by_every_byte(ends: list[bytes]) -> None:
    given_references = [end.rjust(4, b"x").ljust(36, b"\0") for end in ends]
    table, position = unique_packs(pack_refs(given_references))
    assert [bytes(table[index]) for index in position.tolist()] == given_references
    assert len(set(table.tolist())) == len(table) == len(set(given_references))
