from __future__ import annotations

import logging
from collections import Counter, defaultdict
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backupcore.errors import MapDamaged
from backupcore.repository.map import FAN_OUT, TreeReader, tree_level
from tests.repository.map.forest import CHUNK, Forest, Stored, Tree, leaf_cells, pack_key

ONE, TWO, THREE = FAN_OUT, FAN_OUT**2, FAN_OUT**3
EDGES = [0, 5, ONE - 1, ONE, TWO - 1, TWO, TWO + ONE, 6 * TWO - 1, THREE - 1, THREE, THREE + TWO,
         THREE + 3 * TWO + 7, 2 * THREE]  # fmt: skip
SIZES = [7, ONE, ONE + 1, TWO, TWO + 9, 6 * TWO, THREE, THREE + 1, THREE + 2 * TWO,
         2 * THREE + 5]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Step:
    """One backup of a sequence: the volume's size, what is written, zeroed and condemned."""

    cell_count: int
    written: list[int]
    zeroed: list[int]
    condemned: list[int]


_FIRST = st.builds(
    Step,
    st.sampled_from(SIZES) | st.just(2 * THREE + 5),
    st.lists(st.sampled_from(EDGES), min_size=3, max_size=9, unique=True),
    st.just([]),
    st.just([]),
)
_LATER = st.builds(
    Step,
    st.sampled_from(SIZES) | st.just(2 * THREE + 5),
    st.lists(st.sampled_from(EDGES), max_size=2),
    st.lists(st.sampled_from(EDGES), max_size=2),
    st.lists(st.integers(0, 20), max_size=2),
)
STEPS = st.tuples(_FIRST, st.lists(_LATER, max_size=3)).map(lambda pair: [pair[0], *pair[1]])


EMPTY = Tree(1, {}, None)


def run_step(forest: Forest, base: Tree, step: Step) -> tuple[Tree, frozenset[bytes]]:
    """Back up what the step makes of the base's cells; return the tree and what was condemned."""
    written = sorted(cell for cell in step.written if cell < step.cell_count)
    cells = {**base.cells, **forest.store(written)}
    cells = {cell: cells[cell] for cell in cells if cell < step.cell_count}
    for cell in step.zeroed:
        cells.pop(cell, None)
    packs = forest.map_packs(base)
    condemned = frozenset(packs[index % len(packs)] for index in step.condemned if packs)
    return forest.backup(base, step.cell_count, cells, condemned), condemned


