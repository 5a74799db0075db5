"""A base whose map cannot be read, or not again: nothing it held may become zeros unnoticed."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import pytest

from backupcore.driver import Driver
from backupcore.driver.memory import MemoryDriver
from backupcore.driver.relay import Layer
from backupcore.errors import MapDamaged
from backupcore.extents import Extents, as_extents, clip_extents
from backupcore.model import Buffer, Hint
from backupcore.operation.backup import BackupRequest, backup
from backupcore.operation.restore import restore
from backupcore.repository import Repository
from backupcore.repository.key import MAP, pack_id
from backupcore.repository.map import FAN_OUT, Row
from backupcore.volume import Volume
from backupcore.volume.hint import ChangedExtents
from tests.operation.scene import CHUNK, INLINE, LEAF_LENGTH, THREADS, Scene, noise

WINDOW = LEAF_LENGTH * FAN_OUT


class Sparse(Volume):
    """A volume of any size that holds one chunk of noise in some cells."""

    name = identity = "sparse"

    def __init__(self, size_bytes: int, cells: dict[int, int]) -> None:
        self.size_bytes = size_bytes
        self.cells = {cell: noise(seed, CHUNK) for cell, seed in cells.items()}
        self.slow_cell = -1

    def read_into(self, offset: int, buffer: Buffer) -> None:
        view = memoryview(buffer).cast("B")
        for cell in range(offset // CHUNK, (offset + len(view)) // CHUNK):
            if cell == self.slow_cell:
                threading.Event().wait(0.3)
            start = cell * CHUNK - offset
            view[start : start + CHUNK] = self.cells.get(cell, bytes(CHUNK))

    def extents(self, offset: int, length: int) -> Extents:
        rows = as_extents([(cell * CHUNK, CHUNK) for cell in self.cells])
        return clip_extents(rows, offset, length)

    def write(self, offset: int, buffer: Buffer) -> None:
        view = memoryview(buffer).cast("B")
        for start in range(0, len(view), CHUNK):
            self.cells[(offset + start) // CHUNK] = bytes(view[start : start + CHUNK])

    def zero(self, offset: int, length: int) -> None:
        gone = range(offset // CHUNK, (offset + length) // CHUNK)
        self.cells = {cell: part for cell, part in self.cells.items() if cell not in gone}


class Rotting(Layer):
    """A store that returns one leaf or node well so many times, then damaged."""

    def __init__(self, below: Driver, row: Row, good_count: int) -> None:
        super().__init__(below)
        self._key = pack_id(MAP, bytes(row["pack"]))
        self._offset = int(row["offset"])
        self._left = good_count

    def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        data = bytearray(self.below.get(key, offset, length))
        at = self._offset + 60 - offset
        if key == self._key and 0 <= at < len(data):
            self._left -= 1
            if self._left < 0:
                data[at] ^= 1
        return bytes(data)


def content(repository: Repository, backup_id: str, size_bytes: int) -> dict[int, bytes]:
    target = Sparse(size_bytes, {})
    restore(repository, backup_id, target, tuning=INLINE)
    return target.cells


def hint_of(since: str, cells: Sequence[int]) -> BackupRequest:
    extents = as_extents(np.array([(cell * CHUNK, CHUNK) for cell in cells], np.int64))
    return BackupRequest(changed=ChangedExtents(extents, since), rewrite_share=0)


def test_a_root_that_cannot_be_read_makes_a_hint_useless() -> None:
    scene = Scene()
    volume = Sparse(3 * WINDOW, {0: 1, 5: 2, FAN_OUT**2 + 7: 3, 2 * FAN_OUT**2 + 9: 4})
    with scene.open() as repository:
        first = backup(volume, repository, tuning=INLINE)
        root = repository.tree(repository.manifest(first.id)).row(2, 0)
    volume.cells[0] = noise(99, CHUNK)
    driver = Rotting(MemoryDriver(scene.store), root, 0)
    with scene.open(driver=driver) as repository:
        second = backup(volume, repository, request=hint_of(first.id, [0]), tuning=INLINE)
    assert second.hint is Hint.REFUTED
    with scene.open() as repository:
        assert content(repository, second.id, volume.size_bytes) == volume.cells


@pytest.mark.parametrize("good_count", range(4))
def test_a_node_that_cannot_be_read_again_ends_the_backup_or_is_stored_anew(
    good_count: int,
) -> None:
    scene = Scene()
    leaves = {FAN_OUT**2 + leaf * FAN_OUT + cell: leaf for leaf in range(5) for cell in range(4)}
    lone = {window * FAN_OUT**2 + 3: 100 + window for window in [0, *range(2, 14)]}
    volume = Sparse(14 * WINDOW, leaves | lone)
    with scene.open() as repository:
        first = backup(volume, repository, tuning=INLINE)
        node = repository.tree(repository.manifest(first.id)).row(1, 1)
    volume.slow_cell = FAN_OUT**2
    volume.cells[FAN_OUT**2] = noise(5555, CHUNK)
    for window in range(2, 14):
        del volume.cells[window * FAN_OUT**2 + 3]
    driver = Rotting(MemoryDriver(scene.store), node, good_count)
    try:
        with scene.open(driver=driver) as repository:
            backup(volume, repository, tuning=THREADS)
    except MapDamaged:
        assert good_count
    with scene.open() as repository:
        latest = list(repository.backups())[-1]
        if latest.id != first.id:
            assert content(repository, latest.id, volume.size_bytes) == volume.cells


@pytest.mark.parametrize("good_count", range(3))
def test_a_leaf_that_cannot_be_read_again_loses_nothing_that_is_inherited(good_count: int) -> None:
    scene, count = Scene(), 24
    cells = {leaf * FAN_OUT + cell: leaf for leaf in range(count) for cell in range(8)}
    volume = Sparse(count * LEAF_LENGTH, cells)
    with scene.open() as repository:
        first = backup(volume, repository, tuning=INLINE)
        leaf = repository.tree(repository.manifest(first.id)).row(0, 3)
    volume.cells[1] = noise(777, CHUNK)
    volume.slow_cell = 1
    for index in range(count):
        del volume.cells[index * FAN_OUT]
    request = hint_of(first.id, [0, 1, *(index * FAN_OUT for index in range(count))])
    driver = Rotting(MemoryDriver(scene.store), leaf, good_count)
    with scene.open(driver=driver) as repository:
        second = backup(volume, repository, request=request, tuning=THREADS)
    with scene.open() as repository:
        assert content(repository, second.id, volume.size_bytes) == volume.cells


def test_a_volume_that_lost_everything_is_backed_up_as_empty() -> None:
    scene = Scene()
    with scene.open() as repository:
        backup(Sparse(8 * CHUNK, {1: 1}), repository, tuning=INLINE)
        second = backup(Sparse(0, {}), repository, tuning=INLINE)
        assert (second.size_bytes, second.data_bytes, second.sums.zero_bytes) == (0, 0, 0)
        assert content(repository, second.id, 0) == {}
