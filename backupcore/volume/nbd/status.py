"""Block status of whole windows, gathered in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from backupcore.extents import Extents, empty_extents, melt_extents
from backupcore.units import GIB
from backupcore.volume.nbd.connection import Connection, Descriptors
from backupcore.volume.nbd.wire import RequestFailed

__all__ = ["Gathering", "Incomplete", "close_gaps", "select_extents", "walk_status"]

REQUEST_LENGTH_MAX = GIB
# A server may tell one extent a request; one that tells single bytes must not keep us for days.
REQUEST_COUNT_MIN = 1 << 16
ROWS_MAX = 1 << 20  # 16 MiB
PARTS_MAX = 4096


class Incomplete(RequestFailed):
    """The server does not get to the end of a window; offset: how far it got."""

    def __init__(self, context: str, offset: int) -> None:
        super().__init__(f"{context}: told in too small steps, known up to offset {offset} only")
        self.offset = offset


class Gathering:
    """Extents in ascending order that take little memory: gaps below a length are closed.

    The length is doubled whenever there are too many rows: what comes out covers what went in.
    """

    def __init__(self, gap_length: int) -> None:
        self._gap_length = gap_length
        self._parts: list[Extents] = []
        self._row_count = 0

    def add(self, extents: Extents) -> None:
        """Add clean extents that lie behind all that were added before."""
        if len(extents):
            self._parts.append(extents)
            self._row_count += len(extents)
        if self._row_count > ROWS_MAX or len(self._parts) > PARTS_MAX:
            self._fold()

    def extents(self) -> Extents:
        """Return them as a clean array."""
        self._fold()
        return self._parts[0]

    def _fold(self) -> None:
        rows = close_gaps(np.concatenate([empty_extents(), *self._parts]), self._gap_length)
        while len(rows) > ROWS_MAX // 2:
            self._gap_length *= 2
            rows = close_gaps(rows, self._gap_length)
        self._parts, self._row_count = [rows], len(rows)


def close_gaps(extents: Extents, gap_length: int) -> Extents:
    """Return sorted, disjoint extents with all gaps below a length made part of them."""
    if len(extents) < 2:
        return extents
    starts, ends = extents[:, 0], extents[:, 0] + extents[:, 1]
    is_apart = starts[1:] - ends[:-1] >= gap_length
    first = starts[np.concatenate(([True], is_apart))]
    last = ends[np.concatenate((is_apart, [True]))]
    return np.stack((first, last - first), axis=1)


def walk_status(
    connection: Connection, context: str, offset: int, length: int
) -> Iterator[tuple[int, Descriptors]]:
    """Yield (offset of its first byte, descriptors) of each reply until a window is covered.

    The window must fit the export's block size; the last descriptor may reach beyond it.
    Raises: Incomplete, as `Connection.block_status`.
    """
    end = offset + length
    for _ in range(REQUEST_COUNT_MIN + length // REQUEST_LENGTH_MAX):
        if offset >= end:
            return
        table = connection.block_status(context, offset, min(REQUEST_LENGTH_MAX, end - offset))
        covered = int(table[:, 0].sum())
        yield offset, table
        offset += covered
        if covered % connection.export.block_size_bytes and offset < end:
            break
    if offset < end:
        raise Incomplete(context, offset)


def select_extents(offset: int, table: Descriptors, is_wanted: npt.NDArray[np.bool_]) -> Extents:
    """Return the extents of the descriptors that are wanted, as a clean array."""
    ends = offset + np.cumsum(table[:, 0])
    rows = np.stack((ends - table[:, 0], table[:, 0]), axis=1)
    return melt_extents(rows[is_wanted])
