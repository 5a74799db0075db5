"""What becomes of a part of a target: cells to write, extents to zero, bytes to leave alone."""

from __future__ import annotations

from dataclasses import dataclass

from backupcore.extents import (
    Extents,
    clip_extents,
    empty_extents,
    extents_of_cells,
    intersect_extents,
    total_length,
)
from backupcore.operation.retrieve.walk import Stretch, leaf_of_extents
from backupcore.repository.map import Leaf

__all__ = ["Change", "overwrite"]


@dataclass(frozen=True, slots=True)
class Change:
    """What is to be done to one part of a target.

    leaf: the cells to be written, None for none. zeros: clean extents to be made zero.
    wanted_bytes: of the part; kept_bytes: of them, those that stay as they are.
    """

    leaf: Leaf | None
    zeros: Extents
    wanted_bytes: int
    kept_bytes: int

    @property
    def zeroed_bytes(self) -> int:
        """Bytes to be made zero."""
        return total_length(self.zeros)

    @property
    def written_bytes(self) -> int:
        """Bytes to be written."""
        return self.wanted_bytes - self.kept_bytes - self.zeroed_bytes


def overwrite(stretch: Stretch, wanted: Extents, *, is_known_zero: bool) -> Change:
    """Return the change that writes all that is wanted of a stretch, whatever the target holds.

    is_known_zero: whether the target reads as zeros, so that zeros are there already.
    """
    part = clip_extents(wanted, stretch.offset, stretch.length)
    zeros, leaf = part, stretch.leaf
    if leaf is not None:
        absent = extents_of_cells(~leaf.present, leaf.chunk_size_bytes, leaf.first_cell)
        zeros, leaf = intersect_extents(part, absent), leaf_of_extents(leaf, part)
    if is_known_zero:
        return Change(leaf, empty_extents(), total_length(part), total_length(zeros))
    return Change(leaf, zeros, total_length(part), 0)
