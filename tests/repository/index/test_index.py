from __future__ import annotations

import contextlib
import logging
import shutil
import threading
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backupcore.errors import Stopped
from backupcore.repository.index import DomainIndex
from backupcore.repository.map import FAN_OUT, Leaf, TreeReader
from tests.format.world import Chance
from tests.repository.index.shelves import (
    IDENTITY,
    held,
    ids_of,
    open_index,
    run_files,
    sources,
)
from tests.repository.map.forest import Forest, Stored, Tree, pack_key

CELL_COUNT = 3 * FAN_OUT
CELLS = st.sampled_from([0, 1, 7, 1022, 1023, 1024, 2047, 2048, 3071])


@dataclass
class World:
    """What the model knows: the trees that are listed, every chunk there ever was, tombs."""

    forest: Forest = field(default_factory=Forest)
    trees: list[Tree] = field(default_factory=list)
    ever: set[Stored] = field(default_factory=set)
    condemned: set[bytes] = field(default_factory=set)

    def back_up(self, cells: list[int], base: Tree | None = None) -> Tree:
        """Add a tree: the base's with other chunks in some cells."""
        new = self.forest.store(sorted(set(cells)))
        tree = self.forest.backup(base, CELL_COUNT, {**(base.cells if base else {}), **new})
        self.trees.append(tree)
        self.ever |= set(new.values())
        return tree

    def delete(self, tree: Tree) -> None:
        self.trees = [other for other in self.trees if other is not tree]

    @property
    def expected(self) -> set[Stored]:
        """What may be referred to: chunks of listed trees in packs that are not condemned."""
        chunks = {stored for tree in self.trees for stored in tree.cells.values()}
        return {stored for stored in chunks if stored.pack not in self.condemned}

    def open(self, folder: Path | None) -> DomainIndex:
        return open_index(folder, self.forest, self.trees, condemned=self.condemned)

    def check(self, folder: Path | None) -> None:
        with self.open(folder) as index:
            assert held(index, self.ever) == self.expected


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


