from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backupcore.repository.index import DomainIndex
from backupcore.repository.map import FAN_OUT, Leaf, TreeReader
from tests.format.world import Chance
from tests.repository.index.shelves import (
    CELL_COUNT,
    IDENTITY,
    World,
    held,
    ids_of,
    run_files,
    sources,
)
from tests.repository.map.forest import Stored, Tree, pack_key

CELLS = st.sampled_from([0, 1, 7, 1022, 1023, 1024, 2047, 2048, 3071])


@pytest.fixture
def world() -> World:
    return World()


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_the_index_holds_what_listed_maps_refer_to_and_tombs_do_not_name(
    data: st.DataObject,
) -> None:
    world = World()
    with TemporaryDirectory() as folder:
        for _ in range(data.draw(st.integers(1, 6))):
            step = data.draw(st.sampled_from(["full", "next", "next", "delete", "condemn", "lose"]))
            tree = data.draw(st.sampled_from(world.trees)) if world.trees else None
            if step == "full" or tree is None:
                world.back_up(data.draw(st.lists(CELLS, max_size=6)))
            elif step == "next":
                world.back_up(data.draw(st.lists(CELLS, max_size=3)), tree)
            elif step == "delete":
                world.delete(tree)
            elif step == "condemn" and tree.cells:
                world.condemned.add(next(iter(tree.cells.values())).pack)
            elif step == "lose":
                shutil.rmtree(Path(folder, "index"), ignore_errors=True)
            if data.draw(st.booleans()):
                world.check(Path(folder, "index"))
        world.check(Path(folder, "index"))
        world.check(None)


def test_a_folder_that_is_kept_is_not_made_anew(tmp_path: Path, world: World) -> None:
    world.back_up([1, 2, 3])
    world.check(tmp_path)
    before = [(path.name, path.stat().st_mtime_ns) for path in tmp_path.rglob("*")]
    world.check(tmp_path)
    assert [(path.name, path.stat().st_mtime_ns) for path in tmp_path.rglob("*")] == before


def test_a_map_that_is_covered_is_not_read_again(tmp_path: Path, world: World) -> None:
    tree = world.back_up([1, 2, 3])
    world.check(tmp_path)

    def refuse(tree: Tree) -> TreeReader:
        raise AssertionError("it is read")

    with DomainIndex(tmp_path, IDENTITY, condemned=set(), random_bytes=Chance("again")) as index:
        index.update(sources(refuse, [tree]))
        assert held(index, world.ever) == world.expected


