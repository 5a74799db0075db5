"""What a backup reads: leaf by leaf, the cells that may hold data, cut into slabs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from backupcore.extents import cells_of
from backupcore.model import Grid
from backupcore.repository.map import FAN_OUT, Leaf, TreeReader, is_null
from backupcore.volume import Volume

__all__ = [
    "Inherited",
    "LeafPlan",
    "Slab",
    "cut_slabs",
    "is_lost",
    "neighbours",
    "plan_leaves",
    "plan_window",
]

Cells = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Slab:
    """Cells of one leaf that are read and worked on at once, one after another in memory.

    cells: int64[n], ascending. length: their bytes; only the volume's last cell may be short.
    """

    cells: Cells
    length: int


@dataclass(frozen=True, slots=True)
class Inherited:
    """What becomes of the base's leaf: the leaf as it was when this was decided.

    cells: bool[1024], taken from it unread. rewritten: bool[1024], to be stored again even if it
    has the same.
    """

    leaf: Leaf | None
    cells: npt.NDArray[np.bool_]
    rewritten: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class LeafPlan:
    """One leaf to be made: what is read is in its slabs.

    inherited: what is taken from the base unread. Every other cell is zero.
    """

    index: int
    slabs: tuple[Slab, ...]
    inherited: Inherited | None = None


def plan_leaves(
    volume: Volume, base: TreeReader, grid: Grid, slab_size_bytes: int
) -> Iterator[LeafPlan]:
    """Yield, in volume order, every leaf that holds data or held some in the base.

    Asks the volume for its extents window by window (32 GiB with 32 KiB chunks), so memory does
    not grow with the volume. The first leaf of a window is among them when what the base held
    there cannot be known.
    """
    window_length = grid.chunk_size_bytes * FAN_OUT * FAN_OUT
    for window in range(-(-volume.size_bytes // window_length)):
        yield from plan_window(volume, base, grid, slab_size_bytes, window)


def plan_window(
    volume: Volume, base: TreeReader, grid: Grid, slab_size_bytes: int, window: int
) -> Iterator[LeafPlan]:
    """Do the same for the leaves below one lowest node."""
    chunk = grid.chunk_size_bytes
    offset = window * chunk * FAN_OUT * FAN_OUT
    length = min(chunk * FAN_OUT * FAN_OUT, volume.size_bytes - offset)
    extents = volume.extents(offset, length)
    known = base.node(1, window).rows["stored_length"] > 0
    known[0] |= is_lost(base, window)
    touched = cells_of(extents, chunk * FAN_OUT, window * FAN_OUT, FAN_OUT)
    for position in np.flatnonzero(touched | known).tolist():
        index = window * FAN_OUT + position
        cells = np.flatnonzero(cells_of(extents, chunk, index * FAN_OUT, FAN_OUT))
        slabs = cut_slabs(cells + index * FAN_OUT, slab_size_bytes, chunk, volume.size_bytes)
        yield LeafPlan(index, tuple(slabs))


def is_lost(base: TreeReader, window: int) -> bool:
    """Return whether a node above a window is there and counts as zero: it cannot be read."""
    index = window
    for level in range(1, base.level + 1):
        is_there = not is_null(base.row(level, index))
        if is_there and not base.node(level, index).rows["stored_length"].any():
            return True
        index //= FAN_OUT
    return False


def cut_slabs(cells: Cells, slab_size_bytes: int, chunk: int, size_bytes: int) -> Iterator[Slab]:
    """Yield ascending cells of a volume of `size_bytes`, a slab's worth at a time."""
    slab_cells = max(1, slab_size_bytes // chunk)
    for start in range(0, len(cells), slab_cells):
        part = cells[start : start + slab_cells]
        short = max(0, (int(part[-1]) + 1) * chunk - size_bytes)
        yield Slab(part, len(part) * chunk - short)


def neighbours(cells: Cells) -> Iterator[tuple[int, int]]:
    """Yield (position of the first, count) of every run of neighbouring cells."""
    if int(cells[-1] - cells[0]) == len(cells) - 1:
        yield 0, len(cells)
        return
    breaks = np.flatnonzero(np.diff(cells) != 1) + 1
    for start, end in pairwise([0, *breaks.tolist(), len(cells)]):
        yield start, end - start
