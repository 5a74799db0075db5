from __future__ import annotations

import contextlib
import logging
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from backupcore.errors import Stopped
from backupcore.repository.index import DomainIndex, Source
from backupcore.repository.index.run import Run
from backupcore.repository.map import FAN_OUT
from tests.format.world import Chance
from tests.repository.index.shelves import IDENTITY, World, held, open_index, run_files, sources
from tests.repository.map.forest import Tree


@pytest.fixture
def world() -> World:
    return World()


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


def test_a_run_that_is_merged_between_listing_and_opening_is_found_merged(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = world.back_up(list(range(40)))
    world.check(tmp_path)
    world.back_up([50], base)
    world.check(tmp_path)
    init, merging = Run.__init__, [True]

    def late(self: Run, path: Path, identity: bytes) -> None:
        if merging.pop() if merging else False:
            world.back_up(list(range(60, 99)))
            world.check(tmp_path)
        init(self, path, identity)

    monkeypatch.setattr(Run, "__init__", late)
    expected = world.expected
    with world.open(tmp_path) as index:
        assert expected <= held(index, world.ever)


def test_a_damaged_index_that_cannot_be_removed_breaks_nothing(
    tmp_path: Path,
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    world.back_up(list(range(400)))
    world.check(tmp_path)
    (path,) = run_files(tmp_path)
    data = bytearray(path.read_bytes())
    data[2000] ^= 1
    path.write_bytes(data)

    def refuse(self: Path, target: Path) -> Path:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "rename", refuse)
    with world.open(tmp_path) as index:
        assert held(index, world.ever) <= world.expected
    assert "not removed" in caplog.text


def test_what_is_committed_while_another_process_merges_is_not_forgotten(
    tmp_path: Path, world: World
) -> None:
    for number in range(4):
        world.back_up([number])
    listed = sources(world.forest.reader, world.trees)

    def list_late() -> Iterator[Source]:
        for number in range(9):
            world.back_up([100 + number])
        world.check(tmp_path)
        yield from listed

    with DomainIndex(tmp_path, IDENTITY, condemned=set(), random_bytes=Chance("slow")) as slow:
        slow.update(list_late())
    world.check(tmp_path)
