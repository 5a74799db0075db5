"""Dedup within one run: which chunk was stored a little while ago, and where.

Owned by the coordinating thread and asked in volume order, so that the answer is always a frame
whose place is known by the time it is needed, and the same on every run.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from backupcore.chunk.digest import ids_equal
from backupcore.model import Ids
from backupcore.repository.pack import PLACE

__all__ = ["Claims", "Slots"]

WINDOW = 1 << 16  # chunk ids remembered, best effort
_RING = 1 << 17  # frames whose places are remembered; a frame holds one chunk or more


class Slots:
    """Where chunks are: serial int64[n] of the frame, counted over the run, and slot u1[n]."""

    __slots__ = ("serial", "slot")

    def __init__(self, serial: npt.NDArray[np.int64], slot: npt.NDArray[np.uint8]) -> None:
        self.serial = serial
        self.slot = slot


class Claims:
    """Remembers recent chunks in a table addressed by their ids; a newer one takes the place.

    Frames get a serial when they are decided upon and a place when they are in a pack.
    """

    def __init__(self) -> None:
        self._ids = np.zeros((WINDOW, 32), np.uint8)
        self._serial = np.full(WINDOW, -1, np.int64)
        self._slot = np.zeros(WINDOW, np.uint8)
        self._places = np.zeros(_RING, PLACE)
        self._placed = np.full(_RING, -1, np.int64)
        self._next_serial = 0

    def take_serials(self, count: int) -> int:
        """Return the first of so many new serials."""
        first = self._next_serial
        self._next_serial += count
        return first

    def find(self, ids: Ids) -> Slots:
        """Return where chunks were stored before; serial −1 for those not remembered."""
        index = _index(ids)
        serial = self._serial[index]
        known = (serial > self._next_serial - WINDOW) & ids_equal(self._ids[index], ids)
        return Slots(np.where(known, serial, -1), self._slot[index])

    def remember(self, ids: Ids, slots: Slots) -> None:
        """Note where chunks are stored."""
        index = _index(ids)
        self._ids[index], self._serial[index], self._slot[index] = ids, slots.serial, slots.slot

    def first_of_each(self, ids: Ids) -> npt.NDArray[np.int64]:
        """Return int64[n]: the position of the first row equal to each row."""
        order = np.argsort(_words(ids), kind="stable")
        sorted_ids = ids[order]
        starts = np.ones(len(ids), np.bool_)
        starts[1:] = ~ids_equal(sorted_ids[1:], sorted_ids[:-1])
        positions = np.empty(len(ids), np.int64)
        positions[order] = order[starts][np.cumsum(starts) - 1]
        return positions

    def place(self, first_serial: int, places: npt.NDArray[np.void]) -> None:
        """Note where frames lie: PLACE[n], serials from the first on."""
        serials = first_serial + np.arange(len(places))
        self._places[serials % _RING], self._placed[serials % _RING] = places, serials

    def places(self, serials: npt.NDArray[np.int64]) -> npt.NDArray[np.void]:
        """Return PLACE[n] of frames whose places were noted."""
        if not np.array_equal(self._placed[serials % _RING], serials):
            raise AssertionError("a frame is asked for that was not placed or is long forgotten")
        found: npt.NDArray[np.void] = self._places[serials % _RING]
        return found


def _index(ids: Ids) -> npt.NDArray[np.int64]:
    index: npt.NDArray[np.int64] = (_words(ids) % WINDOW).astype(np.int64)
    return index


def _words(ids: Ids) -> npt.NDArray[np.uint64]:
    """Return uint64[n]: the beginnings of ids."""
    words: npt.NDArray[np.uint64] = np.ascontiguousarray(ids).view("<u8")[:, 0]
    return words
