"""A node: rows that lead to 1024 leaves or nodes (docs/design/format.md §6).

In memory rows carry whole pack references, at rest positions in a table of them.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from backupcore.errors import Damaged
from backupcore.model import Buffer
from backupcore.repository.key import PACK_REFERENCE_LENGTH
from backupcore.repository.map.table import (
    FAN_OUT,
    Columns,
    Live,
    PackRefs,
    find_packs,
    null_rows,
    pack_refs,
    unique_packs,
)

__all__ = ["Node", "with_packs"]

NULL_PACK = 0xFFFF

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
_COPIED = (
    "offset", "stored_length", "plain_length", "digest", "cells", "logical_bytes", "stored_bytes",
)  # fmt: skip


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

    def packs_of(self, child: int) -> npt.NDArray[np.int64]:
        """Return int64[n]: positions in `packs` of those that a leaf of this node refers to."""
        return self.child_packs[self.starts[child] : self.starts[child + 1]]

    def encode(self) -> bytes:
        """Return its plain bytes."""
        used = self.rows["stored_length"] > 0
        table, position = unique_packs(self.rows["pack"][used])
        rows = np.zeros(FAN_OUT, _NODE_ROW)
        for name in _COPIED:
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
        columns = Columns(plain)
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
    for name in _COPIED:
        rows[name] = stored[name]
    rows["pack"][used] = table[stored["pack"][used]]
    return rows


def with_packs(node: Node, changed: dict[int, PackRefs], deltas: Sequence[Live]) -> Node:
    """Return a lowest node with the packs of some children replaced.

    deltas: by how much live bytes change; they name every pack that `changed` does.
    """
    table, place = unique_packs(np.concatenate([node.packs, *(delta.packs for delta in deltas)]))
    live = np.zeros(len(table), np.int64)
    np.add.at(live, place, np.concatenate([node.live, *(delta.sizes for delta in deltas)]))
    sizes = np.diff(node.starts)
    owner = np.repeat(np.arange(FAN_OUT), sizes)
    is_kept = np.ones(FAN_OUT, np.bool_)
    is_kept[list(changed)] = False
    kept = is_kept[owner]
    for child, references in changed.items():
        sizes[child] = len(references)
    starts = np.concatenate(([0], np.cumsum(sizes)))
    moved = np.arange(len(owner)) + (starts - node.starts)[owner]
    chosen = np.zeros(starts[-1], np.int64)
    chosen[moved[kept]] = place[node.child_packs[kept]]
    for child, references in changed.items():
        chosen[starts[child] : starts[child + 1]] = find_packs(table, references)
    used = np.zeros(len(table), np.bool_)
    used[chosen] = True
    return replace(
        node,
        packs=table[used],
        live=live[used],
        starts=starts,
        child_packs=(np.cumsum(used) - 1)[chosen],
    )
