"""Through a backup's map in volume order: its leaves, and the runs of leaves that are zero."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from backupcore.extents import Extents, clip_extents
from backupcore.repository.map import FAN_OUT, Leaf
from backupcore.repository.tree import TreeReader, is_null

__all__ = ["Stretch", "walk_leaves"]


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

    def walk(level: int, index: int) -> Iterator[Stretch]:
        span = leaf_length * FAN_OUT**level
        offset = index * span
        length = min(span, size_bytes - offset)
        if length <= 0 or not len(clip_extents(extents, offset, length)):
            return
        first_cell = offset // chunk_size_bytes
        if is_null(tree.row(level, index)):
            yield Stretch(offset, length, None, first_cell)
        elif level == 0:
            yield Stretch(offset, length, tree.leaf(index), first_cell)
        else:
            for child in range(FAN_OUT):
                yield from walk(level - 1, index * FAN_OUT + child)

    yield from walk(tree.level, 0)
