"""What a restore in place reads, writes and leaves alone."""

from __future__ import annotations

import itertools
import os
import threading
from pathlib import Path

import pytest

from backupcore.config import Tuning
from backupcore.errors import Stopped, TargetTooSmall
from backupcore.extents import single_extent
from backupcore.model import Buffer, Progress
from backupcore.operation.restore import compare, restore, restore_in_place
from backupcore.volume import Access, open_volume
from backupcore.volume.memory import MemoryVolume
from tests.operation.retrieve.conftest import SIZE, TAIL
from tests.operation.scene import (
    CHUNK,
    INLINE,
    LEAF_LENGTH,
    THREADS,
    Recording,
    Scene,
    back_up,
    chunks,
    noise,
    same,
)
from tests.operation.volumes import SparseVolume, WatchedVolume, nth_time

DIRT = b"\xa5"
TUNINGS = pytest.mark.parametrize("tuning", [INLINE, THREADS], ids=["inline", "threads"])


class NotedVolume(MemoryVolume):
    """Writes down what is read, written and zeroed, as (offset, length)."""

    def __init__(self, content: bytes | bytearray | int) -> None:
        super().__init__(content)
        self.read: list[tuple[int, int]] = []
        self.written: list[tuple[int, int]] = []
        self.zeroed: list[tuple[int, int]] = []

    def read_into(self, offset: int, buffer: Buffer) -> None:
        self.read.append((offset, len(buffer)))
        super().read_into(offset, buffer)

    def write(self, offset: int, buffer: Buffer) -> None:
        self.written.append((offset, len(buffer)))
        super().write(offset, buffer)

    def zero(self, offset: int, length: int) -> None:
        self.zeroed.append((offset, length))
        super().zero(offset, length)


@TUNINGS
def test_a_target_of_noise_becomes_the_backup(scene: Scene, content: bytes, tuning: Tuning) -> None:
    target = NotedVolume(noise(9, SIZE))
    with scene.open() as repository:
        done = restore_in_place(repository, "latest", target, tuning=tuning)
    assert same(target.content, content)
    assert (done.restored_bytes, done.equal_bytes) == (SIZE, 0)
    assert done.written_bytes + done.zeroed_bytes == SIZE
    assert target.is_finished


@TUNINGS
def test_an_equal_target_is_read_and_left_alone(
    scene: Scene, content: bytes, tuning: Tuning
) -> None:
    target, driver = NotedVolume(content), Recording(scene.driver)
    with scene.open(driver=driver) as repository:
        done = restore_in_place(repository, "latest", target, tuning=tuning)
    assert (target.written, target.zeroed) == ([], [])
    assert (done.equal_bytes, done.got_bytes) == (SIZE, 0)
    assert ("get", "data") not in driver.folders()
    assert sum(length for _, length in target.read) == SIZE


@TUNINGS
def test_only_cells_that_differ_are_written(scene: Scene, content: bytes, tuning: Tuning) -> None:
    dirty = bytearray(content)
    for offset in (0, 3 * CHUNK - 1, LEAF_LENGTH + 5, SIZE - 1):
        dirty[offset] ^= 1
    target = NotedVolume(dirty)
    with scene.open() as repository:
        done = restore_in_place(repository, "latest", target, tuning=tuning)
    cells = [(0, CHUNK), (2 * CHUNK, CHUNK), (LEAF_LENGTH, CHUNK), (2 * LEAF_LENGTH, TAIL)]
    assert sorted(target.written) == cells
    assert target.zeroed == []
    assert (done.written_bytes, done.equal_bytes) == (3 * CHUNK + TAIL, SIZE - 3 * CHUNK - TAIL)
    assert same(target.content, content)


def test_only_cells_that_are_not_zero_are_zeroed(scene: Scene, content: bytes) -> None:
    dirty = bytearray(content)
    dirty[5 * CHUNK] = dirty[7 * CHUNK - 1] = dirty[2 * LEAF_LENGTH - 1] = 1
    target = NotedVolume(dirty)
    with scene.open() as repository:
        done = restore_in_place(repository, "latest", target, tuning=INLINE)
    assert target.zeroed == [(5 * CHUNK, 2 * CHUNK), (2 * LEAF_LENGTH - CHUNK, CHUNK)]
    assert (target.written, done.zeroed_bytes) == ([], 3 * CHUNK)
    assert same(target.content, content)


def test_only_packs_that_hold_what_differs_are_read() -> None:
    scene, content = Scene(), chunks(*range(100))
    dirty = bytearray(content)
    dirty[50 * CHUNK] ^= 1
    counts = {}
    with scene.open() as repository:
        back_up(repository, MemoryVolume(content))
    for call in (restore, restore_in_place):
        driver, target = Recording(scene.driver), MemoryVolume(dirty[:])
        with scene.open(driver=driver) as repository:
            done = call(repository, "latest", target, tuning=INLINE)
        counts[call] = (driver.folders().count(("get", "data")), done.got_bytes)
        assert same(target.content, content)
    pack_count = len(scene.listed("data/"))
    assert (counts[restore][0], counts[restore_in_place][0]) == (pack_count, 1)
    assert counts[restore][1] > 100 * CHUNK > 20 * counts[restore_in_place][1]


