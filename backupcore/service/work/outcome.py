"""What rows become when work on them ends: each function is part of one writing transaction.

A volume or snapshot is given back by whoever moves the backup's row, so it is given back once: a
job that comes too late finds the row moved and leaves the volume to its next user.
"""

from __future__ import annotations

from contextlib import suppress

from backupcore.catalog import Rows, Scope
from backupcore.catalog.change import VolumeChanges
from backupcore.catalog.error import RowMissing, WrongStatus
from backupcore.catalog.row import BackupRow, VolumeRow
from backupcore.catalog.status import BackupMove, BackupStatus, SnapshotMove, VolumeMove
from backupcore.model import Backup

__all__ = ["abandon", "end_create", "end_restore", "locked"]


def locked(rows: Rows, backup_id: str, scope: Scope) -> BackupRow:
    """Return a backup that nobody else moves until the transaction ends. Raises: RowMissing."""
    row = rows.backup(backup_id, scope)
    if row.stored_id is None:
        return row
    rows.lock_stored(row.stored_id, row.repository)
    return rows.backup(backup_id, scope)


def end_create(rows: Rows, row: BackupRow, done: Backup | None, reason: str = "") -> None:
    """Write what became of a backup, and give its source back; nothing when it was moved."""
    try:
        if done is None:
            rows.move_backup(row.id, BackupMove.FAIL, fail_reason=reason)
        else:
            rows.move_backup(
                row.id,
                BackupMove.FINISH,
                size_bytes=done.size_bytes,
                object_count=done.sums.object_count,
                is_incremental=done.is_incremental,
            )
    except (WrongStatus, RowMissing):
        return
    _give_back(rows, row, VolumeMove.END_BACKUP if done is not None else VolumeMove.FAIL_BACKUP)


def end_restore(rows: Rows, row: BackupRow, move: VolumeMove) -> None:
    """Write what became of a restore; the backup is available whatever happened."""
    target_id = row.restore_volume_id or ""
    try:
        now = locked(rows, row.id, Scope.everything())
        if now.restore_volume_id != target_id:
            return
        rows.move_backup(row.id, BackupMove.END_RESTORE, restore_volume_id=None)
    except (WrongStatus, RowMissing):
        return
    with suppress(WrongStatus, RowMissing):
        volume = rows.move_volume(target_id, move)
        if move is VolumeMove.END_RESTORE and target_id != row.volume_id:
            rows.edit_volume(target_id, **_inherited(rows, row, volume))


def abandon(rows: Rows, row: BackupRow) -> None:
    """Give back what work on a locked row holds; the caller moves the row and ends the work."""
    if row.status is BackupStatus.CREATING and not row.is_imported:
        _give_back(rows, row, VolumeMove.FAIL_BACKUP)
    elif row.status is BackupStatus.RESTORING:
        with suppress(WrongStatus, RowMissing):
            rows.move_volume(row.restore_volume_id or "", VolumeMove.CANCEL_RESTORE)
        rows.edit_backup(row.id, restore_volume_id=None)


def _give_back(rows: Rows, row: BackupRow, move: VolumeMove) -> None:
    with suppress(WrongStatus, RowMissing):
        if row.snapshot_id is not None:
            rows.move_snapshot(row.snapshot_id, SnapshotMove.END_BACKUP)
        else:
            rows.move_volume(row.volume_id, move)


def _inherited(rows: Rows, row: BackupRow, target: VolumeRow) -> VolumeChanges:
    """Return what a restored volume takes over: where it came from, and its source's name."""
    metadata = {**target.metadata, "src_backup_id": row.id}
    changes: VolumeChanges = {"metadata": metadata}
    with suppress(RowMissing):
        source = rows.volume(row.volume_id, Scope.of(target.project_id))
        changes["metadata"] = {**source.metadata, **metadata}
        if (target.name or "").startswith("restore_backup_"):
            changes["name"], changes["description"] = source.name, source.description
    return changes
