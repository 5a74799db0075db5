"""What the four formats share: changed extents, rows of them, and what is wrong with a file."""

from __future__ import annotations

import reprlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TypeAlias, cast

import numpy as np

from backupcore.extents import Extents, clip_extents, empty_extents, melt_extents, pack_extents
from backupcore.model import SIZE_BYTES_MAX
from backupcore.units import KIB

__all__ = [
    "AGAIN",
    "EXTENT_COUNT_MAX",
    "VALUE_LENGTH_MAX",
    "ChangedExtents",
    "Pair",
    "Wrong",
    "checked_pair",
    "gather",
    "number_of",
    "shown",
]

EXTENT_COUNT_MAX = 1 << 22  # rows of 16 bytes; sorting them takes about 5 times that
VALUE_LENGTH_MAX = 64 * KIB  # of one JSON value or XML element; real ones have about 100 bytes
AGAIN = "write the file again, and look at the exit status of what writes it"

_ROWS_AT_ONCE = 1 << 18

Pair: TypeAlias = tuple[int, int]


@dataclass(frozen=True, slots=True, eq=False)
class ChangedExtents:
    """What is said to have changed; it may be more than has changed, never less.

    extents: int64[n, 2], rows (offset, length) in bytes, sorted, disjoint; they may end beyond
    the volume, which a source counts in blocks of its own. since: id of a backup, or the
    generation the caller stored with it. since, volume_id and size_bytes are None when the source
    does not say.
    """

    extents: Extents
    since: str | None = None
    volume_id: str | None = None
    size_bytes: int | None = None


class Wrong(Exception):
    """What is wrong with a file, and what to do; the file's name is put before it."""


def gather(rows: Iterator[Pair]) -> tuple[Extents, int]:
    """Return rows in any order as a clean array, and where the last of them ends."""
    table, end, grid_bytes = empty_extents(), 0, 4 * KIB
    while len(fresh := _take_rows(rows)):
        end = max(end, int(fresh.sum(axis=1).max()))
        table = melt_extents(np.concatenate((table, fresh)))
        while len(table) > EXTENT_COUNT_MAX:
            table = clip_extents(pack_extents(table, grid_bytes), 0, end)
            grid_bytes *= 2
    return table, end


def _take_rows(rows: Iterator[Pair]) -> Extents:
    """Return the next rows as they come, none when there are no more."""
    pair = np.dtype((np.int64, 2))
    return cast(Extents, np.fromiter(islice(rows, _ROWS_AT_ONCE), pair))


def checked_pair(offset: object, length: object) -> Pair:
    """Return an extent that may be one of a volume. Raises: Wrong."""
    if type(offset) is not int or type(length) is not int:
        raise Wrong(f"offset {shown(offset)}, length {shown(length)}: both must be whole numbers")
    if offset < 0 or length < 0 or offset + length > SIZE_BYTES_MAX:
        raise Wrong(
            f"offset {shown(offset)}, length {shown(length)}: is negative or ends beyond 2^62 bytes"
        )
    return offset, length


def number_of(value: object) -> object:
    """Return the whole number a text of digits means; anything else as it is."""
    if type(value) is str and len(value) <= 20 and value.isascii() and value.isdigit():
        return int(value)
    return value


def shown(value: object) -> str:
    """Return a value as messages show it, of 80 characters at most."""
    text = reprlib.repr(value)
    return text if len(text) <= 80 else f"{text[:79]}…"
