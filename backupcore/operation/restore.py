"""Restore a backup: bring its chunks back, check each, write it where it was.

Works on a store that may only be read, and never opens a base. Zeros are skipped on a target
that reads as zeros, and written on any other.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import BinaryIO

import numpy as np

from backupcore.config import Tuning
from backupcore.errors import Refused, Stopped, TargetError, TargetTooSmall
from backupcore.extents import (
    Extents,
    as_extents,
    cells_of,
    clip_extents,
    extents_of_cells,
    intersect_extents,
    single_extent,
    total_length,
)
from backupcore.model import Backup, BackupId, ByteArray, Progress, ProgressCallback
from backupcore.operation.report import Reporter
from backupcore.operation.retrieve.fetch import Fetch, Fetcher, FrameUse, plan_fetches
from backupcore.operation.retrieve.walk import Stretch, walk_leaves
from backupcore.repository import Repository
from backupcore.repository.control import SessionKind
from backupcore.repository.manifest import Manifest
from backupcore.repository.map import FAN_OUT, Leaf
from backupcore.runtime import StopFlag
from backupcore.units import GIB, MIB
from backupcore.volume import Volume

__all__ = ["Restored", "restore", "restore_to_stream"]

log = logging.getLogger(__name__)

_WINDOW_LEAVES = 8  # leaves whose frames are sorted together
_WINDOW_BYTES = 64 * MIB  # of a stream, in memory at once; a multiple of every chunk size
_ZERO_BYTES = GIB  # zeroed in one call
_ZEROS = memoryview(bytes(MIB))


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore did: bytes of the volume restored, of them written, got from the store."""

    backup_id: BackupId
    restored_bytes: int
    written_bytes: int
    got_bytes: int
    duration_s: float


def restore(
    repository: Repository,
    backup: str,
    target: Volume,
    *,
    extents: Extents | Sequence[tuple[int, int]] | None = None,
    tuning: Tuning | None = None,
    progress: ProgressCallback | None = None,
    stop: StopFlag | None = None,
) -> Restored:
    """Write a backup, or extents of it, to a volume opened for writing.

    backup: as `Repository.manifest` takes it. extents: rows (offset, length) in bytes, the whole
    backup unless given; they go where they were. The target may be larger. `target.finish` is
    called at the end; after an error a created target is gone when it is closed.
    Raises: TargetTooSmall, TargetError, BackupMissing, Damaged, StoreError, Refused, Stopped.
    """
    run = _Run(repository, tuning or Tuning(), progress, stop or repository.runtime.never)
    with run.session():
        manifest = repository.manifest(backup)
        size = manifest.backup.size_bytes
        if target.size_bytes < size:
            raise TargetTooSmall(
                f"{target.name}: has {target.size_bytes} bytes, backup {manifest.backup.id} "
                f"needs {size}: choose a larger target"
            )
        wanted = _wanted(extents, manifest.backup)
        done = run.to_volume(manifest, target, wanted)
        target.finish()
    return done


def restore_to_stream(
    repository: Repository,
    backup: str,
    stream: BinaryIO,
    *,
    extents: Extents | Sequence[tuple[int, int]] | None = None,
    tuning: Tuning | None = None,
    progress: ProgressCallback | None = None,
    stop: StopFlag | None = None,
) -> Restored:
    """Write a backup, or extents of it one after another, to something that is only written.

    Memory holds 64 MiB of it at a time. Raises as `restore`.
    """
    run = _Run(repository, tuning or Tuning(), progress, stop or repository.runtime.never)
    with run.session():
        manifest = repository.manifest(backup)
        return run.to_stream(manifest, stream, _wanted(extents, manifest.backup))


def _wanted(extents: Extents | Sequence[tuple[int, int]] | None, backup: Backup) -> Extents:
    whole = single_extent(0, backup.size_bytes)
    if extents is None:
        return whole
    try:
        wanted = as_extents(extents)
    except ValueError as error:
        raise Refused(str(error)) from error
    if total_length(intersect_extents(wanted, whole)) != total_length(wanted):
        raise Refused(
            f"extents end at {int(wanted[-1].sum())}, backup {backup.id} has "
            f"{backup.size_bytes} bytes"
        )
    return wanted


