"""Writes a map beside the base's, and inherits by reference whatever is not put anew."""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass, field, replace

import numpy as np

from backupcore.repository.map.leaf import Leaf
from backupcore.repository.map.node import Node, with_packs
from backupcore.repository.map.reader import TreeReader
from backupcore.repository.map.table import (
    FAN_OUT,
    Live,
    PackRefs,
    Root,
    Row,
    is_null,
    null_row,
    pack_refs,
    tree_level,
)

__all__ = ["TreeWriter"]


@dataclass(slots=True)
class _OpenNode:
    """A node that is being written: its rows so far and, above leaves, the packs of what was put.

    added, removed: live bytes of packs in what was put and in what it replaces.
    is_lossy: whether something was replaced that cannot be read, so that nobody knows its share.
    """

    index: int
    node: Node
    packs: dict[int, PackRefs] = field(default_factory=dict)
    added: list[Live] = field(default_factory=list)
    removed: list[Live] = field(default_factory=list)
    is_lossy: bool = False

    def put(self, child: int, leaf: Leaf | None, old: Leaf | None) -> None:
        """Note what a leaf refers to and what the one it replaces did."""
        live = leaf.live() if leaf else None
        self.packs[child] = live.packs if live else pack_refs([])
        self.added += [live] if live else []
        self.removed += [old.live()] if old else []
        self.is_lossy |= old is None and not is_null(self.node.rows[child])

    def close(self, base: TreeReader) -> Node:
        """Return the node with the packs of what was put instead of what was there."""
        if self.node.level > 1 or not self.packs:
            return self.node
        if not self.is_lossy:
            gone = [-live for live in self.removed]
            return with_packs(self.node, self.packs, self.added + gone)
        added = self.added.copy()
        for child in set(range(FAN_OUT)) - self.packs.keys():
            leaf = base.leaf(self.index * FAN_OUT + child)
            added += [leaf.live()] if leaf else []
        node = replace(self.node, live=np.zeros_like(self.node.live))
        return with_packs(node, self.packs, added)


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
        self._root_row = base.row(0, 0) if cell_count else null_row()
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
        parent.put(index % FAN_OUT, leaf, old)
        parent.node.rows[index % FAN_OUT] = row

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
        self._open[level] = _OpenNode(index, node)
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
        row = self._emit(found.close(self._base).encode(), level, found.node.first_cell)
        for name in ("cells", "logical_bytes", "stored_bytes"):
            row[name] = rows[name].sum()
        return row