def test_what_lies_beyond_the_backup_is_neither_read_nor_written(
    scene: Scene, content: bytes
) -> None:
    target = NotedVolume(content + DIRT * CHUNK)
    target.content[SIZE - 1] ^= 1
    with scene.open() as repository:
        done = restore_in_place(repository, "latest", target, tuning=INLINE)
    assert target.written == [(2 * LEAF_LENGTH, TAIL)]
    assert max(offset + length for offset, length in target.read) == SIZE
    assert (done.written_bytes, done.equal_bytes) == (TAIL, SIZE - TAIL)
    assert same(target.content, content + DIRT * CHUNK)


EXTENTS: list[list[tuple[int, int]]] = [
    [],
    [(0, 1)],
    [(CHUNK - 1, 2)],
    [(5 * CHUNK, 10)],
    [(7 * CHUNK, CHUNK), (0, 3)],
    [(100, 1000), (500, 2000), (600, 1)],
    [(LEAF_LENGTH - 1, 2)],
    [(LEAF_LENGTH - CHUNK, 3 * CHUNK), (SIZE - 1, 1)],
    [(2 * LEAF_LENGTH, 40)],
    [(SIZE, 0)],
]


@pytest.mark.parametrize("extents", EXTENTS, ids=str)
def test_extents_and_nothing_else_are_written(
    scene: Scene, content: bytes, extents: list[tuple[int, int]]
) -> None:
    expected, target = bytearray(DIRT * SIZE), MemoryVolume(DIRT * SIZE)
    for offset, length in extents:
        expected[offset : offset + length] = content[offset : offset + length]
    with scene.open() as repository:
        restore_in_place(repository, "latest", target, extents=extents, tuning=INLINE)
    assert same(target.content, expected)