class _Run:
    """One restore; its state belongs to the calling thread, except what `_Writer` holds."""

    def __init__(
        self,
        repository: Repository,
        tuning: Tuning,
        progress: ProgressCallback | None,
        stop: StopFlag,
    ) -> None:
        self._repository = repository
        self._tuning = tuning
        self._stop = stop
        self._clock = repository.runtime.clock
        self._started_s = self._clock.monotonic()
        self._reporter = Reporter(progress, self._clock, self._progress)
        self._done_bytes = self._total_bytes = self._written_bytes = self._got_bytes = 0

    @contextmanager
    def session(self) -> Iterator[None]:
        """Hold a lease while the backup is read."""
        domain_id = self._repository.config.domain_id
        self._session = self._repository.open_session(
            SessionKind.RESTORE, None, domain_id=domain_id, chunk_size_bytes=0
        )
        try:
            yield
        finally:
            self._session.close()

    def to_volume(self, manifest: Manifest, target: Volume, wanted: Extents) -> Restored:
        """Write what is wanted to where it was."""
        self._total_bytes = total_length(wanted)
        writer = _Writer(target, manifest.backup.grid.chunk_size_bytes, wanted)
        with self._fetcher(manifest) as fetcher:
            for fetch in fetcher.run(self._fetches(manifest, writer), writer.write):
                self._got_bytes += fetch.length
                self._written_bytes = writer.written_bytes
                self._tick()
        self._written_bytes = writer.written_bytes
        return self._finish(manifest)

    def to_stream(self, manifest: Manifest, stream: BinaryIO, wanted: Extents) -> Restored:
        """Write what is wanted, one window after another."""
        self._total_bytes = total_length(wanted)
        window = np.empty(min(_WINDOW_BYTES, manifest.backup.size_bytes), np.uint8)
        with self._fetcher(manifest) as fetcher:
            for stretch in self._stretches(manifest, wanted):
                for piece in _pieces(stretch):
                    if piece.leaf is not None:
                        part = window[: piece.length]
                        self._assemble(fetcher, piece.leaf, piece.offset, part)
                    self._pour(piece, window.data, stream, wanted)
        return self._finish(manifest)

    def _assemble(self, fetcher: Fetcher, leaf: Leaf, offset: int, window: ByteArray) -> None:
        """Collect the bytes of a leaf, or of some of its cells, in memory."""
        window[:] = 0
        view = window.data

        def write(use: FrameUse, plain: memoryview) -> None:
            for at, part in _cell_runs(use, plain, leaf.chunk_size_bytes):
                view[at - offset : at - offset + len(part)] = part

        for fetch in fetcher.run(plan_fetches([leaf]), write):
            self._got_bytes += fetch.length
            self._tick()

    def _fetcher(self, manifest: Manifest) -> Fetcher:
        backup = manifest.backup
        return Fetcher(
            self._repository.driver,
            backup.grid.chunk_size_bytes,
            self._repository.domain(backup.domain_id).id_key,
            self._tuning,
            stop=self._stop,
        )

    def _stretches(self, manifest: Manifest, wanted: Extents) -> Iterator[Stretch]:
        backup = manifest.backup
        tree = self._repository.tree(manifest)
        return walk_leaves(tree, backup.grid.chunk_size_bytes, backup.size_bytes, wanted)

    def _fetches(self, manifest: Manifest, writer: _Writer) -> Iterator[Fetch]:
        """Yield the gets of window after window; zeros are written on the way."""
        window: list[Leaf] = []
        for stretch in self._stretches(manifest, writer.wanted):
            for _ in writer.zero(stretch):
                self._tick()
            self._done_bytes += total_length(
                clip_extents(writer.wanted, stretch.offset, stretch.length)
            )
            if stretch.leaf is not None:
                window.append(_restrict(stretch.leaf, writer.wanted))
            if len(window) == _WINDOW_LEAVES:
                yield from plan_fetches(window)
                window = []
        yield from plan_fetches(window)

    def _pour(
        self, stretch: Stretch, window: memoryview, stream: BinaryIO, wanted: Extents
    ) -> None:
        """Write the wanted parts of one stretch."""
        for offset, length in clip_extents(wanted, stretch.offset, stretch.length).tolist():
            for start in range(offset, offset + length, len(_ZEROS)):
                self._tick()
                count = min(offset + length - start, len(_ZEROS))
                part = _ZEROS if stretch.leaf is None else window[start - stretch.offset :]
                try:
                    _write_all(stream, part[:count])
                except OSError as error:
                    done = self._done_bytes
                    raise TargetError(f"output failed after {done} bytes: {error}") from error
                self._done_bytes += count
                self._written_bytes += count

    def _tick(self) -> None:
        if self._stop.is_set():
            raise Stopped("stopped before everything was restored")
        self._session.keep_alive()
        self._reporter.tick()

    def _progress(self) -> Progress:
        return Progress(
            done_bytes=self._done_bytes,
            total_bytes=self._total_bytes,
            read_bytes=self._got_bytes,
            new_bytes=self._written_bytes,
            stored_bytes=self._got_bytes,
        )

    def _finish(self, manifest: Manifest) -> Restored:
        self._reporter.tell()
        backup_id, written_bytes = manifest.backup.id, self._written_bytes
        log.info("backup restored", extra={"backup": backup_id, "written_bytes": written_bytes})
        duration_s = self._clock.monotonic() - self._started_s
        return Restored(backup_id, self._total_bytes, written_bytes, self._got_bytes, duration_s)


