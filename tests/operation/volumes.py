"""Volumes that are huge and nearly empty, or that misbehave while they are read."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np

from backupcore.errors import UnreadableSector
from backupcore.extents import Extents, clip_extents, melt_extents
from backupcore.model import Buffer
from backupcore.volume import Volume
from backupcore.volume.memory import MemoryVolume
from tests.operation.scene import CHUNK


class SparseVolume(Volume):
    """A volume of any size that holds a few chunks, by their cells; all else are holes."""

    def __init__(self, size_bytes: int, cells: dict[int, bytes], *, name: str = "sparse") -> None:
        self.name = self.identity = name
        self.size_bytes = size_bytes
        self.cells = cells
        self.is_known_zero = True

    def read_into(self, offset: int, buffer: Buffer) -> None:
        self.check_read(offset, len(buffer))
        view = memoryview(buffer).cast("B")
        for start in range(0, len(view), CHUNK):
            part = view[start : start + CHUNK]
            part[:] = self.cells.get((offset + start) // CHUNK, bytes(CHUNK))[: len(part)]

    def extents(self, offset: int, length: int) -> Extents:
        self.check_read(offset, length)
        rows = np.array([(cell * CHUNK, CHUNK) for cell in self.cells], np.int64).reshape(-1, 2)
        return clip_extents(melt_extents(rows), offset, length)

    def write(self, offset: int, buffer: Buffer) -> None:
        self.check_write(offset, len(buffer))
        for start in range(0, len(buffer), CHUNK):
            self.cells[(offset + start) // CHUNK] = bytes(buffer[start : start + CHUNK])


class WatchedVolume(MemoryVolume):
    """Calls back before every read with its offset and length; any thread may."""

    def __init__(self, content: bytearray, callback: Callable[[int, int], None]) -> None:
        super().__init__(content)
        self._callback = callback

    def read_into(self, offset: int, buffer: Buffer) -> None:
        self._callback(offset, len(buffer))
        super().read_into(offset, buffer)


def failing_at(bad_offset: int) -> Callable[[int, int], None]:
    """Return a callback that fails every read of one byte."""

    def check(offset: int, length: int) -> None:
        if offset <= bad_offset < offset + length:
            raise UnreadableSector(f"offset {bad_offset} cannot be read")

    return check


def nth_time(number: int, callback: Callable[[], object]) -> Callable[[int, int], None]:
    """Return a callback that calls another one in the n-th read."""
    counted, lock = [0], threading.Lock()

    def count(offset: int, length: int) -> None:
        with lock:
            counted[0] += 1
            is_time = counted[0] == number
        if is_time:
            callback()

    return count
