"""Leaves and nodes: where every chunk of one backup lies (docs/design/format.md §6).

A leaf holds 1024 cells and refers to nothing but data packs; a node holds 1024 children.
In memory both carry whole pack references, at rest they carry tables of them.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from backupcore.chunk.frame import HEADER_LENGTH
from backupcore.errors import Damaged
from backupcore.model import FRAME_SIZE_BYTES_MAX, Buffer, Ids
from backupcore.repository.key import PACK_REFERENCE_LENGTH
from backupcore.repository.pack import PLACE

__all__ = [
    "FAN_OUT",
    "ROW",
    "Leaf",
    "Node",
    "PackRefs",
    "Row",
    "null_row",
    "null_rows",
    "pack_refs",
    "tree_level",
    "unique_packs",
]

FAN_OUT = 1024
NULL_PACK = 0xFFFF

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
_NODE = struct.Struct("<4sIQIIII")
_NODE_ROW = np.dtype(
    [
        ("offset", "<u4"),
        ("stored_length", "<u4"),
        ("plain_length", "<u4"),
        ("pack", "<u2"),
        ("reserved", "<u2"),
        ("digest", "V32"),
        ("cells", "<u8"),
        ("logical_bytes", "<u8"),
        ("stored_bytes", "<u8"),
    ]
)
_NODE_PACK = np.dtype([("pack", "V36"), ("live_bytes", "<u8")])
_COPIED_ROW = (
    "offset", "stored_length", "plain_length", "digest", "cells", "logical_bytes", "stored_bytes",
)  # fmt: skip
_COPIED = ("offset", "stored_length", "plain_length", "checksum")
_PRESENCE_LENGTH = FAN_OUT // 8


def null_row() -> Row:
    """Return the row of a child of zeros, to be filled or kept."""
    row: Row = np.zeros(1, ROW)[0]
    return row


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


def pack_refs(references: set[bytes] | list[bytes]) -> PackRefs:
    """Return V36[n] of pack references."""
    return np.frombuffer(b"".join(references), f"V{PACK_REFERENCE_LENGTH}")


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
        columns = _Columns(plain)
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

    def shares(self) -> npt.NDArray[np.int64]:
        """Return int64[c]: the stored bytes each cell that is not zero answers for."""
        stored = self.places["stored_length"].astype(np.int64)[self.frame]
        plain = self.places["plain_length"].astype(np.int64)[self.frame]
        return stored * self.lengths() // plain

    def live_bytes(self) -> dict[bytes, int]:
        """Return the live bytes of each data pack it refers to."""
        packs, position = unique_packs(self.places["pack"])
        live = np.zeros(len(packs), np.int64)
        np.add.at(live, position[self.frame], self.shares())
        return dict(zip(packs.tolist(), live.tolist(), strict=True))


@dataclass(frozen=True, slots=True)
class Node:
    """1024 children of a map.

    rows: ROW[1024]. Directly above leaves (level 1) also: packs V36[d] and live int64[d], the data
    packs of the subtree and their live bytes; starts int64[1025] and child_packs int64[l], the
    positions in packs of what child i refers to being child_packs[starts[i]:starts[i + 1]].
    """

    chunk_size_bytes: int
    level: int
    first_cell: int
    rows: npt.NDArray[np.void]
    packs: PackRefs
    live: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]
    child_packs: npt.NDArray[np.int64]

    @classmethod
    def null(cls, chunk_size_bytes: int, level: int, first_cell: int) -> Node:
        """Return a node of zeros."""
        none = np.zeros(0, np.int64)
        starts = np.zeros(FAN_OUT + 1, np.int64)
        return cls(
            chunk_size_bytes, level, first_cell, null_rows(), pack_refs([]), none, starts, none
        )

    def packs_of(self, child: int) -> PackRefs:
        """Return V36[n]: the data packs that a leaf of this node refers to."""
        return self.packs[self.child_packs[self.starts[child] : self.starts[child + 1]]]

    def encode(self) -> bytes:
        """Return its plain bytes."""
        used = self.rows["stored_length"] > 0
        table, position = unique_packs(self.rows["pack"][used])
        rows = np.zeros(FAN_OUT, _NODE_ROW)
        for name in _COPIED_ROW:
            rows[name] = self.rows[name]
        rows["pack"] = NULL_PACK
        rows["pack"][used] = position
        header = _NODE.pack(
            b"node", self.chunk_size_bytes, self.first_cell, self.level, len(table),
            len(self.packs), len(self.child_packs),
        )  # fmt: skip
        data = np.zeros(len(self.packs), _NODE_PACK)
        data["pack"], data["live_bytes"] = self.packs, self.live
        columns = [table, rows, data]
        if self.level == 1:
            columns += [self.starts.astype("<u4"), self.child_packs.astype("<u4")]
        return header + b"".join(column.tobytes() for column in columns)

    @classmethod
    def decode(cls, plain: Buffer, chunk_size_bytes: int, level: int, first_cell: int) -> Node:
        """Read plain bytes of the node that belongs at a cell. Raises: Damaged."""
        columns = _Columns(plain)
        magic, chunk, first, found, table_count, pack_count, child_pack_count = columns.unpack(
            _NODE
        )
        if magic != b"node" or (chunk, found, first) != (chunk_size_bytes, level, first_cell):
            raise Damaged(f"is not the node of level {level} of cell {first_cell}")
        table = columns.take(f"V{PACK_REFERENCE_LENGTH}", table_count)
        stored = columns.take(_NODE_ROW, FAN_OUT)
        data = columns.take(_NODE_PACK, pack_count)
        is_lowest = level == 1
        starts = columns.take("<u4", FAN_OUT + 1 if is_lowest else 0).astype(np.int64)
        child_packs = columns.take("<u4", child_pack_count).astype(np.int64)
        columns.close()
        if not is_lowest:
            if pack_count:
                raise Damaged("node names data packs above level 1")
            starts = np.zeros(FAN_OUT + 1, np.int64)
        if (np.diff(starts) < 0).any() or starts[-1] != child_pack_count or starts[0]:
            raise Damaged("node's child packs do not fit its children")
        if (child_packs >= pack_count).any():
            raise Damaged("node names a data pack beyond its table")
        packs, live = data["pack"], data["live_bytes"].astype(np.int64)
        rows = _open_rows(stored, table)
        return cls(chunk, level, first, rows, packs, live, starts, child_packs)


def _open_rows(stored: npt.NDArray[np.void], table: PackRefs) -> npt.NDArray[np.void]:
    """Return ROW[1024] of rows at rest and the map packs they point into."""
    used = stored["pack"] != NULL_PACK
    if (stored["pack"][used] >= len(table)).any() or not stored["stored_length"][used].all():
        raise Damaged("node names a map pack beyond its table")
    null = np.zeros(FAN_OUT - int(used.sum()), _NODE_ROW)
    null["pack"] = NULL_PACK
    if stored["reserved"].any() or stored[~used].tobytes() != null.tobytes():
        raise Damaged("node has a null row that is not null")
    rows = null_rows()
    for name in _COPIED_ROW:
        rows[name] = stored[name]
    rows["pack"][used] = table[stored["pack"][used]]
    return rows


class _Columns:
    """Reads a plain leaf or node front to back; every step checks that it is long enough."""

    def __init__(self, plain: Buffer) -> None:
        self._plain = memoryview(plain)
        self._offset = 0

    def unpack(self, layout: struct.Struct) -> tuple[Any, ...]:
        return layout.unpack(self._slice(layout.size))

    def take(self, dtype: npt.DTypeLike, count: int) -> npt.NDArray[Any]:
        kind = np.dtype(dtype)
        return np.frombuffer(self._slice(kind.itemsize * count), kind)

    def close(self) -> None:
        if self._offset != len(self._plain):
            raise Damaged(f"{len(self._plain) - self._offset} bytes follow the last column")

    def _slice(self, length: int) -> memoryview:
        end = self._offset + length
        if end > len(self._plain):
            raise Damaged("map item is shorter than its counts say")
        part = self._plain[self._offset : end]
        self._offset = end
        return part
