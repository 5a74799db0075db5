"""Whether what is said to be unchanged is: some cells of the base are read again and compared."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import numpy.typing as npt

from backupcore.chunk.digest import chunk_ids
from backupcore.extents import Extents, cells_of
from backupcore.model import Grid
from backupcore.repository.map import FAN_OUT, TreeReader
from backupcore.runtime import StopFlag, map_ordered
from backupcore.volume import Volume

__all__ = ["Sample", "is_refuted"]

log = logging.getLogger(__name__)

_CELLS_MAX = 256
_SHARE = 100  # of so many cells one is read, up to the most
_ROUNDS_MAX = 8
_UNDER_WAY = 8


@dataclass(frozen=True, slots=True)
class Sample:
    """Where a sample is taken: cells that the base has and that are not read anyway."""

    base: TreeReader
    reads: Extents
    grid: Grid
    size_bytes: int
    seed: int

    def draw(self) -> Iterator[tuple[int, bytes]]:
        """Yield (cell, id of its chunk in the base), spread evenly over the cells with data.

        1 % of them, 256 at most. Each of as many equal strata gives one cell, drawn at random;
        what falls on cells that are read anyway is drawn again a few times.
        """
        random = np.random.default_rng(self.seed)
        total = int(self.base.row(self.base.level, 0)["cells"])
        wanted = min(_CELLS_MAX, -(-total // _SHARE))
        for _ in range(_ROUNDS_MAX):
            if wanted <= 0:
                return
            edges = np.linspace(0, total, wanted + 1).astype(np.int64)
            ranks = np.unique(random.integers(edges[:-1], np.maximum(edges[1:], edges[:-1] + 1)))
            for cell, name in self._cells(self.base.level, 0, ranks):
                wanted -= 1
                yield cell, name

    def _cells(
        self, level: int, index: int, ranks: npt.NDArray[np.int64]
    ) -> Iterator[tuple[int, bytes]]:
        """Yield the cells with data that have these ascending numbers below a leaf or node."""
        if level == 0:
            yield from self._cells_of_leaf(index, ranks)
            return
        ends = np.cumsum(self.base.node(level, index).rows["cells"].astype(np.int64))
        child = np.searchsorted(ends, ranks, "right")
        for position, numbers in groupby(range(len(ranks)), key=child.__getitem__):
            if position < FAN_OUT:
                first = int(ends[position - 1]) if position else 0
                inside = ranks[list(numbers)] - first
                yield from self._cells(level - 1, index * FAN_OUT + int(position), inside)

    def _cells_of_leaf(
        self, index: int, ranks: npt.NDArray[np.int64]
    ) -> Iterator[tuple[int, bytes]]:
        leaf, chunk = self.base.leaf(index), self.grid.chunk_size_bytes
        if leaf is None:
            return
        is_read = cells_of(self.reads, chunk, leaf.first_cell, FAN_OUT)
        positions = np.flatnonzero(leaf.present)
        for rank in ranks[ranks < len(positions)].tolist():
            cell = leaf.first_cell + int(positions[rank])
            if not is_read[positions[rank]] and cell < self.grid.cell_count(self.size_bytes):
                yield cell, leaf.ids[rank].tobytes()


def is_refuted(
    volume: Volume, sample: Sample, id_key: bytes, pool: Executor, stop: StopFlag
) -> bool:
    """Return whether a cell that should be as it was is not. Raises: SourceError, Stopped."""
    chunk = sample.grid.chunk_size_bytes

    def differs(drawn: tuple[int, bytes]) -> int | None:
        cell, name = drawn
        content = bytearray(min(chunk, volume.size_bytes - cell * chunk))
        volume.read_into(cell * chunk, content)
        is_same = chunk_ids(memoryview(content), chunk, id_key)[0].tobytes() == name
        return None if is_same else cell

    count = 0
    for cell in map_ordered(pool, differs, sample.draw(), limit=_UNDER_WAY, stop=stop):
        count += 1
        if cell is not None:
            facts = {"seed": sample.seed, "offset": cell * chunk, "cells": count}
            log.warning("what is said to be unchanged is not: everything is read", extra=facts)
            return True
    log.info(
        "a sample of what is said to be unchanged is", extra={"seed": sample.seed, "cells": count}
    )
    return False