@pytest.mark.parametrize("share", range(0, 100, 5))
def test_a_flipped_bit_costs_no_more_than_time(
    tmp_path: Path, world: World, share: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    world.back_up(list(range(400)))
    world.check(tmp_path)
    (path,) = run_files(tmp_path)
    data = bytearray(path.read_bytes())
    data[len(data) * share // 100] ^= 16
    path.write_bytes(data)
    with world.open(tmp_path) as index:
        assert held(index, world.ever) <= world.expected
    world.check(tmp_path)


@pytest.mark.parametrize("data", [b"", b"short", bytes(5000)], ids=["empty", "short", "zeros"])
def test_a_run_that_is_something_else_is_made_anew(
    tmp_path: Path, world: World, data: bytes
) -> None:
    world.back_up([1, 2, 3])
    world.check(tmp_path)
    run_files(tmp_path)[0].write_bytes(data)
    world.check(tmp_path)


def test_runs_of_another_index_are_made_anew(tmp_path: Path, world: World) -> None:
    world.back_up([1, 2, 3])
    with world.open(tmp_path) as index:
        assert held(index, world.ever)
    foreign = World()
    foreign.back_up([7, 8])
    with open_index(tmp_path, foreign.forest, foreign.trees, identity=bytes(32)) as other:
        assert held(other, world.ever | foreign.ever) == foreign.expected


def test_a_root_of_another_index_is_not_believed(tmp_path: Path, world: World) -> None:
    first, second = world.back_up([1]), world.back_up([2])
    world.check(tmp_path)
    names = [tmp_path / "roots" / root.hex() for root in roots([first, second])]
    names[0].write_bytes(names[1].read_bytes())
    world.check(tmp_path)


@pytest.mark.parametrize("flipped", [0, 31, 32, -1])
def test_a_damaged_root_is_read_from_the_map_again(
    tmp_path: Path, world: World, flipped: int
) -> None:
    tree = world.back_up([1, 2, 3])
    world.check(tmp_path)
    path = tmp_path / "roots" / roots([tree])[0].hex()
    data = bytearray(path.read_bytes())
    data[flipped] ^= 1
    path.write_bytes(data)
    world.check(tmp_path)


def roots(trees: list[Tree]) -> list[bytes]:
    return [source.root for source in sources(World().forest.reader, trees)]


def test_a_run_that_is_damaged_while_it_is_merged_is_made_anew(
    tmp_path: Path, world: World
) -> None:
    world.back_up([1, 2, 3])
    world.check(tmp_path)
    (path,) = run_files(tmp_path)
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    world.back_up([4, 5])
    world.check(tmp_path)


class Killed(BaseException):
    """Ends a process in the middle."""


@pytest.mark.parametrize("last", range(12))
def test_an_update_that_ends_in_the_middle_is_made_good_by_the_next(
    tmp_path: Path, world: World, last: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = world.back_up([0, FAN_OUT, 2 * FAN_OUT])
    world.check(tmp_path)
    world.back_up([5], base)
    world.back_up([6])
    calls = iter(range(100))
    replace = Path.replace

    def fail(self: Path, target: Path) -> Path:
        if next(calls) == last // 2:
            if last % 2:
                replace(self, target)
            raise Killed
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", fail)
    with contextlib.suppress(Killed):
        world.check(tmp_path)
    monkeypatch.undo()
    world.check(tmp_path)
    assert not list(tmp_path.rglob("*.unfinished"))


def test_what_a_killed_process_left_half_written_is_removed(tmp_path: Path, world: World) -> None:
    world.back_up([1])
    world.check(tmp_path)
    for folder in (tmp_path, tmp_path / "roots"):
        (folder / "a.run.0011.unfinished").write_bytes(b"half")
    (tmp_path.parent / f"{tmp_path.name}.0011").mkdir()
    world.check(tmp_path)
    assert not list(tmp_path.rglob("*.unfinished"))
    assert not (tmp_path.parent / f"{tmp_path.name}.0011").exists()


def test_a_stop_ends_an_update(tmp_path: Path, world: World) -> None:
    world.back_up([1])

    def stop() -> None:
        raise Stopped("stopped")

    with pytest.raises(Stopped):
        open_index(tmp_path, world.forest, world.trees, tick=stop)
    world.check(tmp_path)


def test_a_folder_that_cannot_be_written_finds_what_is_there(
    tmp_path: Path,
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    tree = world.back_up([1, 2])
    world.check(tmp_path)
    world.back_up([3])

    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with world.open(tmp_path) as index:
        assert held(index, world.ever) == set(tree.cells.values())
    assert "not complete" in caplog.text
    monkeypatch.undo()
    world.check(tmp_path)


def test_no_folder_at_all_finds_nothing(tmp_path: Path, world: World) -> None:
    world.back_up([1, 2])
    (tmp_path / "file").write_bytes(b"")
    with world.open(tmp_path / "file" / "index") as index:
        assert not held(index, world.ever)


def test_a_reader_keeps_its_runs_while_others_merge_them(tmp_path: Path, world: World) -> None:
    first = world.back_up([1, 2, 3])
    with world.open(tmp_path) as reader:
        for number in range(5):
            world.back_up([10 + number])
            world.check(tmp_path)
        assert held(reader, world.ever) == set(first.cells.values())


def test_a_damaged_index_is_removed_beside_a_reader_and_a_writer(
    tmp_path: Path, world: World
) -> None:
    first = world.back_up([1, 2, 3])
    with world.open(tmp_path) as reader:
        shutil.rmtree(tmp_path)
        assert held(reader, world.ever) == set(first.cells.values())
    world.check(tmp_path)


def test_two_processes_that_update_at_once_lose_nothing(tmp_path: Path, world: World) -> None:
    base = world.back_up(list(range(50)))
    world.check(tmp_path)
    for number in range(6):
        base = world.back_up([60 + number], base)
    barrier = threading.Barrier(2, timeout=30)
    calls = [0, 0]
    failures = list[BaseException]()

    def live(number: int) -> None:
        def tick() -> None:
            calls[number] += 1
            if calls[number] < 6:
                barrier.wait()

        try:
            with open_index(tmp_path, world.forest, world.trees, tick=tick) as index:
                assert held(index, world.ever) == world.expected
        except BaseException as error:  # noqa: BLE001 - handed to the test's own thread
            failures.append(error)

    threads = [threading.Thread(target=live, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    world.check(tmp_path)
