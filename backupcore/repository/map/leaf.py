"""A leaf: which chunks 1024 cells hold, and where those lie (docs/design/format.md §6)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from backupcore.chunk.frame import HEADER_LENGTH
from backupcore.errors import Damaged
from backupcore.model import FRAME_SIZE_BYTES_MAX, Buffer, Ids
from backupcore.repository.key import PACK_REFERENCE_LENGTH
from backupcore.repository.map.table import FAN_OUT, Columns, Live, unique_packs
from backupcore.repository.pack import PLACE

__all__ = ["Leaf"]

_LEAF = struct.Struct("<4sIQIIII")
_LEAF_FRAME = np.dtype(
    [
        ("offset", "<u4"),
        ("stored_length", "<u4"),
        ("plain_length", "<u4"),
        ("pack", "<u2"),
        ("reserved", "<u2"),
        ("checksum", "<u8"),
    ]
)
_COPIED = ("offset", "stored_length", "plain_length", "checksum")
_PRESENCE_LENGTH = FAN_OUT // 8


@dataclass(frozen=True, slots=True)
class Leaf:
    """1024 cells of a backup.

    places: PLACE[f], the frames it refers to. present: bool[1024], cells that are not zero. For
    those alone, in order: ids uint8[c, 32], frame u2[c] (position in places), slot u1[c].
    """

    chunk_size_bytes: int
    first_cell: int
    places: npt.NDArray[np.void]
    present: npt.NDArray[np.bool_]
    ids: Ids
    frame: npt.NDArray[np.uint16]
    slot: npt.NDArray[np.uint8]

    def encode(self) -> bytes:
        """Return its plain bytes."""
        packs, position = unique_packs(self.places["pack"])
        frames = np.zeros(len(self.places), _LEAF_FRAME)
        for name in _COPIED:
            frames[name] = self.places[name]
        frames["pack"] = position
        header = _LEAF.pack(
            b"leaf", self.chunk_size_bytes, self.first_cell, len(packs), len(frames),
            len(self.ids), 0,
        )  # fmt: skip
        presence = np.packbits(self.present, bitorder="little")
        columns = (packs, frames, presence, self.ids, self.frame.astype("<u2"), self.slot)
        return header + b"".join(column.tobytes() for column in columns)

    @classmethod
    def decode(cls, plain: Buffer, chunk_size_bytes: int, first_cell: int) -> Leaf:
        """Read plain bytes of the leaf that belongs at a cell. Raises: Damaged."""
        columns = Columns(plain)
        magic, chunk, first, pack_count, frame_count, cell_count, reserved = columns.unpack(_LEAF)
        if magic != b"leaf" or reserved or (chunk, first) != (chunk_size_bytes, first_cell):
            raise Damaged(f"is not the leaf of cell {first_cell}")
        packs = columns.take(f"V{PACK_REFERENCE_LENGTH}", pack_count)
        frames = columns.take(_LEAF_FRAME, frame_count)
        presence = columns.take("u1", _PRESENCE_LENGTH)
        ids = columns.take("u1", cell_count * 32).reshape(-1, 32)
        frame, slot = columns.take("<u2", cell_count), columns.take("u1", cell_count)
        columns.close()
        present = np.unpackbits(presence, bitorder="little").view(np.bool_)
        if int(present.sum()) != cell_count or (frame >= frame_count).any():
            raise Damaged("leaf's columns do not fit each other")
        if (frames["pack"] >= pack_count).any() or frames["reserved"].any():
            raise Damaged("leaf's frame table does not fit its packs")
        plain_lengths = frames["plain_length"].astype(np.int64)
        stored_lengths = frames["stored_length"].astype(np.int64)
        if not plain_lengths.all() or (plain_lengths > FRAME_SIZE_BYTES_MAX).any():
            raise Damaged("leaf names a frame that is empty or too large")
        if (stored_lengths > plain_lengths + HEADER_LENGTH).any():
            raise Damaged("leaf names a frame stored longer than it is")
        places = np.zeros(frame_count, PLACE)
        for name in _COPIED:
            places[name] = frames[name]
        places["pack"] = packs[frames["pack"]]
        leaf = cls(chunk, first, places, present, ids, frame, slot)
        if (leaf.lengths() <= 0).any():
            raise Damaged("leaf names a slot beyond its frame")
        return leaf

    def lengths(self) -> npt.NDArray[np.int64]:
        """Return int64[c]: plain bytes of each cell that is not zero."""
        left = self.places["plain_length"].astype(np.int64)[self.frame]
        left -= self.slot.astype(np.int64) * self.chunk_size_bytes
        return np.minimum(left, self.chunk_size_bytes)

    def check_lengths(self, size_bytes: int) -> None:
        """Raise Damaged unless every chunk is as long as its cell in a volume of that size."""
        starts = (np.flatnonzero(self.present) + self.first_cell) * self.chunk_size_bytes
        if (self.lengths() != np.minimum(self.chunk_size_bytes, size_bytes - starts)).any():
            raise Damaged("leaf names a chunk that is not as long as its cell")

    def shares(self) -> npt.NDArray[np.int64]:
        """Return int64[c]: the stored bytes each cell that is not zero answers for."""
        stored = self.places["stored_length"].astype(np.int64)[self.frame]
        plain = self.places["plain_length"].astype(np.int64)[self.frame]
        return stored * self.lengths() // plain

    def live(self) -> Live:
        """Return the live bytes of each data pack it refers to."""
        packs, position = unique_packs(self.places["pack"])
        sizes = np.zeros(len(packs), np.int64)
        np.add.at(sizes, position[self.frame], self.shares())
        return Live(packs, sizes)
