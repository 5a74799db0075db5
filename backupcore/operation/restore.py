"""Restore a backup: bring its chunks back, check each, write it where it was.

Works on a store that may only be read, and never opens a base. Zeros are skipped on a target
that reads as zeros, and written on any other. In place, only what differs is written.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

from backupcore.config import Tuning
from backupcore.extents import Extents
from backupcore.model import BackupId, ProgressCallback
from backupcore.operation.retrieve.change import overwrite
from backupcore.operation.retrieve.compare import Comparer
from backupcore.operation.retrieve.pour import pour
from backupcore.operation.retrieve.retrieval import Retrieval
from backupcore.operation.retrieve.target import TargetWriter, check_size
from backupcore.repository import Repository
from backupcore.runtime import StopFlag
from backupcore.volume import Volume

__all__ = ["Comparison", "Restored", "compare", "restore", "restore_in_place", "restore_to_stream"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore did.

    restored_bytes: of the volume; they are the sum of written_bytes, zeroed_bytes (made zero) and
    equal_bytes (left alone: they were as in the backup). got_bytes: from the store.
    """

    backup_id: BackupId
    restored_bytes: int
    written_bytes: int
    zeroed_bytes: int
    equal_bytes: int
    got_bytes: int
    duration_s: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a restore in place would do.

    compared_bytes: of the volume; they are the sum of to_write_bytes, to_zero_bytes and
    equal_bytes.
    """

    backup_id: BackupId
    compared_bytes: int
    to_write_bytes: int
    to_zero_bytes: int
    equal_bytes: int
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
    with Retrieval(repository, backup, extents, tuning, progress=progress, stop=stop) as run:
        writer = TargetWriter(run, target)
        writer.apply(
            overwrite(stretch, run.wanted, is_known_zero=writer.is_known_zero)
            for stretch in run.stretches()
        )
        return _restored(run)


def restore_in_place(
    repository: Repository,
    backup: str,
    target: Volume,
    *,
    extents: Extents | Sequence[tuple[int, int]] | None = None,
    tuning: Tuning | None = None,
    progress: ProgressCallback | None = None,
    stop: StopFlag | None = None,
) -> Restored:
    """Turn a volume opened for writing into a backup, reading it and writing only what differs.

    Only the chunks that differ are got from the store, and what reads as zeros is never zeroed
    again. Otherwise as `restore`. Raises besides: TargetError when the target cannot be read.
    """
    with Retrieval(repository, backup, extents, tuning, progress=progress, stop=stop) as run:
        writer = TargetWriter(run, target)
        with Comparer(run, target) as comparer:
            writer.apply(comparer.changes(run.stretches()))
        return _restored(run)


def compare(
    repository: Repository,
    backup: str,
    volume: Volume,
    *,
    extents: Extents | Sequence[tuple[int, int]] | None = None,
    tuning: Tuning | None = None,
    progress: ProgressCallback | None = None,
    stop: StopFlag | None = None,
) -> Comparison:
    """Return how much `restore_in_place` would change on a volume, which is only read.

    Reads maps, no packs of data. Raises: TargetTooSmall, TargetError when the volume cannot be
    read, BackupMissing, Damaged, StoreError, Refused, Stopped.
    """
    with Retrieval(repository, backup, extents, tuning, progress=progress, stop=stop) as run:
        check_size(volume, run.backup)
        tally = run.tally
        with Comparer(run, volume) as comparer:
            for change in comparer.changes(run.stretches()):
                tally.written_bytes += change.written_bytes
                tally.zeroed_bytes += change.zeroed_bytes
                tally.kept_bytes += change.kept_bytes
                run.tick()
        run.tell()
        return Comparison(
            backup_id=run.backup.id,
            compared_bytes=run.total_bytes,
            to_write_bytes=tally.written_bytes,
            to_zero_bytes=tally.zeroed_bytes,
            equal_bytes=tally.kept_bytes,
            duration_s=run.duration_s,
        )


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
    with Retrieval(repository, backup, extents, tuning, progress=progress, stop=stop) as run:
        pour(run, stream)
        return _restored(run)


def _restored(run: Retrieval) -> Restored:
    backup_id, tally = run.backup.id, run.tally
    log.info("backup restored", extra={"backup": backup_id, "written_bytes": tally.written_bytes})
    return Restored(
        backup_id=backup_id,
        restored_bytes=run.total_bytes,
        written_bytes=tally.written_bytes,
        zeroed_bytes=tally.zeroed_bytes,
        equal_bytes=tally.kept_bytes,
        got_bytes=tally.got_bytes,
        duration_s=run.duration_s,
    )