def test_only_leaves_that_changed_are_read_for_the_next_backup(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = world.back_up([0, FAN_OUT, 2 * FAN_OUT])
    world.check(tmp_path)
    world.back_up([FAN_OUT + 1], base)
    read = list[int]()
    read_leaf = TreeReader.leaf

    def leaf(self: TreeReader, index: int) -> Leaf | None:
        read.append(index)
        return read_leaf(self, index)

    monkeypatch.setattr(TreeReader, "leaf", leaf)
    world.check(tmp_path)
    assert read == [1]


def test_packs_of_a_deleted_backup_are_never_hit(tmp_path: Path, world: World) -> None:
    first = world.back_up([1, 2, 3])
    world.back_up([4])
    world.check(tmp_path)
    world.delete(first)
    with world.open(tmp_path) as index:
        assert not held(index, first.cells.values())


def test_packs_that_a_later_backup_shares_outlive_a_deletion(tmp_path: Path, world: World) -> None:
    first = world.back_up([1, 2, 3])
    world.back_up([3], first)
    world.check(tmp_path)
    world.delete(first)
    with world.open(tmp_path) as index:
        assert held(index, [first.cells[1], first.cells[2]]) == {first.cells[1], first.cells[2]}


def test_condemned_packs_are_never_hit(tmp_path: Path, world: World) -> None:
    tree = world.back_up(list(range(12)))
    world.check(tmp_path)
    world.condemned.add(tree.cells[0].pack)
    with world.open(tmp_path) as index:
        assert {stored.pack for stored in held(index, world.ever)} == {
            stored.pack for stored in tree.cells.values()
        } - world.condemned


def test_a_chunk_stored_again_elsewhere_is_found_there(tmp_path: Path, world: World) -> None:
    tree = world.back_up([0])
    world.check(tmp_path)
    (old,) = tree.cells.values()
    world.condemned.add(old.pack)
    (place,) = world.forest.store([0]).values()
    again = Stored(old.chunk_id, place.place, place.slot)
    world.trees.append(world.forest.backup(tree, CELL_COUNT, {0: again}))
    with world.open(tmp_path) as index:
        assert held(index, [old]) == {again}


def test_a_chunk_in_two_places_is_kept_once(tmp_path: Path, world: World) -> None:
    tree = world.back_up(list(range(100)))
    copies = {
        cell: Stored(old.chunk_id, new.place, new.slot)
        for (cell, old), new in zip(
            tree.cells.items(), world.forest.store(list(range(100))).values(), strict=True
        )
    }
    world.trees.append(world.forest.backup(None, CELL_COUNT, copies))
    with world.open(tmp_path) as index:
        assert held(index, world.ever) == set(tree.cells.values())
        assert sum(run.row_count for run in index._runs) == 100


def test_many_backups_leave_few_runs(tmp_path: Path, world: World) -> None:
    tree = None
    for number in range(40):
        tree = world.back_up([number], tree)
        world.check(tmp_path)
    assert len(run_files(tmp_path)) <= 3


def test_runs_shrink_when_most_packs_are_gone(tmp_path: Path, world: World) -> None:
    for number in range(8):
        world.back_up(list(range(number * 100, number * 100 + 100)))
    world.check(tmp_path)
    before = sum(path.stat().st_size for path in run_files(tmp_path))
    for tree in world.trees[:6]:
        world.delete(tree)
    world.check(tmp_path)
    assert sum(path.stat().st_size for path in run_files(tmp_path)) < before / 2


def test_roots_of_deleted_backups_are_forgotten(tmp_path: Path, world: World) -> None:
    world.back_up([1])
    world.delete(world.back_up([2]))
    world.check(tmp_path)
    assert len(list((tmp_path / "roots").iterdir())) == 1


def test_a_map_that_cannot_be_read_is_tried_again_later(
    tmp_path: Path, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    tree = world.back_up([0, FAN_OUT])
    lost = next(row for level, _, row in world.forest.rows(tree) if level == 0)
    key, driver = pack_key(bytes(lost["pack"])), world.forest.driver
    data = driver.get(key)
    driver.delete([key])
    with world.open(tmp_path) as index:
        assert len(held(index, world.ever)) < 2
    assert "map cannot be read" in caplog.text
    driver.put(key, [data])
    world.check(tmp_path)


def test_an_index_without_a_folder_leaves_nothing_behind(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    world.back_up([1])
    world.check(None)
    assert not list(tmp_path.iterdir())


def test_large_questions_are_answered_in_order(tmp_path: Path, world: World) -> None:
    tree = world.back_up(list(range(1000)))
    asked = list(tree.cells.values())
    with world.open(tmp_path) as index:
        found = index.find(ids_of([*asked, *asked[:300]]))
    assert found.hit.all()
    places = [found.places[frame].tobytes() for frame in found.frame.tolist()]
    assert places == [stored.place for stored in [*asked, *asked[:300]]]
    assert len(np.unique(found.places["offset"])) <= len(found.places)


def tall(world: World) -> Tree:
    """Add a tree of three levels with a chunk at the beginning and one at the end."""
    last = 2 * FAN_OUT * FAN_OUT - 1
    cells = world.forest.store([0, last])
    tree = world.forest.backup(None, last + 1, cells)
    world.trees.append(tree)
    world.ever |= set(cells.values())
    return tree


def test_every_leaf_of_a_tall_map_is_covered(tmp_path: Path, world: World) -> None:
    tall(world)
    world.check(tmp_path)


def test_chunks_below_a_node_that_cannot_be_read_are_not_found(
    tmp_path: Path, world: World
) -> None:
    tree = tall(world)
    lost = next(row for level, _, row in world.forest.rows(tree) if level == 1)
    world.forest.driver.delete([pack_key(bytes(lost["pack"]))])
    with world.open(tmp_path) as index:
        assert held(index, world.ever) == {tree.cells[max(tree.cells)]}
