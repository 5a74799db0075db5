"""What leaves and nodes share: rows, pack references, and reading plain columns."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from backupcore.errors import Damaged
from backupcore.model import Buffer
from backupcore.repository.key import PACK_REFERENCE_LENGTH

__all__ = [
    "FAN_OUT",
    "ROW",
    "Columns",
    "Live",
    "PackRefs",
    "Root",
    "Row",
    "find_packs",
    "is_null",
    "null_row",
    "null_rows",
    "pack_refs",
    "tree_level",
    "unique_packs",
]

FAN_OUT = 1024

# one child of a node in memory; a child of zeros has zero in every field
ROW = np.dtype(
    [
        ("pack", "V36"),
        ("offset", "<u4"),
        ("stored_length", "<u4"),
        ("plain_length", "<u4"),
        ("digest", "V32"),
        ("cells", "<u8"),
        ("logical_bytes", "<u8"),
        ("stored_bytes", "<u8"),
    ]
)
Row: TypeAlias = np.void
PackRefs: TypeAlias = npt.NDArray[np.void]  # V36[n]


@dataclass(frozen=True, slots=True)
class Root:
    """The top of a map: its level and the row that leads to it."""

    level: int
    row: Row


@dataclass(frozen=True, slots=True)
class Live:
    """Live bytes by data pack: packs V36[n], sizes int64[n]; differences may be negative."""

    packs: PackRefs
    sizes: npt.NDArray[np.int64]

    def __neg__(self) -> Live:
        return Live(self.packs, -self.sizes)


def null_row() -> Row:
    """Return the row of a child of zeros, to be filled or kept."""
    row: Row = np.zeros(1, ROW)[0]
    return row


def is_null(row: Row) -> bool:
    """Return whether everything below a row is zero."""
    return not row["stored_length"]


def null_rows() -> npt.NDArray[np.void]:
    """Return ROW[1024]: a node of zeros."""
    return np.zeros(FAN_OUT, ROW)


def tree_level(cell_count: int) -> int:
    """Return the level of the root of a map of so many cells; 0 is a leaf."""
    level, reach = 0, FAN_OUT
    while reach < cell_count:
        level, reach = level + 1, reach * FAN_OUT
    return level


def unique_packs(references: PackRefs) -> tuple[PackRefs, npt.NDArray[np.intp]]:
    """Return the distinct pack references, sorted, and the position of each given one."""
    flat = np.ascontiguousarray(references).view(f"S{PACK_REFERENCE_LENGTH}")
    table, inverse = np.unique(flat, return_inverse=True)
    return table.view(f"V{PACK_REFERENCE_LENGTH}"), inverse


def find_packs(table: PackRefs, references: PackRefs) -> npt.NDArray[np.intp]:
    """Return where pack references are in a sorted table that holds them all."""
    kind = f"S{PACK_REFERENCE_LENGTH}"
    return np.searchsorted(
        np.ascontiguousarray(table).view(kind), np.ascontiguousarray(references).view(kind)
    )


def pack_refs(references: set[bytes] | list[bytes]) -> PackRefs:
    """Return V36[n] of pack references."""
    return np.frombuffer(b"".join(references), f"V{PACK_REFERENCE_LENGTH}")


class Columns:
    """Reads a plain leaf or node front to back; every step checks that it is long enough."""

    def __init__(self, plain: Buffer) -> None:
        self._plain = memoryview(plain)
        self._offset = 0

    def unpack(self, layout: struct.Struct) -> tuple[Any, ...]:
        """Return the next fields."""
        return layout.unpack(self._slice(layout.size))

    def take(self, dtype: npt.DTypeLike, count: int) -> npt.NDArray[Any]:
        """Return the next column."""
        kind = np.dtype(dtype)
        return np.frombuffer(self._slice(kind.itemsize * count), kind)

    def close(self) -> None:
        """Raise Damaged unless everything was taken."""
        if self._offset != len(self._plain):
            raise Damaged(f"{len(self._plain) - self._offset} bytes follow the last column")

    def _slice(self, length: int) -> memoryview:
        end = self._offset + length
        if end > len(self._plain):
            raise Damaged("map item is shorter than its counts say")
        part = self._plain[self._offset : end]
        self._offset = end
        return part
