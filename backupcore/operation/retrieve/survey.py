"""Through the maps of backups to see what they refer to, past whatever cannot be read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass

import numpy as np

from backupcore.errors import MapDamaged
from backupcore.operation.retrieve.walk import leaf_of_cells
from backupcore.repository.map import FAN_OUT, Leaf, Node, Row, TreeReader, is_null, unique_packs

__all__ = ["Item", "Survey", "leaf_of_packs"]


@dataclass(frozen=True, slots=True)
class Item:
    """A leaf or node and the row that leads to it; both None when it was not opened.

    offset, length: the bytes of the volume below it.
    """

    row: Row
    offset: int
    length: int
    leaf: Leaf | None = None
    node: Node | None = None


class Survey:
    """Walks one map; owned by one thread.

    lost: told of every subtree that cannot be read: why, offset and length in bytes.
    """

    def __init__(
        self,
        tree: TreeReader,
        chunk_size_bytes: int,
        size_bytes: int,
        lost: Callable[[MapDamaged, int, int], None],
    ) -> None:
        self._tree = tree
        self._leaf_length = chunk_size_bytes * FAN_OUT
        self._size_bytes = size_bytes
        self._lost = lost

    def items(self, *, wants_leaf: Callable[[Row], bool]) -> Iterator[Item]:
        """Yield every node, and every leaf, opened when its row is wanted; in volume order."""
        return self._below(self._tree.level, 0, wants_leaf)

    def leaves(self, packs: Set[bytes]) -> Iterator[Leaf]:
        """Yield the leaves that refer to some data packs, with only the cells that lie in them."""
        for node in self._lowest_nodes():
            if node is None:  # the root is a leaf
                leaf = self._open_leaf(0)
                yield from (leaf_of_packs(leaf, packs),) if leaf else ()
                continue
            hit = np.array([pack in packs for pack in node.packs.tolist()], np.bool_)
            if not hit.any():
                continue
            for child in range(FAN_OUT):
                if hit[node.packs_of(child)].any():
                    leaf = self._open_leaf(node.first_cell // FAN_OUT + child)
                    yield from (leaf_of_packs(leaf, packs),) if leaf else ()

    def _lowest_nodes(self) -> Iterator[Node | None]:
        if self._tree.level == 0:
            yield None
            return
        for item in self.items(wants_leaf=lambda row: False):
            if item.node is not None and item.node.level == 1:
                yield item.node

    def _below(self, level: int, index: int, wants_leaf: Callable[[Row], bool]) -> Iterator[Item]:
        row = self._tree.row(level, index)
        if is_null(row):
            return
        if level == 0:
            if not wants_leaf(row):
                yield Item(row, *self._extent(level, index))
                return
            leaf = self._open_leaf(index)
            if leaf is not None:
                yield Item(row, *self._extent(level, index), leaf=leaf)
            return
        try:
            node = self._tree.node(level, index)
        except MapDamaged as error:
            self._tell(error, level, index)
            return
        yield Item(row, *self._extent(level, index), node=node)
        for child in np.flatnonzero(node.rows["stored_length"]).tolist():
            yield from self._below(level - 1, index * FAN_OUT + child, wants_leaf)

    def _open_leaf(self, index: int) -> Leaf | None:
        try:
            return self._tree.leaf(index)
        except MapDamaged as error:
            self._tell(error, 0, index)
            return None

    def _tell(self, error: MapDamaged, level: int, index: int) -> None:
        self._lost(error, *self._extent(level, index))

    def _extent(self, level: int, index: int) -> tuple[int, int]:
        span = self._leaf_length * FAN_OUT**level
        offset = index * span
        return offset, min(span, self._size_bytes - offset)


def leaf_of_packs(leaf: Leaf, packs: Set[bytes]) -> Leaf:
    """Return a leaf with only the cells that lie in some data packs."""
    table, position = unique_packs(leaf.places["pack"])
    in_packs = np.array([pack in packs for pack in table.tolist()], np.bool_)[position]
    cells = np.zeros(FAN_OUT, np.bool_)
    cells[leaf.present] = in_packs[leaf.frame]
    return leaf_of_cells(leaf, cells)
