"""Dedup indexes over a forest of maps, and rows without any map."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from backupcore.model import Ids
from backupcore.repository.index import DomainIndex, Source
from backupcore.repository.index.build import RunBuilder
from backupcore.repository.index.run import ROW, Run
from backupcore.repository.map import FAN_OUT, PackRefs, TreeReader, pack_refs
from tests.format.world import Chance
from tests.repository.map.forest import Forest, Stored, Tree

IDENTITY = bytes(range(32))
CELL_COUNT = 3 * FAN_OUT
_PROCESSES = itertools.count()  # no two choose the same names
PACKS = pack_refs([bytes([number]) * 36 for number in range(1, 8)])


def open_index(
    folder: Path | None,
    forest: Forest,
    trees: Iterable[Tree],
    *,
    condemned: Iterable[bytes] = (),
    tick: Callable[[], None] = lambda: None,
    identity: bytes = IDENTITY,
) -> DomainIndex:
    """Return an index that covers trees, as one session finds them."""
    index = DomainIndex(
        folder,
        identity,
        condemned=set(condemned),
        random_bytes=Chance(f"process {next(_PROCESSES)}"),
        tick=tick,
    )
    try:
        index.update(sources(forest.reader, trees))
    except BaseException:
        index.close()
        raise
    return index


def sources(open_tree: Callable[[Tree], TreeReader], trees: Iterable[Tree]) -> list[Source]:
    return [
        Source(bytes(tree.root.row["digest"]), partial(open_tree, tree))
        for tree in trees
        if tree.root is not None
    ]


def held(index: DomainIndex, cells: Iterable[Stored]) -> set[Stored]:
    """Return which of what cells hold is found, where the index says it is."""
    asked = list(cells)
    found = index.find(ids_of(asked))
    hits = [stored for stored, hit in zip(asked, found.hit.tolist(), strict=True) if hit]
    places = [found.places[frame].tobytes() for frame in found.frame.tolist()]
    return {
        Stored(stored.chunk_id, place, slot)
        for stored, place, slot in zip(hits, places, found.slot.tolist(), strict=True)
    }


def ids_of(cells: Iterable[Stored]) -> Ids:
    return as_ids(stored.chunk_id for stored in cells)


def as_ids(chunk_ids: Iterable[bytes]) -> Ids:
    return np.frombuffer(b"".join(chunk_ids), np.uint8).reshape(-1, 32)


def rows(chunk_ids: Iterable[bytes]) -> npt.NDArray[np.void]:
    """Return rows whose fields tell the position of the id."""
    ids = as_ids(chunk_ids)
    made, position = np.zeros(len(ids), ROW), np.arange(len(ids))
    made["id"], made["pack"], made["slot"] = ids, position % len(PACKS), position % 256
    made["offset"], made["stored_length"] = position, position + 50
    made["plain_length"], made["checksum"] = position + 100, position + (1 << 60)
    return made


def build(
    path: Path, *batches: npt.NDArray[np.void], packs: PackRefs = PACKS, sorted_rows: int = 1 << 20
) -> Run:
    """Return a run of rows, every pack of which may be referred to."""
    with (
        path.open("xb") as file,
        RunBuilder(file, IDENTITY, path.parent, sorted_rows=sorted_rows) as builder,
    ):
        for batch in batches:
            builder.add(batch, packs)
        builder.finish()
    run = Run(path, IDENTITY)
    run.judge(lambda pack: True)
    return run


def run_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.run"))


@dataclass
class World:
    """What the model knows: the trees that are listed, every chunk there ever was, tombs."""

    forest: Forest = field(default_factory=Forest)
    trees: list[Tree] = field(default_factory=list)
    ever: set[Stored] = field(default_factory=set)
    condemned: set[bytes] = field(default_factory=set)

    def back_up(self, cells: list[int], base: Tree | None = None) -> Tree:
        """Add a tree: the base's with other chunks in some cells."""
        new = self.forest.store(sorted(set(cells)))
        tree = self.forest.backup(base, CELL_COUNT, {**(base.cells if base else {}), **new})
        self.trees.append(tree)
        self.ever |= set(new.values())
        return tree

    def delete(self, tree: Tree) -> None:
        self.trees = [other for other in self.trees if other is not tree]

    @property
    def expected(self) -> set[Stored]:
        """What may be referred to: chunks of listed trees in packs that are not condemned."""
        chunks = {stored for tree in self.trees for stored in tree.cells.values()}
        return {stored for stored in chunks if stored.pack not in self.condemned}

    @property
    def allowed(self) -> set[Stored]:
        """What else may be referred to: whatever lies in a pack of theirs."""
        packs = {stored.pack for stored in self.expected}
        return {stored for stored in self.ever if stored.pack in packs}

    def open(self, folder: Path | None) -> DomainIndex:
        return open_index(folder, self.forest, self.trees, condemned=self.condemned)

    def check(self, folder: Path | None) -> None:
        with self.open(folder) as index:
            assert self.expected <= held(index, self.ever) <= self.allowed
