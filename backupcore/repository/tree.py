"""The map as a tree: read one leaf or node of it, or write a new one beside an old one.

Positions: leaf i holds the cells from 1024 × i on, node i of level v the children from 1024 × i
on of level v − 1. A tree that is written inherits from its base, by reference, whatever is not
put anew.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Set
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

import numpy as np

from backupcore.chunk.digest import digest
from backupcore.chunk.frame import FrameDecoder
from backupcore.driver import Driver
from backupcore.errors import Damaged, MapDamaged, ObjectMissing
from backupcore.repository.key import MAP, pack_id
from backupcore.repository.map import (
    FAN_OUT,
    Leaf,
    Node,
    PackRefs,
    Row,
    null_row,
    pack_refs,
    tree_level,
    unique_packs,
)
from backupcore.units import MIB

__all__ = ["Root", "TreeReader", "TreeWriter", "is_null"]

log = logging.getLogger(__name__)

T = TypeVar("T")
PLAIN_LENGTH_MAX = 64 * MIB  # of a leaf or node; the largest ones have a pack of their own per cell
_READ_AHEAD_BYTES = MIB
_NODES_KEPT = 8


@dataclass(frozen=True, slots=True)
class Root:
    """The top of a map: its level and the row that leads to it."""

    level: int
    row: Row


class NodeCache(Protocol):
    """Keeps stored nodes by their digest; whoever reads one compares the digest."""

    def get_node(self, digest: bytes) -> bytes | None:
        """Return the stored bytes of a node, None when they are not kept."""
        ...

    def put_node(self, digest: bytes, stored: bytes) -> None:
        """Keep the stored bytes of a node."""
        ...


def is_null(row: Row) -> bool:
    """Return whether everything below a row is zero."""
    return not row["stored_length"]


class TreeReader:
    """Reads the map of one backup; owned by one thread.

    root: None when the whole volume is zero. is_tolerant: whether a leaf or node that cannot be
    read counts as zero, with a warning, so that a backup stores anew what it held.
    """

    def __init__(
        self,
        driver: Driver,
        root: Root | None,
        chunk_size_bytes: int,
        *,
        cache: NodeCache | None,
        is_tolerant: bool = False,
    ) -> None:
        self._driver = driver
        self._root = root
        self._chunk = chunk_size_bytes
        self._cache = cache
        self._is_tolerant = is_tolerant
        self._decoder = FrameDecoder()
        self._nodes: dict[tuple[int, int], Node] = {}
        self._ahead: dict[bytes, bytes] = {}

    @property
    def level(self) -> int:
        """The root's level; 0 when there is nothing below it."""
        return self._root.level if self._root else 0

    def row(self, level: int, index: int) -> Row:
        """Return the row that leads to a leaf (level 0) or node; null where there is nothing."""
        root = self._root
        if root is None or level > root.level or (level == root.level and index):
            return null_row()
        if level == root.level:
            return root.row
        parent = self.node(level + 1, index // FAN_OUT)
        row: Row = parent.rows[index % FAN_OUT]
        return row

    def node(self, level: int, index: int) -> Node:
        """Return a node; right above the root, one that leads to it. Raises: MapDamaged."""
        found = self._nodes.pop((level, index), None) or self._load(level, index)
        self._nodes[level, index] = found  # last: the one used longest ago goes first
        if len(self._nodes) > _NODES_KEPT:
            del self._nodes[next(iter(self._nodes))]
        return found

    def leaf(self, index: int) -> Leaf | None:
        """Return a leaf, None when all its cells are zero. Raises: MapDamaged."""
        row = self.row(0, index)
        if is_null(row):
            return None
        try:
            plain = self._open(row, 0, index)
            return self._parse(
                lambda: Leaf.decode(plain, self._chunk, index * FAN_OUT), row, 0, index
            )
        except MapDamaged as error:
            self._tolerate(error)
            return None

    def _load(self, level: int, index: int) -> Node:
        first_cell = index * FAN_OUT ** (level + 1)
        if self._root is None or (index and level >= self._root.level):
            return Node.null(self._chunk, level, first_cell)
        if level == self._root.level + 1:
            return self._above_root(self._root, level)
        row = self.row(level, index)
        if is_null(row):
            return Node.null(self._chunk, level, first_cell)
        try:
            plain = self._open(row, level, index)
            return self._parse(
                lambda: Node.decode(plain, self._chunk, level, first_cell), row, level, index
            )
        except MapDamaged as error:
            self._tolerate(error)
            return Node.null(self._chunk, level, first_cell)

    def _tolerate(self, error: MapDamaged) -> None:
        if not self._is_tolerant:
            raise error
        log.warning("map is damaged; what it held is stored anew", extra={"reason": str(error)})

    def _above_root(self, root: Root, level: int) -> Node:
        """Return the node that a taller tree would have above the root."""
        node = Node.null(self._chunk, level, 0)
        node.rows[0] = root.row
        if level > 1:
            return node
        leaf = self.leaf(0)
        live = leaf.live_bytes() if leaf else {}
        return _with_packs(node, {0: pack_refs(list(live))}, live)

    def _open(self, row: Row, level: int, index: int) -> bytearray:
        """Return the plain bytes a row leads to, after comparing its digest."""
        length = int(row["plain_length"])
        if length > PLAIN_LENGTH_MAX:
            raise self._damaged(row, level, index, f"claims {length} bytes")
        stored = self._fetch(row, level, index)
        return self._parse(lambda: self._decoder.decode(stored, length), row, level, index)

    def _fetch(self, row: Row, level: int, index: int) -> bytes:
        wanted = bytes(row["digest"])
        stored = self._ahead.pop(wanted, None)
        if stored is None and self._cache is not None and level:
            stored = self._cache.get_node(wanted)
        if stored is not None and digest(stored) == wanted:
            return stored
        key = pack_id(MAP, bytes(row["pack"]))
        rows = self._read_ahead(row, index) if level == 0 else [row]
        start = int(row["offset"])
        length = int(rows[-1]["offset"]) + int(rows[-1]["stored_length"]) - start
        try:
            data = self._driver.get(key, start, length)
        except (ObjectMissing, ValueError) as error:
            raise self._damaged(row, level, index, f"cannot be read: {error}") from error
        self._ahead = {
            bytes(other["digest"]): data[int(other["offset"]) - start :][
                : int(other["stored_length"])
            ]
            for other in rows[1:]
        }
        stored = data[: int(row["stored_length"])]
        if digest(stored) != wanted:
            raise self._damaged(row, level, index, "is not what was written")
        if self._cache is not None and level:
            self._cache.put_node(wanted, stored)
        return stored

    def _read_ahead(self, row: Row, index: int) -> list[Row]:
        """Return a leaf's row and those of the leaves that follow it in volume and pack."""
        rows = [row]
        if self._root is None or self._root.level == 0:
            return rows
        end = int(row["offset"]) + int(row["stored_length"])
        for other in self.node(1, index // FAN_OUT).rows[index % FAN_OUT + 1 :]:
            if is_null(other):
                continue
            if other["pack"] != row["pack"] or int(other["offset"]) != end:
                break
            end += int(other["stored_length"])
            if end - int(row["offset"]) > _READ_AHEAD_BYTES:
                break
            rows.append(other)
        return rows

    def _parse(self, parse: Callable[[], T], row: Row, level: int, index: int) -> T:
        try:
            return parse()
        except Damaged as error:
            raise self._damaged(row, level, index, f"is damaged: {error}") from error

    def _damaged(self, row: Row, level: int, index: int, reason: str) -> MapDamaged:
        span = self._chunk * FAN_OUT ** (level + 1)
        name = "leaf" if level == 0 else f"node of level {level}"
        key = pack_id(MAP, bytes(row["pack"]))
        return MapDamaged(
            f"{key}: {name} of the extent {index * span}:{span} at {int(row['offset'])} "
            f"{reason}: run verify",
            key=key,
        )


@dataclass(slots=True)
class _OpenNode:
    """A node that is being written: its rows so far and, above leaves, what was put."""

    index: int
    node: Node
    put: dict[int, tuple[Leaf | None, Leaf | None]]

    def close(self) -> Node:
        """Return the node with the packs of what was put instead of what was there."""
        if self.node.level > 1 or not self.put:
            return self.node
        live = dict(zip(self.node.packs.tolist(), self.node.live.tolist(), strict=True))
        packs: dict[int, PackRefs] = {}
        for child, (leaf, old) in self.put.items():
            for sign, counts in (
                (-1, old.live_bytes() if old else {}),
                (1, leaf.live_bytes() if leaf else {}),
            ):
                for pack, live_bytes in counts.items():
                    live[pack] = live.get(pack, 0) + sign * live_bytes
                if sign > 0:
                    packs[child] = pack_refs(list(counts))
        return _with_packs(self.node, packs, live)


class TreeWriter:
    """Writes a map front to back beside the base's; owned by one thread.

    emit: stores the plain bytes of a leaf or node, given (plain, level, first cell), and returns
    the row that leads to it, counts still zero. condemned: references of map packs that must not
    be referenced anew.
    """

    def __init__(
        self,
        base: TreeReader,
        cell_count: int,
        chunk_size_bytes: int,
        *,
        emit: Callable[[bytes, int, int], Row],
        condemned: Set[bytes] = frozenset(),
    ) -> None:
        self._base = base
        self._cell_count = cell_count
        self._chunk = chunk_size_bytes
        self._emit = emit
        self._condemned = condemned
        self.level = tree_level(cell_count)
        self._open: dict[int, _OpenNode] = {}
        self._root_row = base.row(0, 0)
        for level in range(self.level, 0, -1):  # the way down to where the base's root hangs
            self._node(level, 0)

    def put_leaf(self, index: int, leaf: Leaf | None, old: Leaf | None) -> None:
        """Put a leaf (None: all zero) where the base has `old`; indices only grow."""
        if self.level == 0 and index:
            return  # a leaf of the base beyond the end of a shrunk volume
        row = null_row()
        if leaf is not None:
            row = self._emit(leaf.encode(), 0, leaf.first_cell)
            row["cells"] = len(leaf.ids)
            row["logical_bytes"] = leaf.lengths().sum()
            row["stored_bytes"] = leaf.shares().sum()
        if self.level == 0:
            self._root_row = row
            return
        parent = self._node(1, index // FAN_OUT)
        parent.node.rows[index % FAN_OUT] = row
        parent.put[index % FAN_OUT] = (leaf, old)

    def keep_leaf(self, index: int) -> None:
        """Inherit a leaf, and the nodes above it unless they are condemned or lost."""
        if self.level:
            self._node(1, index // FAN_OUT)

    def finish(self) -> Root | None:
        """Write what is open; return the root, None when every cell is zero."""
        for level in range(self.level, 1, -1):  # a shrunk volume ends in these, changed or not
            self._node(level, (self._cell_count - 1) // FAN_OUT ** (level + 1))
        for level in range(1, self.level + 1):
            self._close(level)
        return None if is_null(self._root_row) else Root(self.level, self._root_row)

    def _node(self, level: int, index: int) -> _OpenNode:
        """Return the open node of a level, closing the one before it."""
        found = self._open.get(level)
        if found is not None and found.index == index:
            return found
        for lower in range(1, level):
            self._close(lower)
        found = self._open.get(level)  # what was closed below may have opened it
        if found is not None and found.index == index:
            return found
        self._close(level)
        base = self._base.node(level, index)
        node = replace(base, chunk_size_bytes=self._chunk, rows=base.rows.copy())
        if level > 1:  # a shrunk volume ends before; below, whoever puts leaves sees to it
            span = FAN_OUT**level
            first = -(-(self._cell_count - node.first_cell) // span)
            node.rows[max(first, 0) :] = null_row()
        self._open[level] = _OpenNode(index, node, {})
        return self._open[level]

    def _close(self, level: int) -> None:
        """Write the open node of a level, or inherit the base's, and tell the level above."""
        found = self._open.pop(level, None)
        if found is None:
            return
        row = self._finished_row(found, level)
        if level == self.level:
            self._root_row = row
        else:
            self._node(level + 1, found.index // FAN_OUT).node.rows[found.index % FAN_OUT] = row

    def _finished_row(self, found: _OpenNode, level: int) -> Row:
        rows = found.node.rows
        if not rows["stored_length"].any():
            return null_row()
        inherited = self._base.row(level, found.index)
        if (
            not is_null(inherited)
            and bytes(inherited["pack"]) not in self._condemned
            and np.array_equal(rows, self._base.node(level, found.index).rows)
        ):
            return inherited
        row = self._emit(found.close().encode(), level, found.node.first_cell)
        for name in ("cells", "logical_bytes", "stored_bytes"):
            row[name] = rows[name].sum()
        return row


def _with_packs(node: Node, changed: dict[int, PackRefs], live: dict[bytes, int]) -> Node:
    """Return a lowest node with the packs of some children replaced.

    live: live bytes of at least every pack that is still referred to.
    """
    lists = [changed.get(child) for child in range(FAN_OUT)]
    chosen = [node.packs_of(child) if new is None else new for child, new in enumerate(lists)]
    starts = np.concatenate(([0], np.cumsum([len(packs) for packs in chosen])))
    packs, positions = unique_packs(np.concatenate(chosen))
    counts = np.array([live[pack] for pack in packs.tolist()], np.int64)
    return replace(
        node, packs=packs, live=counts, starts=starts, child_packs=positions.astype(np.int64)
    )
