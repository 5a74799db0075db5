"""Reads a map: one leaf or node of it at a time, each compared with the row that leads to it.

Leaf i holds the cells from 1024 × i on, node i of level v the children from 1024 × i on of level
v − 1.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol, TypeVar

from backupcore.chunk.digest import digest
from backupcore.chunk.frame import FrameDecoder
from backupcore.driver import Driver
from backupcore.errors import Damaged, MapDamaged, ObjectMissing
from backupcore.repository.key import MAP, pack_id
from backupcore.repository.map.leaf import Leaf
from backupcore.repository.map.node import Node, with_packs
from backupcore.repository.map.table import FAN_OUT, Root, Row, is_null, null_row
from backupcore.units import MIB

__all__ = ["NodeCache", "TreeReader"]

log = logging.getLogger(__name__)

T = TypeVar("T")
PLAIN_LENGTH_MAX = 64 * MIB  # of a leaf or node; the largest ones have a pack of their own per cell
_READ_AHEAD_BYTES = MIB
_NODES_KEPT = 8


class NodeCache(Protocol):
    """Keeps stored nodes by their digest; whoever reads one compares the digest."""

    def get_node(self, digest: bytes) -> bytes | None:
        """Return the stored bytes of a node, None when they are not kept."""
        ...

    def put_node(self, digest: bytes, stored: bytes) -> None:
        """Keep the stored bytes of a node."""
        ...


class TreeReader:
    """Reads the map of one backup; owned by one thread.

    root: None when the whole volume is zero. size_bytes: of the volume. is_tolerant: whether a
    leaf or node that cannot be read counts as zero, with a warning, so that a backup stores anew
    what it held. What a node was when it was first read it stays: one that cannot be read again
    is an error even then.
    """

    def __init__(
        self,
        driver: Driver,
        root: Root | None,
        chunk_size_bytes: int,
        size_bytes: int,
        *,
        cache: NodeCache | None,
        is_tolerant: bool = False,
    ) -> None:
        self._driver = driver
        self._root = root
        self._chunk = chunk_size_bytes
        self._size_bytes = size_bytes
        self._cache = cache
        self._is_tolerant = is_tolerant
        self._decoder = FrameDecoder()
        self._nodes: dict[tuple[int, int], Node] = {}
        self._was_sound: dict[tuple[int, int], bool] = {}
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

        def parse() -> Leaf:
            leaf = Leaf.decode(plain, self._chunk, index * FAN_OUT)
            leaf.check_lengths(self._size_bytes)
            return leaf

        try:
            plain = self._open(row, 0, index)
            return self._parse(parse, row, 0, index)
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
        if not self._was_sound.get((level, index), True):
            return Node.null(self._chunk, level, first_cell)
        try:
            plain = self._open(row, level, index)
            node = self._parse(
                lambda: Node.decode(plain, self._chunk, level, first_cell), row, level, index
            )
        except MapDamaged as error:
            if self._was_sound.get((level, index)):
                raise  # what was planned with it may not be taken for zero now
            self._tolerate(error)
            self._was_sound[level, index] = False
            return Node.null(self._chunk, level, first_cell)
        self._was_sound[level, index] = True
        return node

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
        if leaf is None:
            return node
        live = leaf.live()
        return with_packs(node, {0: live.packs}, [live])

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
            stored = data[: int(row["stored_length"])]
            if digest(stored) != wanted:  # once more: it may have been damaged on its way
                stored = self._driver.get(key, start, int(row["stored_length"]))
        except (ObjectMissing, ValueError) as error:
            raise self._damaged(row, level, index, f"cannot be read: {error}") from error
        if digest(stored) != wanted:
            raise self._damaged(row, level, index, "is not what was written")
        self._ahead = {}
        for other in rows[1:]:
            at = int(other["offset"]) - start
            self._ahead[bytes(other["digest"])] = data[at : at + int(other["stored_length"])]
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
