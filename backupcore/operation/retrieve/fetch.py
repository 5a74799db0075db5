"""The way back, from packs to chunks: ranged gets, decoded and checked by several threads.

leaves → cells sorted by (pack, frame) → neighbours merged into gets →
[fetchers: get, checksum, decode, ids] → sink
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from backupcore.chunk.digest import checksum, chunk_ids, ids_equal
from backupcore.chunk.frame import FrameDecoder
from backupcore.closing import Closing
from backupcore.config import Tuning
from backupcore.driver import Driver
from backupcore.errors import Damaged, ObjectMissing, PackDamaged
from backupcore.model import FRAME_SIZE_BYTES_MAX, Ids, PackId
from backupcore.repository.key import DATA, pack_id
from backupcore.repository.map import Leaf, unique_packs
from backupcore.runtime import StopFlag, map_ordered, open_pool
from backupcore.units import KIB, MIB

__all__ = ["Fetch", "FetchFailed", "Fetcher", "FrameUse", "Sink", "cell_runs", "plan_fetches"]

_GAP_BYTES = 256 * KIB  # two frames closer than that are cheaper to get together
_FACTS = ("offset", "stored_length", "plain_length", "checksum")
_FETCH_BYTES_MAX = 8 * MIB


@dataclass(frozen=True, slots=True)
class FrameUse:
    """A frame and the cells it is wanted for.

    cells: int64[n], slots: int64[n] in the frame, ids: uint8[n, 32]; ascending by slot.
    """

    offset: int
    stored_length: int
    plain_length: int
    checksum: int
    cells: npt.NDArray[np.int64]
    slots: npt.NDArray[np.int64]
    ids: Ids


@dataclass(frozen=True, slots=True)
class Fetch:
    """One ranged get of a pack and the frames in it."""

    pack: PackId
    offset: int
    length: int
    frames: tuple[FrameUse, ...]


Sink: TypeAlias = Callable[[FrameUse, memoryview], None]
FetchFailed: TypeAlias = Callable[[PackId, FrameUse, Damaged], None]


def plan_fetches(leaves: Iterable[Leaf]) -> list[Fetch]:
    """Return the gets that bring every cell of some leaves, by pack and offset."""
    chosen = [leaf for leaf in leaves if len(leaf.ids)]
    if not chosen:
        return []
    places = np.concatenate([leaf.places[leaf.frame] for leaf in chosen])
    cells = np.concatenate([np.flatnonzero(leaf.present) + leaf.first_cell for leaf in chosen])
    slots = np.concatenate([leaf.slot for leaf in chosen]).astype(np.int64)
    ids = np.concatenate([leaf.ids for leaf in chosen])
    packs, pack = unique_packs(places["pack"])
    order = np.lexsort((cells, slots, places["offset"], pack))
    places, cells, slots = places[order], cells[order], slots[order]
    ids, pack = ids[order], pack[order]
    is_new = (np.diff(pack) != 0) | (np.diff(places["offset"].astype(np.int64)) != 0)
    edges = [0, *(np.flatnonzero(is_new) + 1).tolist(), len(cells)]
    keys = [pack_id(DATA, reference) for reference in packs.tolist()]
    columns = (places[name][edges[:-1]].tolist() for name in _FACTS)
    rows = zip(pairwise(edges), *columns, strict=True)
    uses = (
        (
            keys[pack[start]],
            FrameUse(
                offset, stored, plain, sums, cells[start:end], slots[start:end], ids[start:end]
            ),
        )
        for (start, end), offset, stored, plain, sums in rows
    )
    return list(_merge(uses))


def _merge(uses: Iterator[tuple[PackId, FrameUse]]) -> Iterator[Fetch]:
    """Yield one get for frames of a pack that lie close together."""
    pack, frames, end = PackId(""), list[FrameUse](), 0
    for key, use in uses:
        is_near = key == pack and use.offset - end < _GAP_BYTES
        if frames and not (
            is_near and use.offset + use.stored_length - frames[0].offset <= _FETCH_BYTES_MAX
        ):
            yield Fetch(pack, frames[0].offset, end - frames[0].offset, tuple(frames))
            frames = []
        pack, end = key, use.offset + use.stored_length
        frames.append(use)
    if frames:
        yield Fetch(pack, frames[0].offset, end - frames[0].offset, tuple(frames))


def cell_runs(
    use: FrameUse, plain: memoryview, chunk_size_bytes: int
) -> Iterator[tuple[int, memoryview]]:
    """Yield (offset on the volume, bytes) of neighbouring cells that are neighbours in a frame."""
    breaks = np.flatnonzero((np.diff(use.cells) != 1) | (np.diff(use.slots) != 1)) + 1
    for start, end in pairwise([0, *breaks.tolist(), len(use.cells)]):
        first, last = int(use.slots[start]), int(use.slots[end - 1])
        part = plain[first * chunk_size_bytes : (last + 1) * chunk_size_bytes]
        yield int(use.cells[start]) * chunk_size_bytes, part


class Fetcher(Closing):
    """Runs gets in parallel and hands every frame, checked, to a sink.

    failed: told of each damaged frame; without it the first one is raised. A frame is got once
    more before it counts as damaged: what was damaged on its way is not damaged at rest.
    """

    def __init__(
        self,
        driver: Driver,
        chunk_size_bytes: int,
        id_key: bytes,
        tuning: Tuning,
        *,
        stop: StopFlag,
        failed: FetchFailed | None = None,
    ) -> None:
        self._driver = driver
        self._chunk = chunk_size_bytes
        self._id_key = id_key
        self._stop = stop
        self._failed = failed
        self._pool = open_pool(tuning.fetchers, "fetcher")
        self._under_way_max = max(1, 2 * tuning.fetchers)
        self._own = threading.local()

    def run(self, fetches: Iterable[Fetch], sink: Sink) -> Iterator[Fetch]:
        """Do all gets; yield each once its frames are with the sink, in the order given.

        sink: called with a frame and its plain bytes, from several threads; the bytes are its own
        until it returns. Raises: PackDamaged, Stopped, what the driver and the sink raise.
        """

        def work(fetch: Fetch) -> Fetch:
            self._fetch(fetch, sink)
            return fetch

        limit = self._under_way_max
        return map_ordered(self._pool, work, fetches, limit=limit, stop=self._stop)

    def close(self) -> None:
        """Start nothing more and wait for what runs."""
        self._pool.shutdown(cancel_futures=True)

    def _fetch(self, fetch: Fetch, sink: Sink) -> None:
        damaged = self._attempt(fetch, sink)
        if damaged:
            again = _merge((fetch.pack, use) for use, _ in damaged)
            damaged = [fault for part in again for fault in self._attempt(part, sink)]
        for use, error in damaged:
            self._report(fetch.pack, use, error)

    def _attempt(self, fetch: Fetch, sink: Sink) -> list[tuple[FrameUse, Damaged]]:
        """Get some frames and hand on those that are sound; return the others and why."""
        own = self._tools()
        view = own.stored[: fetch.length]
        try:
            count = self._driver.get_into(fetch.pack, fetch.offset, view)
        except (ObjectMissing, ValueError) as error:
            count, reason = 0, f"cannot be read: {error}"
        else:
            reason = f"ends at {fetch.offset + count}, inside a frame"
        damaged = []
        for use in fetch.frames:
            start = use.offset - fetch.offset
            try:
                if start + use.stored_length > count:
                    raise Damaged(reason)
                plain = self._open(use, view[start : start + use.stored_length], own)
            except Damaged as error:
                damaged.append((use, error))
            else:
                sink(use, plain)
        return damaged

    def _open(self, use: FrameUse, stored: memoryview, own: _Tools) -> memoryview:
        """Return a frame's plain bytes, in this thread's scratch memory, after every check."""
        if checksum([stored]) != use.checksum:
            raise Damaged("checksum is not the one the map names")
        plain = own.plain[: use.plain_length]
        own.decoder.decode_into(stored, plain)
        slots, position = np.unique(use.slots, return_inverse=True)
        found = chunk_ids(plain, self._chunk, self._id_key, slots.astype(np.int64))[position]
        if not ids_equal(found, use.ids).all():
            raise Damaged("a chunk's BLAKE3 is not its id")
        return plain

    def _tools(self) -> _Tools:
        tools: _Tools | None = getattr(self._own, "tools", None)
        if tools is None:
            tools = self._own.tools = _Tools()
        return tools

    def _report(self, pack: PackId, use: FrameUse, error: Damaged) -> None:
        if self._failed is not None:
            self._failed(pack, use, error)
            return
        first = int(use.cells[0]) * self._chunk
        raise PackDamaged(
            f"{pack}: frame at {use.offset} is damaged: {error}: the volume's extent at {first} "
            "cannot be read from it: run verify"
        ) from error


class _Tools:
    """One thread's decoder and memory, enough for the longest get and the largest frame."""

    def __init__(self) -> None:
        self.decoder = FrameDecoder()
        self.stored = np.empty(_FETCH_BYTES_MAX, np.uint8).data
        self.plain = np.empty(FRAME_SIZE_BYTES_MAX, np.uint8).data
