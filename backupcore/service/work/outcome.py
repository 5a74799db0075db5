"""What rows become when work on them ends: each function is part of one writing transaction.

A volume or snapshot is given back by whoever moves the backup's row, so it is given back once: a
job that comes too late finds the row moved and leaves the volume to its next user.
"""

from __future__ import annotations

from contextlib import suppress

from backupcore.catalog import Rows, Scope
from backupcore.catalog.change import BackupChanges, VolumeChanges
from backupcore.catalog.error import RowMissing, WrongStatus
from backupcore.catalog.row import BackupRow, VolumeRow
from backupcore.catalog.status import BackupMove, BackupStatus, SnapshotMove, VolumeMove
from backupcore.model import Backup
from backupcore.service.error import Invalid
from backupcore.service.meaning import gib

__all__ = [
    "BEING_DELETED",
    "RESTORED_PREFIX",
    "abandon",
    "awaits",
    "check_stays",
    "confirm_import",
    "end_create",
    "end_restore",
    "fail_import",
    "finish_import",
    "is_owner",
    "locked",
]

RESTORED_PREFIX = "restore_backup_"  # what a volume is called that a restore without a name makes
BEING_DELETED = "Invalid backup: the stored backup is being deleted."


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
                is_counted=False,
                size=gib(done.size_bytes),
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
        if move is VolumeMove.END_RESTORE:
            rows.edit_volume(target_id, **_brought_back(row, volume))


def awaits(rows: Rows, backup: BackupRow, volume_id: str) -> bool:
    """Return whether a backup is still to be restored to a volume, until the transaction ends."""
    try:
        now = locked(rows, backup.id, Scope.everything())
    except RowMissing:
        return False
    return now.status is BackupStatus.RESTORING and now.restore_volume_id == volume_id


def is_owner(row: BackupRow) -> bool:
    """Return whether a row has a part in what is stored: it is deleted with the last that has.

    An import has none before the store has confirmed its record.
    """
    is_confirmed = not row.is_imported or row.size_bytes is not None
    return row.stored_id is not None and row.repository is not None and is_confirmed


def check_stays(rows: Rows, stored_id: str, repository: str) -> None:
    """Refuse a new owner of what an owner deletes. Raises: Invalid.

    From here to the transaction's end nobody begins to delete it.
    """
    rows.lock_stored(stored_id, repository)
    leaving = {BackupStatus.DELETING}
    if rows.count_owners(stored_id, repository, Scope.everything(), statuses=leaving):
        raise Invalid(BEING_DELETED)


def confirm_import(rows: Rows, row: BackupRow, changes: BackupChanges) -> bool:
    """Make an import an owner of what the store has confirmed; False when it was moved.

    What was deleted before is not there any more now, what is deleted later counts this row: so
    the caller asks the store once more, and then finishes. Raises: Invalid, QuotaExceeded.
    """
    if _import_now(rows, row) is None:
        return False
    check_stays(rows, row.stored_id or "", row.repository or "")
    rows.edit_backup(row.id, **changes)
    return True


def finish_import(rows: Rows, row: BackupRow) -> None:
    """Finish an import that is an owner; nothing when it was moved."""
    if _import_now(rows, row) is not None:
        rows.move_backup(row.id, BackupMove.FINISH)


def fail_import(rows: Rows, row: BackupRow, reason: str) -> None:
    """Fail an import, which names nothing stored any more: deleting its row deletes nothing."""
    if _import_now(rows, row) is None:
        return
    rows.move_backup(
        row.id, BackupMove.FAIL, fail_reason=reason, stored_id=None, size=0, size_bytes=None
    )


def abandon(rows: Rows, row: BackupRow) -> None:
    """Give back what work on a locked row holds; the caller moves the row and ends the work."""
    if row.status is BackupStatus.CREATING and not row.is_imported:
        _give_back(rows, row, VolumeMove.FAIL_BACKUP)
    elif row.status is BackupStatus.CREATING and not is_owner(row):
        rows.edit_backup(row.id, stored_id=None)
    elif row.status is BackupStatus.RESTORING:
        with suppress(WrongStatus, RowMissing):
            rows.move_volume(row.restore_volume_id or "", VolumeMove.CANCEL_RESTORE)
        rows.edit_backup(row.id, restore_volume_id=None)


def _import_now(rows: Rows, row: BackupRow) -> BackupRow | None:
    """Return an import's row, locked, while it is the one that its work began with."""
    try:
        now = locked(rows, row.id, Scope.everything())
    except RowMissing:
        return None
    is_same = (now.request_id, now.stored_id) == (row.request_id, row.stored_id)
    return now if is_same and now.status is BackupStatus.CREATING else None


def _give_back(rows: Rows, row: BackupRow, move: VolumeMove) -> None:
    with suppress(WrongStatus, RowMissing):
        if row.snapshot_id is not None:
            rows.move_snapshot(row.snapshot_id, SnapshotMove.END_BACKUP)
        else:
            rows.move_volume(row.volume_id, move)


def _brought_back(row: BackupRow, target: VolumeRow) -> VolumeChanges:
    """Return what a restored volume takes over of the one that was backed up, and its origin.

    Another volume keeps what was said of it.
    """
    changes: VolumeChanges = {}
    kept = row.volume_metadata
    if target.id != row.volume_id:
        changes["metadata"] = {**(kept or {}), **target.metadata, "src_backup_id": row.id}
    elif kept is not None:
        changes["metadata"] = kept
    if (target.name or "").startswith(RESTORED_PREFIX) and row.volume_name is not None:
        changes["name"], changes["description"] = row.volume_name, row.volume_description
    return changes