@pytest.mark.parametrize("extents", EXTENTS, ids=str)
def test_only_cells_that_extents_touch_are_read(
    scene: Scene, content: bytes, extents: list[tuple[int, int]]
) -> None:
    target = NotedVolume(content)
    with scene.open() as repository:
        restore_in_place(repository, "latest", target, extents=extents, tuning=INLINE)
    touched = {
        cell
        for offset, length in extents
        for cell in range(offset // CHUNK, -(-(offset + length) // CHUNK))
        if length
    }
    assert sorted(offset // CHUNK for offset, _ in cells_read(target)) == sorted(touched)
    assert target.written == target.zeroed == []


def cells_read(target: NotedVolume) -> list[tuple[int, int]]:
    """Return every cell that was read, once for each time."""
    return [
        (start, min(CHUNK, offset + length - start))
        for offset, length in target.read
        for start in range(offset, offset + length, CHUNK)
    ]


def test_holes_of_the_target_are_not_read(scene: Scene, content: bytes) -> None:
    hole = single_extent(8 * CHUNK, LEAF_LENGTH // 2)
    target = NotedVolume(content)
    MemoryVolume.zero(target, *hole[0].tolist())
    with scene.open() as repository:
        done = restore_in_place(repository, "latest", target, tuning=INLINE)
    assert sum(length for _, length in target.read) == SIZE - LEAF_LENGTH // 2
    assert done.equal_bytes == SIZE


def test_a_huge_empty_target_is_done_at_once() -> None:
    size = (100 << 40) + TAIL
    cells = {0: noise(1, CHUNK), size // CHUNK: noise(2, TAIL)}
    wrong = {5: noise(3, CHUNK), (50 << 40) // CHUNK: noise(4, CHUNK)}
    scene, target = Scene(), SparseVolume(size, dict(wrong))
    target.zero = lambda offset, length: target.write(offset, bytes(length))  # type: ignore[method-assign]
    with scene.open() as repository:
        back_up(repository, SparseVolume(size, dict(cells)))
        done = restore_in_place(repository, "latest", target, tuning=INLINE)
    assert (done.written_bytes, done.zeroed_bytes) == (CHUNK + TAIL, 2 * CHUNK)
    assert target.cells == cells | dict.fromkeys(wrong, bytes(CHUNK))


def test_a_far_extent_of_zeros_is_compared_alone() -> None:
    size, far = 200 << 30, 150 << 30
    scene, target = Scene(), SparseVolume(size, {far // CHUNK: noise(1, CHUNK)})
    with scene.open() as repository:
        back_up(repository, SparseVolume(size, {}))
        found = compare(repository, "latest", target, extents=[(far, 10)], tuning=INLINE)
    assert (found.compared_bytes, found.to_zero_bytes) == (10, 10)


def test_changes_thinly_spread_over_many_leaves_all_arrive() -> None:
    count = 70
    cells = {leaf * 1024 + leaf: noise(leaf, CHUNK) for leaf in range(count)}
    scene, target = Scene(), SparseVolume(count * LEAF_LENGTH, {})
    with scene.open() as repository:
        back_up(repository, SparseVolume(count * LEAF_LENGTH, cells))
        done = restore_in_place(repository, "latest", target, tuning=THREADS)
    assert target.cells == cells
    assert done.written_bytes == count * CHUNK


@TUNINGS
def test_a_stop_midway_can_be_taken_up(tuning: Tuning) -> None:
    content, stop, scene = noise(1, LEAF_LENGTH) * 20, threading.Event(), Scene()
    target = WatchedVolume(bytearray(DIRT * len(content)), nth_time(40, stop.set))
    before = threading.active_count()
    with scene.open() as repository:
        back_up(repository, MemoryVolume(content))
        with pytest.raises(Stopped):
            restore_in_place(repository, "latest", target, tuning=tuning, stop=stop)
        assert threading.active_count() == before
        assert scene.listed("sessions/") == []
        assert not same(target.content, content)
        restore_in_place(repository, "latest", target, tuning=tuning)
    assert same(target.content, content)


@pytest.mark.parametrize("call", [restore_in_place, compare])
def test_a_target_that_is_too_small_is_refused_unread(scene: Scene, call: object) -> None:
    target = NotedVolume(DIRT * (SIZE - 1))
    with scene.open() as repository, pytest.raises(TargetTooSmall, match=f"needs {SIZE}"):
        call(repository, "latest", target)  # type: ignore[operator]
    assert target.read == []
    assert scene.listed("sessions/") == []


def test_zeros_become_holes_of_a_file(scene: Scene, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "target"
    path.write_bytes(noise(7, SIZE))
    with (
        scene.open() as repository,
        open_volume(str(path), access=Access.WRITE) as target,
    ):
        restore_in_place(repository, "latest", target, tuning=THREADS)
    assert same(path.read_bytes(), content)
    assert path.stat().st_blocks * 512 < SIZE // 4


def test_an_equal_file_keeps_its_time(scene: Scene, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "target"
    path.write_bytes(content)
    os.utime(path, ns=(10**9, 10**9))
    with scene.open() as repository, open_volume(str(path), access=Access.WRITE) as target:
        done = restore_in_place(repository, "latest", target, tuning=THREADS)
    assert (done.equal_bytes, path.stat().st_mtime_ns) == (SIZE, 10**9)


def test_a_comparison_needs_neither_data_nor_a_writable_volume(
    scene: Scene, content: bytes, tmp_path: Path
) -> None:
    path, driver = tmp_path / "target", Recording(scene.driver)
    dirty = bytearray(content)
    dirty[0] ^= 1
    dirty[5 * CHUNK] ^= 1
    path.write_bytes(dirty)
    path.chmod(0o400)
    os.utime(path, ns=(10**9, 10**9))
    with scene.open(driver=driver) as repository, open_volume(str(path)) as volume:
        found = compare(repository, "latest", volume, tuning=INLINE)
    assert (found.to_write_bytes, found.to_zero_bytes) == (CHUNK, CHUNK)
    assert (found.compared_bytes, found.equal_bytes) == (SIZE, SIZE - 2 * CHUNK)
    assert {folder for _, folder in driver.folders()}.isdisjoint({"data"})
    assert (path.stat().st_mtime_ns, path.read_bytes()) == (10**9, bytes(dirty))


@pytest.mark.parametrize("call", [restore_in_place, compare])
def test_progress_grows_to_the_whole(scene: Scene, content: bytes, call: object) -> None:
    told: list[Progress] = []
    target = MemoryVolume(content[: SIZE // 2] + DIRT * (SIZE - SIZE // 2))
    scene.clock.sleep(1)
    with scene.open() as repository:
        call(repository, "latest", target, tuning=INLINE, progress=told.append)  # type: ignore[operator]
    done = [one.done_bytes for one in told]
    assert all(before <= after for before, after in itertools.pairwise(done))
    assert (told[-1].done_bytes, told[-1].total_bytes) == (SIZE, SIZE)


def test_one_opened_target_takes_a_whole_restore_afterwards() -> None:
    scene, target = Scene(), MemoryVolume(4 * CHUNK)
    with scene.open() as repository:
        first = back_up(repository, MemoryVolume(chunks(1, 2, 3, 4)))
        second = back_up(repository, MemoryVolume(chunks(1, None, 3, None)))
        restore_in_place(repository, first.id, target, tuning=INLINE)
        restore(repository, second.id, target, tuning=INLINE)
    assert same(target.content, chunks(1, None, 3, None))
