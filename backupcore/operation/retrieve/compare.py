"""What of a target differs from a backup: it is read and named in parallel, part by part.

stretches → parts → [workers: read, zero?, ids, same as the leaf's?] → changes, in volume order
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from backupcore.chunk.buffers import map_memory
from backupcore.chunk.digest import ID_LENGTH, ids_equal, name_chunks
from backupcore.closing import Closing
from backupcore.errors import SourceError, TargetError
from backupcore.extents import (
    Extents,
    cells_of,
    clip_extents,
    empty_extents,
    extents_of_cells,
    intersect_extents,
    pack_extents,
    total_length,
)
from backupcore.model import ByteArray, Ids
from backupcore.operation.retrieve.change import Change
from backupcore.operation.retrieve.retrieval import Retrieval
from backupcore.operation.retrieve.walk import Stretch, leaf_of_cells
from backupcore.repository.map import FAN_OUT, Leaf
from backupcore.runtime import map_ordered, open_pool
from backupcore.units import GIB, MIB
from backupcore.volume import Volume

__all__ = ["Comparer"]

_PART_BYTES = 8 * MIB  # compared by one thread at a time; a multiple of every chunk size
_PIECE_BYTES = MIB  # read and named while the processor's own cache holds it
_ASKED_BYTES = 64 * GIB  # for holes at once; a multiple of every leaf


@dataclass(frozen=True, slots=True)
class _Part:
    """A run of cells; readable are whole cells of it, without what is a hole or not wanted."""

    offset: int
    length: int
    leaf: Leaf | None
    readable: Extents


class Comparer(Closing):
    """Tells how to turn a target into the backup, changing only cells that are not the same.

    A cell that is wanted in part counts as different when any byte of it is. Each thread holds a
    piece of the target in memory.
    """

    def __init__(self, run: Retrieval, target: Volume) -> None:
        self._run = run
        self._target = target
        self._chunk = run.chunk_size_bytes
        self._wanted_cells = pack_extents(run.wanted, self._chunk)
        self._pool = open_pool(run.tuning.workers, "comparer")
        self._own = threading.local()

    def changes(self, stretches: Iterable[Stretch]) -> Iterator[Change]:
        """Yield what is to be done to each part, in volume order; nothing is read twice.

        Raises: TargetError when the target cannot be read, naming the offset, Stopped.
        """
        limit = max(1, 2 * self._run.tuning.workers)
        parts = self._parts(stretches)
        return map_ordered(self._pool, self._compare, parts, limit=limit, stop=self._run.stop)

    def close(self) -> None:
        """Start nothing more and wait for what runs."""
        self._pool.shutdown(cancel_futures=True)

    def _parts(self, stretches: Iterable[Stretch]) -> Iterator[_Part]:
        asked, readable = -1, empty_extents()
        for stretch in stretches:
            end = stretch.offset + stretch.length
            for window in range(stretch.offset // _ASKED_BYTES, -(-end // _ASKED_BYTES)):
                if window != asked:
                    asked, readable = window, self._readable(window * _ASKED_BYTES)
                offset = max(stretch.offset, window * _ASKED_BYTES)
                length = min(end, (window + 1) * _ASKED_BYTES) - offset
                yield from self._cut(offset, length, stretch.leaf, readable)

    def _readable(self, offset: int) -> Extents:
        """Return the cells of a window that are wanted and may hold anything but zeros."""
        wanted = clip_extents(self._wanted_cells, offset, _ASKED_BYTES)
        wanted = clip_extents(wanted, 0, self._run.backup.size_bytes)
        if not len(wanted):
            return wanted
        first = int(wanted[0, 0])
        try:
            data = self._target.extents(first, int(wanted[-1].sum()) - first)
        except SourceError as error:
            raise self._failure(first, error) from error
        return intersect_extents(pack_extents(data, self._chunk), wanted)

    def _cut(
        self, offset: int, length: int, leaf: Leaf | None, readable: Extents
    ) -> Iterator[_Part]:
        """Yield parts; neighbours in which nothing is to be read or written come as one."""
        slot = min(_PART_BYTES, self._chunk * FAN_OUT)
        readable = clip_extents(readable, offset, length)
        end, first, count = offset + length, offset // slot, -(-length // slot)
        is_busy = cells_of(self._run.wanted if leaf else readable, slot, first, count)
        is_edge = np.diff(is_busy) | is_busy[1:]
        edges = np.flatnonzero(is_edge) + 1
        for start, stop in pairwise([0, *edges.tolist(), count]):
            at = offset + start * slot
            size = min(offset + stop * slot, end) - at
            part = clip_extents(readable, at, size)
            yield _Part(at, size, leaf if is_busy[start] else None, part)

    def _compare(self, part: _Part) -> Change:
        wanted = clip_extents(self._run.wanted, part.offset, part.length)
        wanted_bytes = total_length(wanted)
        if part.leaf is None and not len(part.readable):
            return Change(None, wanted[:0], wanted_bytes, wanted_bytes)
        first, count = part.offset // self._chunk, -(-part.length // self._chunk)
        present, expected = _expected(part.leaf, first, count)
        # A chunk of zeros has no id on either side: its row is zero.
        differs = ~ids_equal(self._ids(part, first, count), expected)
        differs &= cells_of(wanted, self._chunk, first, count)
        zeros, written = (
            intersect_extents(extents_of_cells(cells, self._chunk, first), wanted)
            for cells in (differs & ~present, differs & present)
        )
        kept_bytes = wanted_bytes - total_length(zeros) - total_length(written)
        leaf = _chosen(part.leaf, first, differs & present)
        return Change(leaf, zeros, wanted_bytes, kept_bytes)

    def _ids(self, part: _Part, first: int, count: int) -> Ids:
        """Return uint8[count, 32], the ids of a part's cells, zero where the target is."""
        is_read = cells_of(part.readable, self._chunk, first, count)
        ids = np.zeros((count, ID_LENGTH), np.uint8)
        step = max(1, _PIECE_BYTES // self._chunk)
        for start in range(0, count, step):
            cells = is_read[start : start + step]
            if cells.any():
                run = self._read(extents_of_cells(cells, self._chunk, first + start))
                _, named = name_chunks(run, self._chunk, self._run.id_key)
                ids[start + np.flatnonzero(cells)] = named
        return ids

    def _read(self, extents: Extents) -> ByteArray:
        """Return the bytes of some cells, one after another, in this thread's memory."""
        buffer, filled = self._buffer(), 0
        for offset, whole in extents.tolist():
            length = min(whole, self._run.backup.size_bytes - offset)
            self._read_run(offset, buffer.data[filled : filled + length])
            filled += length
        return buffer[:filled]

    def _read_run(self, offset: int, view: memoryview) -> None:
        try:
            self._target.read_into(offset, view)
        except SourceError:
            for start in range(0, len(view), self._chunk):
                self._read_cell(offset + start, view[start : start + self._chunk])

    def _read_cell(self, offset: int, view: memoryview) -> None:
        """Read again a cell of what failed as a whole, to find the culprit."""
        try:
            self._target.read_into(offset, view)
        except SourceError as error:
            raise self._failure(offset, error) from error

    def _failure(self, offset: int, error: SourceError) -> TargetError:
        cause = error.__cause__
        reason = cause.strerror if isinstance(cause, OSError) and cause.strerror else error
        return TargetError(
            f"{self._target.name}: cannot be compared: the cell at offset {offset} cannot be read: "
            f"{reason}: restore all of it, without reading the target"
        )

    def _buffer(self) -> ByteArray:
        buffer: ByteArray | None = getattr(self._own, "buffer", None)
        if buffer is None:
            buffer = self._own.buffer = map_memory(max(_PIECE_BYTES, self._chunk))
        return buffer


def _expected(leaf: Leaf | None, first: int, count: int) -> tuple[npt.NDArray[np.bool_], Ids]:
    """Return bool[count], which cells a leaf has, and uint8[count, 32], their ids or zeros."""
    ids = np.zeros((count, ID_LENGTH), np.uint8)
    if leaf is None:
        return np.zeros(count, np.bool_), ids
    start = first - leaf.first_cell
    present = leaf.present[start : start + count]
    before = int(leaf.present[:start].sum())
    ids[present] = leaf.ids[before : before + int(present.sum())]
    return present, ids


def _chosen(leaf: Leaf | None, first: int, chosen: npt.NDArray[np.bool_]) -> Leaf | None:
    if leaf is None or not chosen.any():
        return None
    cells = np.zeros(FAN_OUT, np.bool_)
    cells[first - leaf.first_cell :][: len(chosen)] = chosen
    return leaf_of_cells(leaf, cells)
