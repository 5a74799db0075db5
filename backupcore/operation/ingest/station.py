"""What becomes of each chunk on its way out: kept from the base, referred to, or stored anew."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from backupcore.config import SelfCheck
from backupcore.model import ByteArray, Grid, Ids, Progress, ProgressCallback, Sums
from backupcore.operation.ingest.adopt import Inventory, match
from backupcore.operation.ingest.changed import Condemned
from backupcore.operation.ingest.claim import Claims, Slots
from backupcore.operation.ingest.draft import LeafDraft
from backupcore.operation.ingest.level import AUTO_LEVELS, LevelChoice, StoreState
from backupcore.operation.ingest.plan import LeafPlan, Slab
from backupcore.operation.ingest.slab import NewFrame, SlabFacts, SlabWorker
from backupcore.operation.report import Reporter
from backupcore.repository import Repository
from backupcore.repository.control import Domain
from backupcore.repository.index import DomainIndex
from backupcore.repository.map import FAN_OUT, Root, TreeReader, TreeWriter, is_null
from backupcore.repository.pack import StoredFrame
from backupcore.repository.session import Session
from backupcore.repository.writer import FullPack, PackWriter
from backupcore.volume import Volume

__all__ = ["StoreSettings", "Storing"]

Positions = npt.NDArray[np.int64]
_NOTHING: Positions = np.zeros(0, np.int64)


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """How chunks are cut, named and packed; without a level it is chosen as things go."""

    grid: Grid
    level: int | None
    domain: Domain
    volume_tag: str
    self_check: SelfCheck
    pack_size_bytes: int
    condemned: Condemned


@dataclass(frozen=True, slots=True)
class _Decided:
    """What was decided of one slab, until its frames are in a pack."""

    draft: LeafDraft
    first_serial: int
    claimed: Positions


class Storing:
    """The stations of a backup's pipeline; its state belongs to the coordinating thread.

    base: reads the base's map, an empty one for a full backup. root: of the new map, once
    finished.
    """

    def __init__(
        self,
        volume: Volume,
        repository: Repository,
        session: Session,
        base: TreeReader,
        *,
        settings: StoreSettings,
        upload: Callable[[FullPack], None],
        progress: ProgressCallback | None,
    ) -> None:
        self._size_bytes = volume.size_bytes
        self._driver = repository.driver
        self._session = session
        self._base = base
        self._grid = settings.grid
        self._worker = SlabWorker(
            volume,
            settings.grid,
            settings.domain.id_key,
            self_check=settings.self_check,
        )
        self._level = LevelChoice(settings.level)
        self._upload_pack = upload
        self._reporter = Reporter(progress, repository.runtime.clock, self._progress)
        self._claims = Claims()
        self._inventory: Inventory | None = None
        self._index: DomainIndex | None = None
        self._drafts: dict[int, LeafDraft] = {}
        self._decided: deque[_Decided] = deque()
        self._condemned = settings.condemned
        self._writer = _open_writer(repository, session, settings, self._upload)
        self._tree = TreeWriter(
            base,
            self._grid.cell_count(volume.size_bytes),
            self._grid.chunk_size_bytes,
            emit=self._writer.add_map_item,
            condemned=self._condemned.maps,
        )
        self.root: Root | None = None
        self._done_bytes = self._read_bytes = self._new_bytes = self._stored_bytes = 0
        self._chunk_count = self._object_count = 0

    def adopt_packs(self) -> None:
        """Use what an earlier process of this session has stored."""
        self._inventory = Inventory(self._driver, self._session.id)

    def use_index(self, index: DomainIndex | None) -> None:
        """Refer to what other backups of the domain hold as well."""
        self._index = index

    def known(self, leaf: LeafPlan, slab: Slab) -> Ids | None:
        """Return the ids that the base has in a slab's cells."""
        return self._draft(leaf).known(slab.cells % FAN_OUT)

    def read(self, slab: Slab, buffer: ByteArray, known: Ids | None) -> SlabFacts:
        """Name a slab's chunks, and have those in the buffer that are not known."""
        return self._worker.read(slab, buffer, known)

    def decide(
        self, leaf: LeafPlan, slab: Slab, facts: SlabFacts, store: StoreState
    ) -> list[NewFrame]:
        """Keep, refer or store: return the frames to be made of what is new."""
        self._level.observe(store)
        self._read_bytes += slab.length
        draft = self._draft(leaf)
        draft.keep(slab.cells[facts.kept] % FAN_OUT)
        rest = np.flatnonzero(facts.nonzero & ~facts.kept)
        if not len(rest):
            self._decided.append(_Decided(draft, 0, _NOTHING))
            return []
        if self._inventory is not None:
            rest = self._refer_to_adopted(draft, slab, facts.ids, rest)
        rest, claimed = self._refer_to_claimed(draft, slab, facts.ids, rest)
        if self._index is not None:
            rest = self._refer_to_indexed(leaf, slab, facts.ids, rest)
        frames, first_serial = self._store_anew(draft, slab, facts.ids, rest)
        self._decided.append(_Decided(draft, first_serial, claimed))
        return frames

    def seal(
        self, slab: Slab, buffer: ByteArray, facts: SlabFacts, frames: list[NewFrame]
    ) -> list[StoredFrame]:
        """Make the frames."""
        return self._worker.seal(slab, buffer, facts.ids, frames)

    def append(self, leaf: LeafPlan, slab: Slab, frames: list[StoredFrame]) -> None:
        """Put a slab's frames into packs and tell its leaf where everything lies."""
        self._done_bytes = int(slab.cells[-1] + 1) * self._grid.chunk_size_bytes
        decided = self._decided.popleft()
        if not frames and not len(decided.claimed):
            return
        places = self._writer.add_frames(frames)
        self._claims.place(decided.first_serial, places)
        serials = decided.first_serial + np.arange(len(frames))
        decided.draft.place(serials, places)
        decided.draft.place(decided.claimed, self._claims.places(decided.claimed))
        self._new_bytes += sum(frame.frame.plain_length for frame in frames)
        self._stored_bytes += sum(frame.frame.stored_length for frame in frames)
        self._chunk_count += sum(len(frame.cells) for frame in frames)

    def finish_leaf(self, leaf: LeafPlan) -> None:
        """Inherit the leaf when it is as it was, else put it."""
        draft = self._draft(leaf)
        del self._drafts[leaf.index]
        inherited = self._base.row(0, leaf.index)
        is_condemned = bytes(inherited["pack"]) in self._condemned.maps
        is_lost = draft.base is None and not is_null(inherited)
        if not draft.is_unchanged or is_condemned or is_lost:
            self._tree.put_leaf(leaf.index, draft.finish(), draft.base)
        else:
            self._tree.keep_leaf(leaf.index)

    def finish(self) -> None:
        """Close the map and every pack."""
        self.root = self._tree.finish()
        self._writer.finish()
        self._done_bytes = self._size_bytes
        self._reporter.tell()

    def tick(self) -> None:
        """Renew the lease and report, when it is time."""
        self._session.keep_alive()
        self._reporter.tick()

    def sums(self, stored_bytes: int, duration_ms: int) -> Sums:
        """Return what it cost, given the bytes of all packs put and how long it took."""
        data_bytes = int(self.root.row["logical_bytes"]) if self.root else 0
        return Sums(
            read_bytes=self._read_bytes,
            zero_bytes=self._size_bytes - data_bytes,
            new_bytes=self._new_bytes,
            stored_bytes=stored_bytes,
            chunk_count=self._chunk_count,
            object_count=self._object_count,
            duration_ms=duration_ms,
        )

    def _progress(self) -> Progress:
        return Progress(
            done_bytes=min(self._done_bytes, self._size_bytes),
            total_bytes=self._size_bytes,
            read_bytes=self._read_bytes,
            new_bytes=self._new_bytes,
            stored_bytes=self._stored_bytes,
        )

    def _draft(self, leaf: LeafPlan) -> LeafDraft:
        if leaf.index not in self._drafts:
            base = leaf.inherited.leaf if leaf.inherited else self._base.leaf(leaf.index)
            self._drafts[leaf.index] = LeafDraft(
                leaf, self._grid.chunk_size_bytes, base, self._condemned.data
            )
        return self._drafts[leaf.index]

    def _refer_to_adopted(
        self, draft: LeafDraft, slab: Slab, ids: Ids, rest: Positions
    ) -> Positions:
        """Refer to chunks this session has stored already; return the others."""
        stored_packs = self._inventory.of_leaf(draft.index) if self._inventory else []
        for stored in stored_packs:
            slots = match(stored, slab.cells[rest], ids[rest])
            hit = slots.serial >= 0
            if hit.any():
                rows, row = np.unique(slots.serial[hit], return_inverse=True)
                found = Slots(row, slots.slot[hit])
                cells = slab.cells[rest[hit]]
                self._refer_to_stored(draft, cells, ids[rest[hit]], found, stored.places[rows])
                rest = rest[~hit]
        return rest

    def _refer_to_indexed(self, leaf: LeafPlan, slab: Slab, ids: Ids, rest: Positions) -> Positions:
        """Refer to chunks that backups of the domain hold; return the others.

        What is to be stored again, so that it does not scatter, is not looked for.
        """
        asked = rest
        if leaf.inherited is not None:
            asked = rest[~leaf.inherited.rewritten[slab.cells[rest] % FAN_OUT]]
        if self._index is None or not len(asked):
            return rest
        found = self._index.find(ids[asked])
        hit = asked[found.hit]
        slots = Slots(found.frame, found.slot)
        self._refer_to_stored(self._draft(leaf), slab.cells[hit], ids[hit], slots, found.places)
        return np.setdiff1d(rest, hit, assume_unique=True)

    def _refer_to_stored(
        self,
        draft: LeafDraft,
        cells: Positions,
        ids: Ids,
        slots: Slots,
        places: npt.NDArray[np.void],
    ) -> None:
        """Refer to chunks in packs that are there; the serials of slots are rows of places."""
        first = self._claims.take_serials(len(places))
        self._claims.place(first, places)
        draft.place(first + np.arange(len(places)), places)
        found = Slots(first + slots.serial, slots.slot)
        draft.refer(cells % FAN_OUT, ids, found)
        self._claims.remember(ids, found)

    def _refer_to_claimed(
        self, draft: LeafDraft, slab: Slab, ids: Ids, rest: Positions
    ) -> tuple[Positions, Positions]:
        """Refer to chunks stored a little while ago; return the others, and the frames' serials."""
        slots = self._claims.find(ids[rest])
        hit = slots.serial >= 0
        if not hit.any():
            return rest, _NOTHING
        found = Slots(slots.serial[hit], slots.slot[hit])
        draft.refer(slab.cells[rest[hit]] % FAN_OUT, ids[rest[hit]], found)
        return rest[~hit], np.array(sorted(set(found.serial.tolist())), np.int64)

    def _store_anew(
        self, draft: LeafDraft, slab: Slab, ids: Ids, rest: Positions
    ) -> tuple[list[NewFrame], int]:
        """Cut what is new into frames, each chunk once; return them and their first serial."""
        first_of_each = self._claims.first_of_each(ids[rest])
        is_first = first_of_each == np.arange(len(rest))
        new = rest[is_first]
        slot_count = self._grid.frame_size_bytes // self._grid.chunk_size_bytes
        frame_count = -(-len(new) // slot_count)
        first_serial = self._claims.take_serials(frame_count)
        order = (np.cumsum(is_first) - 1)[first_of_each]
        slots = Slots(first_serial + order // slot_count, (order % slot_count).astype(np.uint8))
        draft.refer(slab.cells[rest] % FAN_OUT, ids[rest], slots)
        self._claims.remember(ids[rest], slots)
        frames = [
            NewFrame(new[number * slot_count : (number + 1) * slot_count], label, self._level.level)
            for number, label in enumerate(self._writer.take_labels(frame_count))
        ]
        return frames, first_serial

    def _upload(self, full: FullPack) -> None:
        self._object_count += full.is_data
        self._upload_pack(full)


def _open_writer(
    repository: Repository,
    session: Session,
    settings: StoreSettings,
    upload: Callable[[FullPack], None],
) -> PackWriter:
    header = {
        "repository_id": repository.config.repository_id,
        "domain_id": settings.domain.domain_id,
        "session_id": session.id,
        "writer_id": session.writer_id,
        "volume_tag": settings.volume_tag,
    }
    return PackWriter(
        header,
        {"chunk_size_bytes": settings.grid.chunk_size_bytes},
        level=AUTO_LEVELS[0] if settings.level is None else settings.level,
        upload=upload,
        pack_size_bytes=settings.pack_size_bytes,
    )