class _Writer:
    """Writes frames to a target, clipped to what is wanted; called by many threads."""

    def __init__(self, target: Volume, chunk_size_bytes: int, wanted: Extents) -> None:
        self._target = target
        self._is_zero = target.is_known_zero
        target.is_known_zero = False  # another restore to it will find what this one wrote
        self._chunk = chunk_size_bytes
        self._lock = threading.Lock()
        self.wanted = wanted
        self.written_bytes = 0

    def write(self, use: FrameUse, plain: memoryview) -> None:
        """Write every cell of a frame."""
        for offset, part in _cell_runs(use, plain, self._chunk):
            for start, length in clip_extents(self.wanted, offset, len(part)).tolist():
                self._target.write(start, part[start - offset : start - offset + length])
                with self._lock:
                    self.written_bytes += length

    def zero(self, stretch: Stretch) -> Iterator[None]:
        """Make what is zero in the backup zero in the target, unless it is known to be.

        Yields before each piece, so that the caller can stop or tell how far it is.
        """
        yield
        if self._is_zero:
            return
        zeros = single_extent(stretch.offset, stretch.length)
        if stretch.leaf is not None:
            absent = extents_of_cells(~stretch.leaf.present, self._chunk, stretch.first_cell)
            zeros = intersect_extents(zeros, absent)
        for offset, length in intersect_extents(zeros, self.wanted).tolist():
            for start in range(offset, offset + length, _ZERO_BYTES):
                yield
                self._target.zero(start, min(_ZERO_BYTES, offset + length - start))


def _pieces(stretch: Stretch) -> Iterator[Stretch]:
    """Cut a leaf into pieces that fit the window; zeros stay as they are."""
    if stretch.leaf is None:
        yield stretch
        return
    end = stretch.offset + stretch.length
    for offset in range(stretch.offset, end, _WINDOW_BYTES):
        length = min(_WINDOW_BYTES, end - offset)
        leaf = _restrict(stretch.leaf, single_extent(offset, length))
        yield Stretch(offset, length, leaf, stretch.first_cell)


def _write_all(stream: BinaryIO, data: memoryview) -> None:
    """Write everything to a stream that may take less at a time. Raises: OSError."""
    while data:
        count = stream.write(data)
        if not count:
            raise BlockingIOError("it takes no more: open it blocking")
        data = data[count:]


def _cell_runs(
    use: FrameUse, plain: memoryview, chunk_size_bytes: int
) -> Iterator[tuple[int, memoryview]]:
    """Yield (offset on the volume, bytes) of neighbouring cells that are neighbours in a frame."""
    breaks = np.flatnonzero((np.diff(use.cells) != 1) | (np.diff(use.slots) != 1)) + 1
    for start, end in pairwise([0, *breaks.tolist(), len(use.cells)]):
        first, last = int(use.slots[start]), int(use.slots[end - 1])
        part = plain[first * chunk_size_bytes : (last + 1) * chunk_size_bytes]
        yield int(use.cells[start]) * chunk_size_bytes, part


def _restrict(leaf: Leaf, wanted: Extents) -> Leaf:
    """Return a leaf with only the cells that touch what is wanted."""
    touched = cells_of(wanted, leaf.chunk_size_bytes, leaf.first_cell, FAN_OUT)
    if touched.all():
        return leaf
    chosen = touched[leaf.present]
    return replace(
        leaf,
        present=leaf.present & touched,
        ids=leaf.ids[chosen],
        frame=leaf.frame[chosen],
        slot=leaf.slot[chosen],
    )
