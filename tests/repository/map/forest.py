"""Trees over a dict model: what each cell holds, and where. No volume, no frames are made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from backupcore.driver.memory import MemoryDriver
from backupcore.repository.key import MAP, pack_reference
from backupcore.repository.map import (
    FAN_OUT,
    Leaf,
    Node,
    Root,
    Row,
    TreeReader,
    TreeWriter,
    is_null,
)
from backupcore.repository.map.reader import NodeCache
from backupcore.repository.pack import PLACE
from backupcore.repository.writer import FullPack, PackWriter
from tests.repository.sample import ID

CHUNK = 4096
FRAME_CELLS = 3


@dataclass(frozen=True, slots=True)
class Stored:
    """What one cell holds: its id, the bytes of its PLACE and its slot."""

    chunk_id: bytes
    place: bytes
    slot: int

    @property
    def pack(self) -> bytes:
        return bytes(np.frombuffer(self.place, PLACE)[0]["pack"])

    @property
    def share(self) -> int:
        place = np.frombuffer(self.place, PLACE)[0]
        return int(place["stored_length"]) * CHUNK // int(place["plain_length"])


@dataclass(frozen=True, slots=True)
class Tree:
    """One backup: its cells as the model has them, and the root of its map."""

    cell_count: int
    cells: dict[int, Stored]
    root: Root | None


@dataclass(slots=True)
class Forest:
    """A store with the maps of several backups."""

    driver: MemoryDriver = field(default_factory=MemoryDriver)
    write_count: int = 0

    def reader(self, tree: Tree | None, cache: NodeCache | None = None) -> TreeReader:
        size_bytes = CHUNK * tree.cell_count if tree else 0
        return TreeReader(self.driver, tree.root if tree else None, CHUNK, size_bytes, cache=cache)

    def store(self, cells: list[int]) -> dict[int, Stored]:
        """Return new content for cells, in frames of a few cells, in two packs a call."""
        self.write_count += 1
        random = np.random.default_rng(self.write_count)
        packs = [random.bytes(36) for _ in range(2)]
        result = {}
        for start in range(0, len(cells), FRAME_CELLS):
            part = cells[start : start + FRAME_CELLS]
            place = np.zeros(1, PLACE)
            place["pack"], place["offset"] = np.void(packs[start % 2]), start
            place["plain_length"] = CHUNK * len(part)
            place["stored_length"] = random.integers(41, CHUNK)
            for slot, cell in enumerate(part):
                result[cell] = Stored(random.bytes(32), place.tobytes(), slot)
        return result

    def backup(
        self,
        base: Tree | None,
        cell_count: int,
        cells: dict[int, Stored],
        condemned: frozenset[bytes] = frozenset(),
    ) -> Tree:
        """Write the map of what the cells hold beside the base's, a pack a leaf or node.

        Like a backup, puts every leaf that is another than the base's or lies in a condemned pack.
        """
        self.write_count += 1
        header = {"session_id": ID, "writer_id": f"{self.write_count:032x}"}
        writer = PackWriter(header, {}, level=1, upload=self._put, pack_size_bytes=1)
        reader = self.reader(base)
        tree = TreeWriter(reader, cell_count, CHUNK, emit=writer.add_map_item, condemned=condemned)
        before = base.cells if base else {}
        for index in sorted({cell // FAN_OUT for cell in (*before, *cells)}):
            if index // FAN_OUT > (cell_count - 1) // FAN_OUT**2:
                break  # no backup plans a leaf that lies beyond the volume's last lowest node
            is_condemned = bytes(reader.row(0, index)["pack"]) in condemned
            wanted = leaf_cells(cells, index)
            if wanted != leaf_cells(before, index) or is_condemned:
                tree.put_leaf(index, make_leaf(index, wanted), reader.leaf(index))
            else:
                tree.keep_leaf(index)
        root = tree.finish()
        writer.finish()
        return Tree(cell_count, cells, root)

    def _put(self, full: FullPack) -> None:
        full.put(self.driver)

    def map_packs(self, tree: Tree) -> list[bytes]:
        """Return the references of all map packs that a tree refers to, in a fixed order."""
        return sorted({bytes(row["pack"]) for _, _, row in self.rows(tree)})

    def rows(self, tree: Tree) -> Iterator[tuple[int, int, Row]]:
        """Yield (level, index, row) of everything in a tree, leaves included."""
        reader = self.reader(tree)

        def walk(level: int, index: int) -> Iterator[tuple[int, int, Row]]:
            row = reader.row(level, index)
            if is_null(row):
                return
            yield level, index, row
            if level:
                used = np.flatnonzero(reader.node(level, index).rows["stored_length"])
                for child in used.tolist():
                    yield from walk(level - 1, index * FAN_OUT + child)

        yield from walk(reader.level, 0)

    def read(self, tree: Tree) -> dict[int, Stored]:
        """Return what every cell of a tree holds, as the store tells it."""
        reader, result = self.reader(tree), dict[int, Stored]()
        for level, index, _ in self.rows(tree):
            leaf = reader.leaf(index) if level == 0 else None
            if leaf is not None:
                cells = (np.flatnonzero(leaf.present) + leaf.first_cell).tolist()
                columns = zip(cells, leaf.ids, leaf.frame.tolist(), leaf.slot.tolist(), strict=True)
                for cell, chunk_id, frame, slot in columns:
                    result[cell] = Stored(chunk_id.tobytes(), leaf.places[frame].tobytes(), slot)
        return result

    def nodes(self, tree: Tree) -> Iterator[tuple[int, Node]]:
        """Yield every node directly above leaves, with its index."""
        for level, index, _ in self.rows(tree):
            if level == 1:
                yield index, self.reader(tree).node(1, index)


def leaf_cells(cells: dict[int, Stored], index: int) -> dict[int, Stored]:
    """Return the cells of one leaf."""
    return {cell: stored for cell, stored in cells.items() if cell // FAN_OUT == index}


def make_leaf(index: int, cells: dict[int, Stored]) -> Leaf | None:
    """Return the leaf that says what the cells hold."""
    if not cells:
        return None
    order = sorted(cells)
    places = sorted({cells[cell].place for cell in order})
    present = np.zeros(FAN_OUT, np.bool_)
    present[np.array(order) % FAN_OUT] = True
    ids = b"".join(cells[cell].chunk_id for cell in order)
    return Leaf(
        CHUNK,
        index * FAN_OUT,
        np.frombuffer(b"".join(places), PLACE),
        present,
        np.frombuffer(ids, np.uint8).reshape(-1, 32),
        np.array([places.index(cells[cell].place) for cell in order], np.uint16),
        np.array([cells[cell].slot for cell in order], np.uint8),
    )


def pack_key(reference: bytes) -> str:
    """Return the key of a map pack."""
    key = f"map/{reference[:16].hex()}/{reference[16:32].hex()}-"
    key += f"{int.from_bytes(reference[32:], 'little'):010d}"
    assert pack_reference(key) == reference
    assert key.startswith(MAP.folder)
    return key
