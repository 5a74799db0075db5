"""What a map tells the dedup index: its data packs, and the chunks of leaves not known yet."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from backupcore.errors import MapDamaged
from backupcore.repository.index.run import ROW, prefixes_of
from backupcore.repository.map import FAN_OUT, Leaf, Node, PackRefs, TreeReader, unique_packs

__all__ = ["Cover", "rows_of"]

log = logging.getLogger(__name__)

Prefixes = npt.NDArray[np.uint64]


class Cover:
    """Goes through one map; owned by one thread.

    packs: references of the data packs met so far. is_whole: whether everything could be read.
    """

    def __init__(self, tree: TreeReader) -> None:
        self._tree = tree
        self.packs: set[bytes] = set()
        self.is_whole = True

    def meet_packs(self) -> None:
        """Meet every pack, as the nodes above leaves tell them."""
        for _ in self.leaves(lambda digests: np.ones(len(digests), np.bool_)):
            pass

    def leaves(
        self, is_known: Callable[[Prefixes], npt.NDArray[np.bool_]]
    ) -> Iterator[tuple[Leaf, Prefixes]]:
        """Yield, in volume order, the leaves that are not known by their digests' beginnings.

        Each comes with its own, uint64[1]. The packs of the others are met all the same.
        """
        if self._tree.level == 0:
            begins = _begins(self._tree.row(0, 0)["digest"])
            leaf = self._open(0)
            if leaf is not None and not is_known(begins)[0]:
                yield leaf, begins
            return
        for node in self._lowest(self._tree.level, 0):
            self.packs.update(node.packs.tolist())
            children = np.flatnonzero(node.rows["stored_length"])
            begins = _begins(node.rows["digest"][children])
            for at in np.flatnonzero(~is_known(begins)).tolist():
                leaf = self._open(node.first_cell // FAN_OUT + int(children[at]))
                if leaf is not None:
                    yield leaf, begins[at : at + 1]

    def _open(self, index: int) -> Leaf | None:
        try:
            leaf = self._tree.leaf(index)
        except MapDamaged as error:
            self._miss(error)
            return None
        self.packs.update(leaf.places["pack"].tolist() if leaf else ())
        return leaf

    def _lowest(self, level: int, index: int) -> Iterator[Node]:
        """Yield the nodes right above leaves."""
        try:
            node = self._tree.node(level, index)
        except MapDamaged as error:
            self._miss(error)
            return
        if level == 1:
            yield node
            return
        for child in np.flatnonzero(node.rows["stored_length"]).tolist():
            yield from self._lowest(level - 1, index * FAN_OUT + child)

    def _miss(self, error: MapDamaged) -> None:
        self.is_whole = False
        log.warning("map cannot be read; its chunks are not found", extra={"reason": str(error)})


def rows_of(leaf: Leaf) -> tuple[npt.NDArray[np.void], PackRefs]:
    """Return ROW[n] of a leaf's chunks, each once, and the packs they count in."""
    _, first = np.unique(prefixes_of(leaf.ids), return_index=True)
    first.sort()
    packs, position = unique_packs(leaf.places["pack"])
    frame = leaf.frame[first]
    rows = np.zeros(len(first), ROW)
    for name in ("offset", "stored_length", "plain_length", "checksum"):
        rows[name] = leaf.places[name][frame]
    rows["id"], rows["slot"], rows["pack"] = leaf.ids[first], leaf.slot[first], position[frame]
    return rows, packs


def _begins(digests: npt.NDArray[np.void] | np.void) -> Prefixes:
    """Return uint64[n]: the beginnings of one digest or several."""
    return prefixes_of(np.frombuffer(digests.tobytes(), np.uint8).reshape(-1, 32))