def below(cells: dict[int, Stored], level: int, index: int) -> dict[int, Stored]:
    span = FAN_OUT ** (level + 1)
    return {cell: cells[cell] for cell in cells if cell // span == index}


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_every_backup_of_a_sequence_reads_as_it_was_written(steps: list[Step]) -> None:
    forest, trees = Forest(), [EMPTY]
    for step in steps:
        trees.append(run_step(forest, trees[-1], step)[0])
    for tree in trees:
        assert forest.read(tree) == tree.cells
        assert tree.root is None or tree.root.level == tree_level(tree.cell_count)


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_an_unchanged_subtree_is_inherited_by_its_row(steps: list[Step]) -> None:
    forest, base = Forest(), EMPTY
    for step in steps:
        tree, condemned = run_step(forest, base, step)
        old = {(level, index): row for level, index, row in forest.rows(base)}
        before, now = base.cells, tree.cells
        for level, index, row in forest.rows(tree):
            was = old.get((level, index))
            is_same = below(before, level, index) == below(now, level, index)
            if was is not None and is_same and not condemned:
                assert row == was
        base = tree


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_condemned_map_packs_are_never_referenced_anew(steps: list[Step]) -> None:
    forest, base = Forest(), EMPTY
    for step in steps:
        tree, condemned = run_step(forest, base, step)
        assert not condemned & set(forest.map_packs(tree))
        base = tree


@settings(max_examples=40, deadline=None)
@given(STEPS)
def test_rows_and_lowest_nodes_count_what_is_below_them(steps: list[Step]) -> None:
    forest, base = Forest(), EMPTY
    for step in steps:
        base, _ = run_step(forest, base, step)
    for level, index, row in forest.rows(base):
        cells = below(base.cells, level, index).values()
        assert (row["cells"], row["logical_bytes"]) == (len(cells), len(cells) * CHUNK)
        assert row["stored_bytes"] == sum(stored.share for stored in cells)
    for index, node in forest.nodes(base):
        live: Counter[bytes] = Counter()
        children: dict[int, set[bytes]] = defaultdict(set)
        for cell, stored in below(base.cells, 1, index).items():
            live[stored.pack] += stored.share
            children[cell // FAN_OUT % FAN_OUT].add(stored.pack)
        assert dict(zip(node.packs.tolist(), node.live.tolist(), strict=True)) == live
        for child in range(FAN_OUT):
            assert set(node.packs[node.packs_of(child)].tolist()) == children[child]


def grown(forest: Forest, cells: list[int], cell_count: int) -> Tree:
    return forest.backup(None, cell_count, forest.store(cells))


def test_a_node_in_a_condemned_pack_is_written_anew_though_its_leaves_are_not() -> None:
    forest = Forest()
    base = grown(forest, [0, TWO, 2 * TWO], 3 * TWO)
    rows = {(level, index): row for level, index, row in forest.rows(base)}
    condemned = frozenset({bytes(rows[1, 1]["pack"])})
    tree = forest.backup(base, 3 * TWO, base.cells, condemned)
    assert not condemned & set(forest.map_packs(tree))
    assert forest.read(tree) == base.cells


@pytest.mark.parametrize("kept", [[0], [0, THREE], [0, THREE, THREE + TWO]])
def test_what_lies_beyond_a_shrunk_volume_is_left_out_though_nothing_else_changed(
    kept: list[int],
) -> None:
    forest = Forest()
    base = grown(forest, [*kept, THREE + 3 * TWO], THREE + 4 * TWO)
    cells = {cell: base.cells[cell] for cell in kept}
    assert forest.read(forest.backup(base, THREE + 2 * TWO, cells)) == cells


def test_a_backup_without_changes_puts_nothing_and_has_the_same_root() -> None:
    forest = Forest()
    base = grown(forest, [0, TWO, 5 * TWO], 6 * TWO)
    keys = set(forest.driver.store.objects)
    tree = forest.backup(base, 6 * TWO, base.cells)
    assert (tree.root, set(forest.driver.store.objects)) == (base.root, keys)


def test_a_volume_of_zeros_has_no_root() -> None:
    forest = Forest()
    base = grown(forest, [0, TWO], 2 * TWO)
    assert forest.backup(base, 2 * TWO, {}).root is None


def test_a_change_of_one_cell_writes_one_leaf_and_the_way_to_it() -> None:
    forest = Forest()
    base = grown(forest, EDGES[:-1], 2 * THREE)
    cells = {**base.cells, **forest.store([THREE])}
    tree = forest.backup(base, 2 * THREE, cells)
    old = {row.tobytes() for _, _, row in forest.rows(base)}
    new = [level for level, _, row in forest.rows(tree) if row.tobytes() not in old]
    assert sorted(new) == [0, 1, 2, 3]


def two_level_tree() -> tuple[Forest, Tree]:
    forest = Forest()
    return forest, grown(forest, [0, ONE, TWO, 5 * TWO], 6 * TWO)


def damage(forest: Forest, tree: Tree, level: int) -> None:
    """Change a byte of the first leaf or node of a level."""
    row = next(row for found, _, row in forest.rows(tree) if found == level)
    key = pack_key(bytes(row["pack"]))
    data = bytearray(forest.driver.get(key))
    data[int(row["offset"]) + 50] ^= 1
    forest.driver.put(key, [data])


@pytest.mark.parametrize("level", [0, 1, 2])
def test_a_damaged_leaf_or_node_is_told_by_its_extent(level: int) -> None:
    forest, tree = two_level_tree()
    damage(forest, tree, level)
    reader = forest.reader(tree)
    with pytest.raises(MapDamaged, match=f"extent 0:{CHUNK * FAN_OUT ** (level + 1)} "):
        reader.leaf(0)


@pytest.mark.parametrize("level", [0, 1, 2])
def test_a_tolerant_reader_takes_what_is_damaged_for_zeros_and_warns(
    level: int, caplog: pytest.LogCaptureFixture
) -> None:
    forest, tree = two_level_tree()
    damage(forest, tree, level)
    reader = TreeReader(
        forest.driver, tree.root, CHUNK, CHUNK * tree.cell_count, cache=None, is_tolerant=True
    )
    with caplog.at_level(logging.WARNING):
        assert reader.leaf(0) is None
    assert "damaged" in caplog.text


def test_a_leaf_of_another_backup_in_its_place_is_refused() -> None:
    forest, tree = two_level_tree()
    other = grown(forest, [0], 6 * TWO)
    mine, theirs = (next(forest.rows(each))[2] for each in (tree, other))
    data = forest.driver.get(pack_key(bytes(theirs["pack"])))
    forest.driver.put(pack_key(bytes(mine["pack"])), [data])
    with pytest.raises(MapDamaged):
        forest.reader(tree).leaf(0)


def test_a_missing_map_pack_is_damage() -> None:
    forest, tree = two_level_tree()
    forest.driver.delete([pack_key(reference) for reference in forest.map_packs(tree)])
    with pytest.raises(MapDamaged, match="map/"):
        forest.reader(tree).leaf(0)


def test_a_row_that_points_past_every_pack_is_damage() -> None:
    forest, tree = two_level_tree()
    assert tree.root is not None
    row = tree.root.row.copy()
    row["offset"] = row["stored_length"] = (1 << 32) - 1
    other = Tree(tree.cell_count, {}, type(tree.root)(tree.root.level, row))
    with pytest.raises(MapDamaged):
        forest.reader(other).leaf(0)


def test_a_row_that_claims_too_much_takes_no_memory() -> None:
    forest, tree = two_level_tree()
    assert tree.root is not None
    row = tree.root.row.copy()
    row["plain_length"] = (1 << 32) - 1
    other = Tree(tree.cell_count, {}, type(tree.root)(tree.root.level, row))
    with pytest.raises(MapDamaged, match="claims"):
        forest.reader(other).leaf(0)


class DictCache:
    """Nodes kept in a dict; counts what was found."""

    def __init__(self) -> None:
        self.nodes: dict[bytes, bytes] = {}
        self.hit_count = 0

    def get_node(self, digest: bytes) -> bytes | None:
        self.hit_count += digest in self.nodes
        return self.nodes.get(digest)

    def put_node(self, digest: bytes, stored: bytes) -> None:
        self.nodes[digest] = stored


def test_nodes_come_from_the_cache_and_leaves_from_the_store() -> None:
    forest, tree = two_level_tree()
    cache = DictCache()
    forest.reader(tree, cache).leaf(0)
    assert len(cache.nodes) == 2
    assert forest.reader(tree, cache).leaf(0) is not None
    assert cache.hit_count == 2


def test_garbage_in_the_cache_is_not_believed() -> None:
    forest, tree = two_level_tree()
    cache = DictCache()
    forest.reader(tree, cache).leaf(0)
    cache.nodes = dict.fromkeys(cache.nodes, b"garbage")
    leaf = forest.reader(tree, cache).leaf(0)
    assert leaf is not None
    assert leaf.ids.tobytes() == leaf_cells(tree.cells, 0)[0].chunk_id


def test_leaves_read_in_order_cost_one_get_for_many() -> None:
    forest = Forest()
    tree = grown(forest, list(range(0, 40 * ONE, ONE)), 40 * ONE)
    reader = forest.reader(tree)
    found = [reader.leaf(index) for index in range(40)]
    firsts = [int(np.flatnonzero(leaf.present)[0]) for leaf in found if leaf is not None]
    assert firsts == [0] * 40


@pytest.mark.parametrize("cell_count", [ONE, 4 * ONE, 3 * TWO, 2 * THREE])
def test_a_taller_tree_hangs_the_base_below_it(cell_count: int) -> None:
    forest = Forest()
    base = grown(forest, [0, 6], 7)
    cells = {**base.cells, **forest.store([cell_count - 1])}
    assert forest.read(forest.backup(base, cell_count, cells)) == cells
