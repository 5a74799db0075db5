"""Through a backup's map in volume order: its leaves, and the runs of leaves that are zero."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from backupcore.extents import Extents, cells_of
from backupcore.repository.map import FAN_OUT, Leaf, TreeReader, is_null

__all__ = ["Stretch", "leaf_of_cells", "leaf_of_extents", "walk_leaves"]


@dataclass(frozen=True, slots=True)
class Stretch:
    """One leaf, or a run of leaves of zeros (leaf is None); offset and length are in bytes."""

    offset: int
    length: int
    leaf: Leaf | None
    first_cell: int


def walk_leaves(
    tree: TreeReader, chunk_size_bytes: int, size_bytes: int, extents: Extents
) -> Iterator[Stretch]:
    """Yield what of a map touches clean extents, in volume order. Raises: MapDamaged."""
    leaf_length = chunk_size_bytes * FAN_OUT

    def stretch(offset: int, end: int, leaf: Leaf | None) -> Stretch:
        length = min(end, size_bytes) - offset
        return Stretch(offset, length, leaf, offset // chunk_size_bytes)

    def walk(level: int, index: int) -> Iterator[Stretch]:
        span = leaf_length * FAN_OUT**level
        offset = index * span
        if is_null(tree.row(level, index)):
            yield stretch(offset, offset + span, None)
        elif level == 0:
            yield stretch(offset, offset + span, tree.leaf(index))
        else:
            yield from below(level, index)

    def below(level: int, index: int) -> Iterator[Stretch]:
        """Yield what is below a node; neighbouring children of zeros come as one."""
        child_span = leaf_length * FAN_OUT ** (level - 1)
        first = index * FAN_OUT
        touched = cells_of(extents, child_span, first, FAN_OUT)
        is_data = tree.node(level, index).rows["stored_length"] > 0
        kinds = np.where(touched, 1 + is_data, 0)
        edges = np.flatnonzero(np.diff(kinds)) + 1
        for start, end in pairwise([0, *edges.tolist(), FAN_OUT]):
            if kinds[start] == 1:
                yield stretch((first + start) * child_span, (first + end) * child_span, None)
            elif kinds[start]:
                for child in range(first + start, first + end):
                    yield from walk(level - 1, child)

    if not size_bytes or not len(extents):
        return
    if is_null(tree.row(tree.level, 0)):  # a map without a root has no level either
        yield stretch(0, size_bytes, None)
    else:
        yield from walk(tree.level, 0)


def leaf_of_cells(leaf: Leaf, cells: npt.NDArray[np.bool_]) -> Leaf:
    """Return a leaf with only some of its cells, bool[1024]."""
    chosen = cells[leaf.present]
    if chosen.all():
        return leaf
    return replace(
        leaf,
        present=leaf.present & cells,
        ids=leaf.ids[chosen],
        frame=leaf.frame[chosen],
        slot=leaf.slot[chosen],
    )


def leaf_of_extents(leaf: Leaf, extents: Extents) -> Leaf:
    """Return a leaf with only the cells that touch clean extents."""
    return leaf_of_cells(leaf, cells_of(extents, leaf.chunk_size_bytes, leaf.first_cell, FAN_OUT))
