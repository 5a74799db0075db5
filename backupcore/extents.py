"""Extents: byte ranges of a volume as arrays int64[n, 2], rows (offset, length).

A *clean* array is sorted by offset, disjoint, without touching neighbours and without empty rows.
Every function returns clean arrays and costs O(n log n) at most.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = [
    "Extents",
    "as_extents",
    "cells_of",
    "clip_extents",
    "empty_extents",
    "extents_of_cells",
    "intersect_extents",
    "melt_extents",
    "pack_extents",
    "single_extent",
    "subtract_extents",
    "total_length",
]

Extents: TypeAlias = npt.NDArray[np.int64]
OFFSET_MAX = (1 << 63) - 1


def empty_extents() -> Extents:
    """Return int64[0, 2]."""
    return np.empty((0, 2), np.int64)


def single_extent(offset: int, length: int) -> Extents:
    """Return one row, or none when the length is 0."""
    return np.array([(offset, length)], np.int64) if length else empty_extents()


def as_extents(rows: Iterable[tuple[int, int]] | Extents) -> Extents:
    """Return rows (offset, length) in any order, overlapping or not, as a clean array.

    Raises: ValueError when a row is negative or ends beyond 2^63 - 1.
    """
    try:
        table = np.asarray(rows if isinstance(rows, np.ndarray) else list(rows), np.int64)
    except OverflowError as error:
        raise ValueError("an extent begins or ends beyond 2^63 - 1") from error
    table = table.reshape(-1, 2)
    wrong = (table < 0).any(axis=1) | (table[:, 0] > OFFSET_MAX - table[:, 1])
    if wrong.any():
        offset, length = table[wrong][0].tolist()
        raise ValueError(f"extent ({offset}, {length}) is negative or ends beyond 2^63 - 1")
    return melt_extents(table)


def melt_extents(extents: Extents) -> Extents:
    """Sort extents, melt those that overlap or touch and drop empty ones.

    Source: sweep over sorted edges.
    """
    rows = extents[extents[:, 1] > 0]
    if len(rows) < 2:
        return rows.copy()
    rows = rows[np.argsort(rows[:, 0], kind="stable")]
    ends = np.maximum.accumulate(rows[:, 0] + rows[:, 1])
    first = np.concatenate(([True], rows[1:, 0] > ends[:-1]))
    last = np.concatenate((first[1:], [True]))
    starts = rows[first, 0]
    return np.stack((starts, ends[last] - starts), axis=1)


def total_length(extents: Extents) -> int:
    """Return the bytes covered by a clean array."""
    return int(extents[:, 1].sum())


def clip_extents(extents: Extents, offset: int, length: int) -> Extents:
    """Return the parts of clean extents that lie inside a window; costs O(log n + result)."""
    offsets = extents[:, 0]
    first = max(0, bisect_right(offsets, offset) - 1)
    extents = extents[first : bisect_left(offsets, offset + length)]
    starts = np.maximum(extents[:, 0], offset)
    ends = np.minimum(extents[:, 0] + extents[:, 1], offset + length)
    keep = ends > starts
    return np.stack((starts[keep], ends[keep] - starts[keep]), axis=1)


def _sweep(first: Extents, second: Extents, wanted: tuple[bool, ...]) -> Extents:
    """Return the extents where (inside first) + 2 × (inside second) is wanted."""
    edges = np.concatenate(
        (first[:, 0], first[:, 0] + first[:, 1], second[:, 0], second[:, 0] + second[:, 1])
    )
    steps = np.concatenate(
        [
            np.full(len(rows), step, np.int64)
            for rows, step in ((first, 1), (first, -1), (second, 2), (second, -2))
        ]
    )
    order = np.argsort(edges, kind="stable")
    edges, state = edges[order], np.cumsum(steps[order])
    inside = np.array(wanted)[state[:-1]]
    return melt_extents(np.stack((edges[:-1][inside], np.diff(edges)[inside]), axis=1))


def intersect_extents(first: Extents, second: Extents) -> Extents:
    """Return what two clean arrays have in common."""
    if not len(first) or not len(second):
        return empty_extents()
    return _sweep(first, second, (False, False, False, True))


def subtract_extents(first: Extents, second: Extents) -> Extents:
    """Return what a clean array covers and a second does not."""
    if not len(first) or not len(second):
        return first.copy()
    return _sweep(first, second, (False, True, False, False))


def pack_extents(extents: Extents, chunk_size_bytes: int) -> Extents:
    """Widen extents to the chunk grid and melt the ones that touch.

    Every offset and length of the result is a multiple of the chunk size.
    """
    starts = extents[:, 0] // chunk_size_bytes * chunk_size_bytes
    ends = -(-(extents[:, 0] + extents[:, 1]) // chunk_size_bytes) * chunk_size_bytes
    ends = np.where(extents[:, 1] > 0, ends, starts)
    return melt_extents(np.stack((starts, ends - starts), axis=1))


def cells_of(
    extents: Extents, chunk_size_bytes: int, first_cell: int, count: int
) -> npt.NDArray[np.bool_]:
    """Return bool[count]: which cells from `first_cell` on are touched by clean extents."""
    packed = pack_extents(
        clip_extents(extents, first_cell * chunk_size_bytes, count * chunk_size_bytes),
        chunk_size_bytes,
    )
    edges = np.zeros(count + 1, np.int64)
    starts = packed[:, 0] // chunk_size_bytes - first_cell
    np.add.at(edges, starts, 1)
    np.add.at(edges, starts + packed[:, 1] // chunk_size_bytes, -1)
    return np.cumsum(edges[:-1]) > 0


def extents_of_cells(
    cells: npt.NDArray[np.bool_], chunk_size_bytes: int, first_cell: int
) -> Extents:
    """Return the extents of the cells that are set, `cells[0]` being cell `first_cell`."""
    edge = np.zeros(1, np.int8)
    padded = np.diff(np.concatenate((edge, cells.view(np.int8), edge)))
    starts, ends = np.flatnonzero(padded == 1), np.flatnonzero(padded == -1)
    rows = np.stack((starts + first_cell, ends - starts), axis=1).astype(np.int64)
    return rows * chunk_size_bytes
