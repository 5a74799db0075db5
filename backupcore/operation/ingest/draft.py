"""A leaf in the making: for each of its cells, kept from the base, stored, or zero."""

from __future__ import annotations

from collections.abc import Set

import numpy as np
import numpy.typing as npt

from backupcore.chunk.digest import ID_LENGTH
from backupcore.model import Ids
from backupcore.operation.ingest.claim import Slots
from backupcore.operation.ingest.plan import LeafPlan
from backupcore.repository.map import FAN_OUT, Leaf
from backupcore.repository.pack import PLACE

__all__ = ["LeafDraft"]

Positions = npt.NDArray[np.int64]


class LeafDraft:
    """Collects what becomes of the cells of one leaf; owned by the coordinating thread.

    base: the base's leaf at this place, None when it is zero there or there is no base.
    condemned: references of data packs from which nothing may be kept.
    Cells are named by their position in the leaf.
    """

    def __init__(
        self, plan: LeafPlan, chunk_size_bytes: int, base: Leaf | None, condemned: Set[bytes]
    ) -> None:
        self.index = plan.index
        self.base = base
        self._chunk = chunk_size_bytes
        self._ids = np.zeros((FAN_OUT, ID_LENGTH), np.uint8)
        self._kept = np.zeros(FAN_OUT, np.bool_)
        self._serial = np.full(FAN_OUT, -1, np.int64)
        self._slot = np.zeros(FAN_OUT, np.uint8)
        self._known: list[tuple[Positions, npt.NDArray[np.void]]] = []
        self._base_ids: Ids | None = None
        if base is not None:
            self._base_ids = np.zeros((FAN_OUT, ID_LENGTH), np.uint8)
            self._base_ids[base.present] = np.where(_usable(base, condemned)[:, None], base.ids, 0)
            if plan.inherited is not None:
                self._base_ids[plan.inherited.rewritten] = 0
                self._kept |= plan.inherited.cells & base.present

    def known(self, positions: Positions) -> Ids | None:
        """Return uint8[n, 32]: the ids of the base's chunks, zero where none may be kept.

        None when the base has no chunk in this leaf.
        """
        return None if self._base_ids is None else self._base_ids[positions]

    def keep(self, positions: Positions) -> None:
        """Say that the chunks of cells are those of the base."""
        self._kept[positions] = True

    def refer(self, positions: Positions, ids: Ids, slots: Slots) -> None:
        """Say in which slot of which frame the chunks of cells are, or will be."""
        self._ids[positions] = ids
        self._serial[positions] = slots.serial
        self._slot[positions] = slots.slot

    def place(self, serials: Positions, places: npt.NDArray[np.void]) -> None:
        """Say where frames lie: PLACE[n], one for each serial."""
        self._known.append((serials, places))

    @property
    def is_unchanged(self) -> bool:
        """Whether it says exactly what the base's leaf says."""
        if (self._serial >= 0).any():
            return False
        return self.base is None or bool(np.array_equal(self._kept, self.base.present))

    def finish(self) -> Leaf | None:
        """Return the leaf, None when every cell is zero."""
        stored = self._serial >= 0
        present = stored | self._kept
        if not present.any():
            return None
        places, frame, slot = self._tables(stored)
        if self._base_ids is not None:
            self._ids[self._kept] = self._base_ids[self._kept]
        used = np.zeros(len(places), np.bool_)
        used[frame[present]] = True
        frame = (np.cumsum(used) - 1)[frame[present]]
        return Leaf(
            chunk_size_bytes=self._chunk,
            first_cell=self.index * FAN_OUT,
            places=places[used],
            present=present,
            ids=self._ids[present],
            frame=frame.astype(np.uint16),
            slot=slot[present],
        )

    def _tables(
        self, stored: npt.NDArray[np.bool_]
    ) -> tuple[npt.NDArray[np.void], Positions, npt.NDArray[np.uint8]]:
        """Return PLACE[f] and, for each of the 1024 cells, its row in it and its slot."""
        places = [np.zeros(0, PLACE)]
        frame, slot = np.zeros(FAN_OUT, np.int64), self._slot.copy()
        count = 0
        if self.base is not None:
            places.append(self.base.places)
            count = len(self.base.places)
            base_frame, base_slot = np.zeros(FAN_OUT, np.int64), np.zeros(FAN_OUT, np.uint8)
            base_frame[self.base.present] = self.base.frame
            base_slot[self.base.present] = self.base.slot
            frame[self._kept], slot[self._kept] = base_frame[self._kept], base_slot[self._kept]
        if stored.any():
            serials = np.concatenate([serial for serial, _ in self._known])
            places += [rows for _, rows in self._known]
            order = np.argsort(serials, kind="stable")
            wanted = self._serial[stored]
            at = order[np.searchsorted(serials[order], wanted)]
            if not np.array_equal(serials[at], wanted):
                raise AssertionError("a frame was referred to and never placed")
            frame[stored] = count + at
        return np.concatenate(places), frame, slot


def _usable(base: Leaf, condemned: Set[bytes]) -> npt.NDArray[np.bool_]:
    """Return bool[c]: which of the base's cells lie in packs that are not condemned."""
    if not condemned:
        return np.ones(len(base.ids), np.bool_)
    good = np.array([bytes(pack) not in condemned for pack in base.places["pack"]], np.bool_)
    usable: npt.NDArray[np.bool_] = good[base.frame]
    return usable
