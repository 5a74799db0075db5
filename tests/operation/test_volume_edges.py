"""Volumes of awkward sizes, and volumes that shrink, grow, change or fail while they are read."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from backupcore.errors import (
    BackupMissing,
    Refused,
    SourceError,
    UnreadableSector,
    VolumeShrunk,
)
from backupcore.model import Grid
from backupcore.operation.backup import BackupRequest, backup
from backupcore.operation.restore import restore
from backupcore.volume.memory import MemoryVolume
from tests.operation.scene import (
    CHUNK,
    GRID,
    INLINE,
    LEAF_LENGTH,
    Scene,
    back_up,
    chunks,
    noise,
    restored,
    same,
)
from tests.operation.volumes import SparseVolume, WatchedVolume, failing_at, nth_time

SIZES = [0, 1, 511, 512, 513, CHUNK - 1, CHUNK, CHUNK + 1, 5 * CHUNK + 7, LEAF_LENGTH - 1,
         LEAF_LENGTH, LEAF_LENGTH + 1, LEAF_LENGTH + CHUNK]  # fmt: skip


@pytest.mark.parametrize("size", SIZES)
def test_a_volume_of_any_size_comes_back(size: int) -> None:
    scene, content = Scene(), noise(1, size)
    with scene.open() as repository:
        done = back_up(repository, MemoryVolume(content))
        assert (done.size_bytes, done.new_bytes, done.data_bytes) == (size, size, size)
    scene.check({done.id: content})


@pytest.mark.parametrize("size", SIZES)
def test_a_volume_of_zeros_stores_no_pack(size: int) -> None:
    scene = Scene()
    with scene.open() as repository:
        done = back_up(repository, MemoryVolume(bytes(size)))
        assert (done.new_bytes, done.sums.zero_bytes) == (0, size)
    assert scene.listed("data/") + scene.listed("map/") == []
    scene.check({done.id: bytes(size)})


@pytest.mark.parametrize("size", SIZES)
def test_an_unchanged_volume_of_any_size_sends_nothing(size: int) -> None:
    scene, volume = Scene(), MemoryVolume(noise(1, size))
    with scene.open() as repository:
        back_up(repository, volume)
        again = back_up(repository, volume)
        assert (again.new_bytes, again.sums.object_count) == (0, 0)
    assert len(scene.listed("map/")) == (size > 0)


@pytest.mark.parametrize("before", [1, CHUNK, CHUNK + 9, LEAF_LENGTH, LEAF_LENGTH + 9])
@pytest.mark.parametrize("after", [1, CHUNK, CHUNK + 9, LEAF_LENGTH, LEAF_LENGTH + 9])
def test_a_resized_volume_comes_back_from_both_backups(before: int, after: int) -> None:
    scene, content = Scene(), noise(1, LEAF_LENGTH + 9)
    with scene.open() as repository:
        first = back_up(repository, MemoryVolume(content[:before]))
        second = back_up(repository, MemoryVolume(content[:after]))
    scene.check({first.id: content[:before], second.id: content[:after]})


def test_a_grown_volume_sends_what_was_added_and_the_old_tail() -> None:
    scene, content = Scene(), noise(1, LEAF_LENGTH + 3 * CHUNK)
    with scene.open() as repository:
        back_up(repository, MemoryVolume(content[: CHUNK + 9]))
        done = back_up(repository, MemoryVolume(content[: 3 * CHUNK]))
        assert done.new_bytes == 2 * CHUNK


def test_a_tail_that_was_padded_with_zeros_is_no_longer_the_same_chunk() -> None:
    scene = Scene()
    with scene.open() as repository:
        back_up(repository, MemoryVolume(noise(1, 100)))
        padded = noise(1, 100) + bytes(100)
        done = back_up(repository, MemoryVolume(padded))
        assert same(restored(repository, done.id), padded)


@pytest.mark.parametrize("when", [1, 2, 4])
def test_a_volume_that_shrinks_while_it_is_read_is_not_committed(when: int) -> None:
    scene, content = Scene(), bytearray(noise(1, 64 * CHUNK))
    volume = WatchedVolume(content, nth_time(when, lambda: content.__delitem__(slice(-1, None))))
    with scene.open() as repository, pytest.raises(VolumeShrunk):
        back_up(repository, volume)
    scene.check({})


def test_a_volume_that_shrinks_in_a_hole_is_not_committed() -> None:
    scene, content = Scene(), bytearray(noise(1, CHUNK)) + bytearray(LEAF_LENGTH)
    shrink = nth_time(1, lambda: content.__delitem__(slice(-CHUNK, None)))
    volume = WatchedVolume(content, shrink)
    volume.zero(CHUNK, LEAF_LENGTH)
    with scene.open() as repository, pytest.raises(VolumeShrunk):
        back_up(repository, volume)
    scene.check({})


def test_a_volume_that_grows_while_it_is_read_keeps_the_size_it_had(
    caplog: pytest.LogCaptureFixture,
) -> None:
    scene, content = Scene(), bytearray(noise(1, 20 * CHUNK))
    before = bytes(content)
    volume = WatchedVolume(content, nth_time(1, lambda: content.extend(b"more")))
    with scene.open() as repository, caplog.at_level(logging.WARNING):
        done = back_up(repository, volume)
    scene.check({done.id: before})
    assert "volume grew" in caplog.text


@pytest.mark.parametrize("offset", [0, 5 * CHUNK + 1, 64 * CHUNK - 1])
def test_an_unreadable_sector_ends_the_backup_without_committing(offset: int) -> None:
    scene, content = Scene(), chunks(*range(64))
    with scene.open() as repository:
        before = back_up(repository, MemoryVolume(bytes(content)))
        volume = WatchedVolume(content, failing_at(offset))
        with pytest.raises(UnreadableSector, match=str(offset)):
            back_up(repository, volume)
    scene.check({before.id: bytes(content)})


def test_the_backup_after_an_unreadable_sector_works() -> None:
    scene, content = Scene(), chunks(*range(64))
    with scene.open() as repository:
        with pytest.raises(SourceError):
            back_up(repository, WatchedVolume(content, failing_at(40 * CHUNK)))
        done = back_up(repository, MemoryVolume(content))
    scene.check({done.id: bytes(content)})


def test_every_chunk_of_a_volume_that_changes_is_one_of_its_versions() -> None:
    scene, content = Scene(), chunks(*range(100))
    versions = [{bytes(content[at : at + CHUNK])} for at in range(0, len(content), CHUNK)]

    def change(offset: int, length: int) -> None:
        for cell in range(0, 100, 3):
            chunk = noise(1000 + offset + cell, CHUNK)
            content[cell * CHUNK : (cell + 1) * CHUNK] = chunk
            versions[cell].add(chunk)

    with scene.open() as repository:
        done = back_up(repository, WatchedVolume(content, change))
        found = restored(repository, done.id)
    assert all(found[cell * CHUNK : (cell + 1) * CHUNK] in versions[cell] for cell in range(100))


def test_a_base_of_another_chunk_size_is_not_used() -> None:
    scene, volume = Scene(), MemoryVolume(chunks(1, 2, 3, 4))
    with scene.open() as repository:
        back_up(repository, volume)
        request = BackupRequest(grid=Grid(2 * CHUNK, 4 * CHUNK))
        done = backup(volume, repository, request=request, tuning=INLINE)
        assert (done.base_id, done.new_bytes) == (None, 4 * CHUNK)
        assert same(restored(repository, done.id), volume.content)


def test_a_base_of_another_frame_size_is_used() -> None:
    scene, volume = Scene(), MemoryVolume(chunks(1, 2, 3, 4))
    with scene.open() as repository:
        first = back_up(repository, volume)
        request = BackupRequest(grid=Grid(CHUNK, CHUNK))
        volume.write(0, noise(9, 2 * CHUNK))
        done = backup(volume, repository, request=request, tuning=INLINE)
        assert (done.base_id, done.new_bytes) == (first.id, 2 * CHUNK)
        assert same(restored(repository, done.id), volume.content)


def test_a_base_of_another_volume_is_refused() -> None:
    scene = Scene()
    with scene.open() as repository:
        other = back_up(repository, MemoryVolume(chunks(1), name="other"))
        with pytest.raises(Refused, match="of the same volume"):
            back_up(repository, MemoryVolume(chunks(1)), base=other.id)


def test_a_base_that_was_deleted_is_not_found() -> None:
    scene, volume = Scene(), MemoryVolume(chunks(1))
    with scene.open() as repository:
        done = back_up(repository, volume)
        repository.registers.delete(repository.history(done.id))
        with pytest.raises(BackupMissing):
            back_up(repository, volume, base=done.id)


def test_a_refused_base_does_not_stand_in_the_way_of_the_next_backup() -> None:
    scene, volume = Scene(), MemoryVolume(chunks(1))
    with scene.open() as repository:
        with pytest.raises(BackupMissing):
            back_up(repository, volume, base="abcdef")
        back_up(repository, volume)
    assert scene.listed("sessions/") == []


def test_asking_for_a_backup_that_is_there_returns_it() -> None:
    scene, volume = Scene(), MemoryVolume(chunks(1))
    with scene.open() as repository:
        done = back_up(repository, volume)
        before = scene.listed()
        assert back_up(repository, volume, backup_id=done.id) == done
    assert scene.listed() == before


LONG: list[Callable[[], BackupRequest]] = [
    lambda: BackupRequest(name="n" * 4096),
    lambda: BackupRequest(labels={"key": "v" * 5000}),
    lambda: BackupRequest(description="\ud800"),
]


@pytest.mark.parametrize("request_of", LONG)
def test_texts_that_no_manifest_can_hold_are_refused_before_anything_is_read(
    request_of: Callable[[], BackupRequest],
) -> None:
    scene = Scene()
    volume = WatchedVolume(chunks(1), nth_time(1, lambda: pytest.fail("was read")))
    with scene.open() as repository, pytest.raises(Refused):
        backup(volume, repository, request=request_of(), tuning=INLINE)
    assert scene.listed("data/") == []


@pytest.mark.parametrize("cell", [1024**2 - 1, 1024**2, 1024**3 - 1, 1024**3])
def test_a_lone_chunk_of_a_huge_volume_comes_back(cell: int) -> None:
    scene, volume = Scene(), SparseVolume((cell + 5) * CHUNK, {cell: noise(1, CHUNK)})
    with scene.open() as repository:
        back_up(repository, volume)
        volume.cells[3] = noise(2, CHUNK)
        done = back_up(repository, volume)
        target = SparseVolume(volume.size_bytes, {})
        restore(repository, done.id, target, tuning=INLINE)
    assert (done.new_bytes, target.cells) == (CHUNK, volume.cells)


@pytest.mark.parametrize("cells", [2, 1024**2 - 1, 1024**2, 1024**2 + 1, 2 * 1024**2])
def test_a_huge_volume_may_shrink_and_grow_again(cells: int) -> None:
    scene, size = Scene(), 3 * 1024**2
    held = {
        cell: noise(cell, CHUNK) for cell in (0, 5, 1024**2 - 1, 1024**2, 2 * 1024**2, size - 1)
    }
    with scene.open() as repository:
        back_up(repository, SparseVolume(size * CHUNK, held))
        left = {cell: chunk for cell, chunk in held.items() if cell < cells}
        small = back_up(repository, SparseVolume(cells * CHUNK, left))
        large = back_up(repository, SparseVolume(size * CHUNK, held), base=small.id)
        targets = [SparseVolume(done.size_bytes, {}) for done in (small, large)]
        for done, target in zip((small, large), targets, strict=True):
            restore(repository, done.id, target, tuning=INLINE)
    assert [target.cells for target in targets] == [left, held]


def test_the_grid_of_the_repository_is_the_default() -> None:
    scene = Scene()
    with scene.open() as repository:
        assert back_up(repository, MemoryVolume(chunks(1))).grid == GRID
