"""The way back, from packs to chunks: ranged gets, decoded and checked by several threads.

leaves → cells sorted by (pack, frame) → neighbours merged into gets →
[fetchers: get, checksum, decode, ids] → sink
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from backupcore.chunk.buffers import BufferPool
from backupcore.chunk.digest import checksum, chunk_ids, ids_equal
from backupcore.chunk.frame import FrameDecoder
from backupcore.config import Tuning
from backupcore.driver import Driver
from backupcore.errors import Damaged, ObjectMissing, PackDamaged, Stopped
from backupcore.model import FRAME_SIZE_BYTES_MAX, ByteArray, Ids, PackId
from backupcore.repository.key import DATA, pack_id
from backupcore.repository.map import Leaf
from backupcore.runtime import StopFlag, open_pool
from backupcore.units import KIB, MIB

__all__ = ["Fetch", "FetchFailed", "Fetcher", "FrameUse", "Sink", "plan_fetches"]

_GAP_BYTES = 256 * KIB  # two frames closer than that are cheaper to get together
_FETCH_BYTES_MAX = 8 * MIB
_LISTEN_S = 0.25


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
    chosen = list(leaves)
    if not chosen:
        return []
    places = np.concatenate([leaf.places[leaf.frame] for leaf in chosen])
    cells = np.concatenate([np.flatnonzero(leaf.present) + leaf.first_cell for leaf in chosen])
    slots = np.concatenate([leaf.slot for leaf in chosen]).astype(np.int64)
    ids = np.concatenate([leaf.ids for leaf in chosen])
    packs, pack = np.unique(np.ascontiguousarray(places["pack"]).view("S36"), return_inverse=True)
    order = np.lexsort((cells, slots, places["offset"], pack))
    places, cells, slots = places[order], cells[order], slots[order]
    ids, pack = ids[order], pack[order]
    is_new = (np.diff(pack) != 0) | (np.diff(places["offset"].astype(np.int64)) != 0)
    starts = np.concatenate(([0], np.flatnonzero(is_new) + 1, [len(cells)]))
    keys = [pack_id(DATA, reference) for reference in packs.view("V36").tolist()]
    uses = (
        (
            keys[int(pack[start])],
            _use(places[start], cells[start:end], slots[start:end], ids[start:end]),
        )
        for start, end in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True)
    )
    return list(_merge(uses))


def _use(
    place: np.void, cells: npt.NDArray[np.int64], slots: npt.NDArray[np.int64], ids: Ids
) -> FrameUse:
    return FrameUse(
        int(place["offset"]),
        int(place["stored_length"]),
        int(place["plain_length"]),
        int(place["checksum"]),
        cells,
        slots,
        ids,
    )


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


class Fetcher:
    """Runs gets in parallel and hands every frame, checked, to a sink.

    failed: told of each damaged frame; without it the first one is raised. got_bytes: so far.
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
        self._pool = open_pool(tuning.workers, "fetcher")
        self._buffers = BufferPool(_FETCH_BYTES_MAX)
        self._under_way_max = max(
            1, min(2 * tuning.workers, tuning.memory_bytes // _FETCH_BYTES_MAX)
        )
        self._own = threading.local()
        self.got_bytes = 0

    def run(self, fetches: Iterable[Fetch], sink: Sink) -> Iterator[Fetch]:
        """Do all gets; yield each once its frames are with the sink, in the order given.

        sink: called with a frame and its plain bytes, from several threads; the bytes are its own
        until it returns. Raises: PackDamaged, Stopped, what the driver and the sink raise.
        """
        under_way: deque[tuple[Fetch, ByteArray, Future[None]]] = deque()
        for fetch in fetches:
            if len(under_way) >= self._under_way_max:
                yield self._finish(under_way)
            buffer = self._buffers.take()
            job = self._pool.submit(self._fetch, fetch, buffer, sink)
            under_way.append((fetch, buffer, job))
        while under_way:
            yield self._finish(under_way)

    def close(self) -> None:
        """Start nothing more and wait for what runs."""
        self._pool.shutdown(cancel_futures=True)

    def _finish(self, under_way: deque[tuple[Fetch, ByteArray, Future[None]]]) -> Fetch:
        """Wait for the first get; give its buffer back."""
        fetch, buffer, job = under_way.popleft()
        while True:
            if self._stop.is_set():
                raise Stopped("stopped before everything was read")
            try:
                job.result(timeout=_LISTEN_S)
                break
            except FutureTimeout:
                if job.done():
                    raise
        self._buffers.give_back(buffer)
        self.got_bytes += fetch.length
        return fetch

    def _fetch(self, fetch: Fetch, buffer: ByteArray, sink: Sink) -> None:
        view = buffer.data[: fetch.length]
        try:
            count = self._driver.get_into(fetch.pack, fetch.offset, view)
        except (ObjectMissing, ValueError) as error:
            count, reason = 0, f"cannot be read: {error}"
        else:
            reason = f"ends at {fetch.offset + count}, inside a frame"
        for use in fetch.frames:
            start = use.offset - fetch.offset
            try:
                if start + use.stored_length > count:
                    raise Damaged(reason)
                plain = self._open(use, view[start : start + use.stored_length])
            except Damaged as error:
                self._report(fetch.pack, use, error)
            else:
                sink(use, plain)

    def _open(self, use: FrameUse, stored: memoryview) -> memoryview:
        """Return a frame's plain bytes, in this thread's scratch memory, after every check."""
        if checksum([stored]) != use.checksum:
            raise Damaged("checksum is not the one the map names")
        decoder, scratch = self._tools()
        plain = memoryview(scratch)[: use.plain_length]
        decoder.decode_into(stored, plain)
        chunk = self._chunk
        slot_count = -(-use.plain_length // chunk)
        if len(use.slots) == slot_count and (np.diff(use.slots) == 1).all():
            found = chunk_ids(plain, chunk, self._id_key)
        else:
            found = np.concatenate(
                [
                    chunk_ids(plain[slot * chunk : (slot + 1) * chunk], chunk, self._id_key)
                    for slot in use.slots.tolist()
                ]
            )
        if not ids_equal(found, use.ids).all():
            raise Damaged("a chunk's BLAKE3 is not its id")
        return plain

    def _tools(self) -> tuple[FrameDecoder, bytearray]:
        """Return this thread's decoder and memory for the largest frame there can be."""
        own = self._own
        if getattr(own, "decoder", None) is None:
            own.decoder, own.scratch = FrameDecoder(), bytearray(FRAME_SIZE_BYTES_MAX)
        return own.decoder, own.scratch

    def _report(self, pack: PackId, use: FrameUse, error: Damaged) -> None:
        if self._failed is not None:
            self._failed(pack, use, error)
            return
        first = int(use.cells[0]) * self._chunk
        raise PackDamaged(
            f"{pack}: frame at {use.offset} is damaged: {error}: the volume's extent at {first} "
            "cannot be read from it: run verify"
        ) from error
