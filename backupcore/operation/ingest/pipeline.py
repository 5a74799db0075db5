"""The way out, from volume to packs: slabs through two pools, decisions in between, in order.

    plan → [readers: read, zero?, ids] → decide → [workers: frames] → append → [uploaders: put]

The thread that calls `run` coordinates: it starts slabs in volume order as far as memory allows,
decides what becomes of each chunk, appends frames to packs and leaves to the map. All state is
its own; the pools only compute. With pools that run inline the order of everything is fixed.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from typing import Any, Protocol

from backupcore.chunk.buffers import Budget, BufferPool
from backupcore.chunk.frame import HEADER_LENGTH
from backupcore.config import Tuning
from backupcore.driver import Driver
from backupcore.errors import Stopped
from backupcore.model import ByteArray, Ids
from backupcore.operation.ingest.level import StoreState
from backupcore.operation.ingest.plan import LeafPlan, Slab
from backupcore.operation.ingest.slab import NewFrame, SlabFacts
from backupcore.repository.pack import StoredFrame
from backupcore.repository.writer import FullPack
from backupcore.runtime import LISTEN_S, StopFlag, open_pool

__all__ = ["Pipeline", "Work"]

log = logging.getLogger(__name__)

_SPARE_BUFFERS = 2  # slabs that are read or sealed and wait for the coordinating thread
_TASKS_MAX = 256  # most of them the ends of leaves in which nothing is read
_FRAME_SLACK = HEADER_LENGTH + 64


class Work(Protocol):
    """What is done at the stations; `read` and `seal` in any thread, the others in `run`'s."""

    def known(self, leaf: LeafPlan, slab: Slab) -> Ids | None:
        """Return what is known of a slab before it is read."""
        ...

    def read(self, slab: Slab, buffer: ByteArray, known: Ids | None) -> SlabFacts:
        """Name a slab's chunks, and have those in the buffer that are not known."""
        ...

    def decide(
        self, leaf: LeafPlan, slab: Slab, facts: SlabFacts, store: StoreState
    ) -> list[NewFrame]:
        """Return the frames to be made of a slab; called in volume order."""
        ...

    def seal(
        self, slab: Slab, buffer: ByteArray, facts: SlabFacts, frames: list[NewFrame]
    ) -> list[StoredFrame]:
        """Make the frames."""
        ...

    def append(self, leaf: LeafPlan, slab: Slab, frames: list[StoredFrame]) -> None:
        """Put a slab's frames into packs; called in volume order."""
        ...

    def finish_leaf(self, leaf: LeafPlan) -> None:
        """Take note that every slab of a leaf was appended."""
        ...

    def tick(self) -> None:
        """Do what is due from time to time; called after every step."""
        ...


@dataclass(slots=True)
class _Task:
    """One slab under way; without a slab it only marks the end of its leaf."""

    leaf: LeafPlan
    slab: Slab | None
    buffer: ByteArray | None = None
    reserved_bytes: int = 0
    facts: Future[SlabFacts] | None = None
    frames: Future[list[StoredFrame]] | None = None


@dataclass(slots=True)
class _Upload:
    payload_bytes: int
    size: Future[int] = field(repr=False)


