"""What an earlier process of the same session has stored already, in volume order.

Each writer's packs follow the volume, so one footer a writer is open at a time and memory does
not grow with what was stored.
"""

from __future__ import annotations

import heapq
import logging
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from backupcore.chunk.digest import ids_equal
from backupcore.driver import Driver, ObjectInfo
from backupcore.errors import Damaged, ObjectMissing
from backupcore.model import Ids, PackId
from backupcore.operation.ingest.claim import Slots
from backupcore.repository.key import DATA, pack_prefix, pack_reference
from backupcore.repository.map import FAN_OUT
from backupcore.repository.pack import DataFooter, read_footer

__all__ = ["Inventory", "Stored", "match"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Stored:
    """Chunks of one pack: cells int64[n], ids uint8[n, 32], frame int64[n] and slot u1[n].

    places: PLACE[f], the frames that `frame` counts.
    """

    cells: npt.NDArray[np.int64]
    ids: Ids
    frame: npt.NDArray[np.int64]
    slot: npt.NDArray[np.uint8]
    places: npt.NDArray[np.void]


class Inventory:
    """Answers, leaf after leaf, which chunks the session's packs hold; owned by one thread."""

    def __init__(self, driver: Driver, session_id: str) -> None:
        writers: dict[bytes, list[ObjectInfo]] = {}
        for info in driver.list(pack_prefix(DATA, session_id)):
            reference = pack_reference(info.key)
            if reference is not None:
                writers.setdefault(reference[16:32], []).append(info)
        self.pack_count = sum(len(packs) for packs in writers.values())
        self._streams = heapq.merge(
            *(_footers(driver, packs) for packs in writers.values()),
            key=lambda stored: int(stored.cells[0]),
        )
        self._next: Stored | None = next(self._streams, None)
        self._open: list[Stored] = []

    def of_leaf(self, index: int) -> list[Stored]:
        """Return what is stored of a leaf, one entry a pack; indices only grow."""
        first, end = index * FAN_OUT, (index + 1) * FAN_OUT
        while self._next is not None and int(self._next.cells[0]) < end:
            self._open.append(self._next)
            self._next = next(self._streams, None)
        self._open = [stored for stored in self._open if int(stored.cells[-1]) >= first]
        return list(self._open)


def match(stored: Stored, cells: npt.NDArray[np.int64], ids: Ids) -> Slots:
    """Return where chunks of ascending cells are; serial is the row in `places`, or −1."""
    at = np.minimum(np.searchsorted(stored.cells, cells), len(stored.cells) - 1)
    same = (stored.cells[at] == cells) & ids_equal(stored.ids[at], ids)
    return Slots(np.where(same, stored.frame[at], -1), stored.slot[at])


def _footers(driver: Driver, packs: list[ObjectInfo]) -> Iterator[Stored]:
    """Yield what each pack of one writer holds, in volume order; one that is damaged is skipped."""
    for info in sorted(packs, key=lambda info: info.key):
        key = PackId(info.key)
        reference = pack_reference(key)
        try:
            footer = DataFooter.parse(read_footer(driver, key, info.size_bytes))
        except (Damaged, ObjectMissing) as error:
            log.warning("pack not reused", extra={"pack": key, "error": str(error)})
            continue
        if reference is None or not len(footer.cells):
            continue
        counts = footer.frames["slot_count"].astype(np.int64)
        frame = np.repeat(np.arange(len(counts)), counts)
        slot = (np.arange(len(frame)) - np.repeat(np.cumsum(counts) - counts, counts)).astype("u1")
        yield Stored(footer.cells, footer.ids, frame, slot, footer.places(reference))
