"""After a restart: give every row the status that is true, and take up what can be.

Nothing of this service runs yet, so a row that says otherwise tells of a process that ended.
"""

from __future__ import annotations

import logging
from contextlib import suppress

from backupcore.catalog import Scope
from backupcore.catalog.error import RowMissing, WrongStatus
from backupcore.catalog.row import BackupRow
from backupcore.catalog.status import (
    BackupStatus,
    SnapshotMove,
    SnapshotStatus,
    VolumeMove,
    VolumeStatus,
)
from backupcore.errors import BackupError, BackupMissing, Damaged
from backupcore.job import Engine, JobKind, JobOrder
from backupcore.model import Backup
from backupcore.service.context import Context
from backupcore.service.store import Stores
from backupcore.service.work.creating import Creating
from backupcore.service.work.importing import INCOMPLETE as INCOMPLETE_IMPORT
from backupcore.service.work.outcome import (
    end_create,
    end_restore,
    fail_import,
    finish_import,
    is_owner,
)

__all__ = ["reconcile"]

log = logging.getLogger(__name__)

# Nothing is read or written at this moment, but what the rows of backups were asked first.
_LEFT_VOLUMES = {
    VolumeStatus.CREATING: VolumeMove.FAIL_CREATE,
    VolumeStatus.DELETING: VolumeMove.FAIL_DELETE,
    VolumeStatus.BACKING_UP: VolumeMove.FAIL_BACKUP,
    VolumeStatus.RESTORING: VolumeMove.FAIL_RESTORE,
}
_LEFT_SNAPSHOTS = {
    SnapshotStatus.CREATING: SnapshotMove.FAIL_CREATE,
    SnapshotStatus.DELETING: SnapshotMove.FAIL_DELETE,
    SnapshotStatus.BACKING_UP: SnapshotMove.END_BACKUP,
}
INCOMPLETE = "incomplete backup reset on manager restart"


def reconcile(context: Context, creating: Creating, engine: Engine) -> None:
    """Settle every row that a process left behind. Raises: StoreError when a store is away."""
    everything = Scope.everything()
    catalog = context.catalog
    with catalog.reading() as rows:
        left = list(
            rows.backups_in(
                BackupStatus.CREATING,
                BackupStatus.RESTORING,
                BackupStatus.DELETING,
                scope=everything,
            )
        )
    orders = [order for row in left if (order := _settle(row, context, creating)) is not None]
    with catalog.reading() as rows:
        volumes = list(rows.volumes_in(*_LEFT_VOLUMES, scope=everything))
        snapshots = list(rows.snapshots_in(*_LEFT_SNAPSHOTS, scope=everything))
    for volume in volumes:
        with suppress(WrongStatus, RowMissing), catalog.writing() as changing:
            changing.move_volume(volume.id, _LEFT_VOLUMES[volume.status])
    for snapshot in snapshots:
        with suppress(WrongStatus, RowMissing), catalog.writing() as changing:
            changing.move_snapshot(snapshot.id, _LEFT_SNAPSHOTS[snapshot.status])
    for order in orders:
        engine.submit(order)


def _settle(row: BackupRow, context: Context, creating: Creating) -> JobOrder | None:
    """Settle one row, or return the order that does."""
    log.info("left behind", extra={"backup": row.id, "status": str(row.status)})
    lane = row.repository or ""
    if row.status is BackupStatus.RESTORING:
        context.catalog.write(lambda rows: end_restore(rows, row, VolumeMove.FAIL_RESTORE))
        return None
    if not row.is_imported:
        _drop_temporary_snapshot(row, creating)
    if row.status is BackupStatus.DELETING:
        return JobOrder(JobKind.DELETE, row.id, lane)
    if row.is_imported:
        _settle_import(row, context)
        return None
    done = _stored(row, row.volume_id, context.stores)
    context.catalog.write(lambda rows: end_create(rows, row, done, INCOMPLETE))
    return None


def _settle_import(row: BackupRow, context: Context) -> None:
    """Finish an import that the store had confirmed when its backup is there; else fail it."""
    if is_owner(row) and _stored(row, None, context.stores) is not None:
        context.catalog.write(lambda rows: finish_import(rows, row))
    else:
        context.catalog.write(lambda rows: fail_import(rows, row, INCOMPLETE_IMPORT))


def _stored(row: BackupRow, volume_id: str | None, stores: Stores) -> Backup | None:
    """Return the backup when its manifest was committed before the process ended.

    volume_id: as the repository knows it, None when the row does not tell.
    """
    if not stores.has(row.repository or ""):  # the operator took its container away
        return None
    with stores.open(row.repository or "", read_only=True) as repository:
        try:
            return repository.find_backup(row.stored_id or "", volume_id)
        except (BackupMissing, Damaged):
            return None


def _drop_temporary_snapshot(row: BackupRow, creating: Creating) -> None:
    try:
        creating.drop_temporary_snapshot(row)
    except RowMissing:
        return
    except BackupError as error:
        facts = {"backup": row.id, "reason": str(error)}
        log.warning("snapshot of a backup not deleted", extra=facts)