class Pipeline:
    """Runs the stations over a plan; used once.

    stored_bytes: of all packs whose put has returned.
    """

    def __init__(self, driver: Driver, tuning: Tuning, stop: StopFlag) -> None:
        self._driver = driver
        self._stop = stop
        self._workers = open_pool(tuning.workers, "worker")
        self._readers = open_pool(tuning.readers, "reader") if tuning.readers else self._workers
        self._uploaders = open_pool(tuning.uploaders, "uploader")
        self._upload_count_max = max(1, tuning.uploaders)
        slab = tuning.slab_size_bytes
        buffer_count = (tuning.readers or tuning.workers) + tuning.workers + _SPARE_BUFFERS
        buffer_count = max(1, min(buffer_count, tuning.memory_bytes // (3 * slab)))
        self._buffers = BufferPool(slab, buffer_count)
        self._budget = Budget(tuning.memory_bytes - buffer_count * slab)
        self._reading: deque[_Task] = deque()
        self._sealing: deque[_Task] = deque()
        self._waiting: deque[FullPack] = deque()
        self._uploads: deque[_Upload] = deque()
        self.stored_bytes = 0

    def run(self, plan: Iterator[LeafPlan], work: Work, finish: Callable[[], None]) -> None:
        """Do all the work, then `finish`, then wait until every pack is durable.

        Raises: Stopped, and the first error of any station; by then nothing runs any more.
        """
        tasks = _tasks(plan)
        try:
            self._pump(tasks, work)
            finish()
            while self._uploads or self._waiting:
                if not self._reap():
                    self._pause()
                work.tick()
        finally:
            for pool in (self._readers, self._workers, self._uploaders):
                pool.shutdown(wait=False, cancel_futures=True)
            for pool in (self._readers, self._workers, self._uploaders):
                pool.shutdown()

    def upload(self, full: FullPack) -> None:
        """Take over a full pack; its frames' memory is given back once it is durable."""
        self._waiting.append(full)
        self._start_uploads()

    def _pump(self, tasks: Iterator[_Task], work: Work) -> None:
        upcoming = next(tasks, None)
        while upcoming or self._reading or self._sealing:
            moved = self._append(work) or self._decide(work) or self._reap()
            if not moved and upcoming is not None and self._start(upcoming, work):
                upcoming, moved = next(tasks, None), True
            if not moved:
                self._pause()
            elif self._stop.is_set():
                raise Stopped("stopped: nothing was committed; a later backup resumes it")
            work.tick()

    def _start(self, task: _Task, work: Work) -> bool:
        """Let the readers have a slab if memory for its whole life is free."""
        if len(self._reading) >= _TASKS_MAX:
            return False
        if task.slab is None:
            self._reading.append(task)
            return True
        size = task.slab.length + len(task.slab.cells) * _FRAME_SLACK
        is_idle = not (self._reading or self._sealing or self._uploads)
        if not self._buffers.has_free or not self._budget.reserve(size, force=is_idle):
            return False
        task.reserved_bytes, task.buffer = size, self._buffers.take()
        task.facts = self._readers.submit(
            work.read, task.slab, task.buffer, work.known(task.leaf, task.slab)
        )
        self._reading.append(task)
        return True

    def _decide(self, work: Work) -> bool:
        """Move the first slab that is being read on to the workers."""
        if not self._reading or not _is_done(self._reading[0].facts):
            return False
        task = self._reading.popleft()
        if task.slab is not None and task.facts is not None and task.buffer is not None:
            facts = task.facts.result()
            frames = work.decide(task.leaf, task.slab, facts, self._store_state())
            if frames:
                task.frames = self._workers.submit(work.seal, task.slab, task.buffer, facts, frames)
        self._sealing.append(task)
        return True

    def _store_state(self) -> StoreState:
        """Return whether packs pile up: they wait, or hold half of the memory."""
        held = [upload.payload_bytes for upload in self._uploads if not upload.size.done()]
        if not held:
            return StoreState.IDLE
        is_behind = bool(self._waiting) or 2 * sum(held) > self._budget.limit_bytes
        return StoreState.BEHIND if is_behind else StoreState.BUSY

    def _append(self, work: Work) -> bool:
        """Append the first slab that is being sealed, or finish the leaf it ends."""
        if not self._sealing or not _is_done(self._sealing[0].frames):
            return False
        task = self._sealing.popleft()
        if task.slab is None:
            work.finish_leaf(task.leaf)
            return True
        frames = task.frames.result() if task.frames is not None else []
        kept_bytes = sum(frame.frame.stored_length for frame in frames)
        self._budget.release(task.reserved_bytes - kept_bytes)
        if task.buffer is not None:
            self._buffers.give_back(task.buffer)
        work.append(task.leaf, task.slab, frames)
        return True

    def _start_uploads(self) -> None:
        while self._waiting and len(self._uploads) < self._upload_count_max:
            full = self._waiting.popleft()
            size = self._uploaders.submit(full.put, self._driver)
            self._uploads.append(_Upload(full.payload_bytes, size))

    def _reap(self) -> bool:
        """Give back the memory of packs that are durable."""
        done = [upload for upload in self._uploads if upload.size.done()]
        for upload in done:
            self.stored_bytes += upload.size.result()
            self._budget.release(upload.payload_bytes)
            self._uploads.remove(upload)
        self._start_uploads()
        return bool(done)

    def _pause(self) -> None:
        """Wait until something may move, or it is time to look at the stop flag."""
        if self._stop.is_set():
            raise Stopped("stopped: nothing was committed; a later backup resumes it")
        heads: list[Future[Any]] = []
        if self._reading and self._reading[0].facts is not None:
            heads.append(self._reading[0].facts)
        if self._sealing and self._sealing[0].frames is not None:
            heads.append(self._sealing[0].frames)
        heads += [upload.size for upload in self._uploads]
        wait(heads, timeout=LISTEN_S, return_when=FIRST_COMPLETED)


def _tasks(plan: Iterator[LeafPlan]) -> Iterator[_Task]:
    for leaf in plan:
        for slab in leaf.slabs:
            yield _Task(leaf, slab)
        yield _Task(leaf, None)


def _is_done(future: Future[SlabFacts] | Future[list[StoredFrame]] | None) -> bool:
    return future is None or future.done()
