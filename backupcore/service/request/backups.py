"""What may be asked of backups: each use case checks, changes rows in one transaction, and orders.

Nothing here reads or writes a volume or a store: that is work (`service.work`), done by jobs.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

from backupcore.catalog import Listing, Page, Rows, Scope
from backupcore.catalog.change import BackupChanges
from backupcore.catalog.error import RowMissing
from backupcore.catalog.row import BackupRow, SnapshotRow, VolumeRow
from backupcore.catalog.status import (
    BackupMove,
    BackupStatus,
    SnapshotMove,
    SnapshotStatus,
    VolumeMove,
    VolumeStatus,
)
from backupcore.errors import BackupMissing, Damaged, Stopped
from backupcore.job import Engine, JobKind
from backupcore.service.caller import Caller
from backupcore.service.context import Context, list_scope, scope_of
from backupcore.service.error import Invalid
from backupcore.service.meaning import explained, new_uuid
from backupcore.service.request.target import (
    RestoreWish,
    check_restorable,
    check_target,
    check_target_size,
    planned_for,
)
from backupcore.service.request.volumes import Volumes
from backupcore.service.work import order_of
from backupcore.service.work.outcome import abandon, locked
from backupcore.service.work.reason import reason_of

__all__ = ["BackupWish", "Backups", "Restoring"]

log = logging.getLogger(__name__)

_BACKED_UP = (VolumeStatus.AVAILABLE, VolumeStatus.IN_USE)
_READABLE = (BackupStatus.AVAILABLE, BackupStatus.RESTORING)
_ENDED_KINDS = {
    BackupStatus.CREATING: (JobKind.CREATE, JobKind.IMPORT),
    BackupStatus.RESTORING: (JobKind.RESTORE,),
    BackupStatus.DELETING: (JobKind.DELETE,),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupWish:
    """What a caller wants backed up, and how."""

    volume_id: str
    snapshot_id: str | None = None
    container: str | None = None
    name: str | None = None
    description: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    availability_zone: str | None = None
    is_incremental: bool = False
    is_forced: bool = False


@dataclass(frozen=True, slots=True)
class Restoring:
    """What is restored to what."""

    backup: BackupRow
    volume: VolumeRow


class Backups:
    """The use cases of backups."""

    def __init__(self, context: Context, volumes: Volumes, engine: Engine) -> None:
        self._settings = context.settings
        self._catalog = context.catalog
        self._stores = context.stores
        self._providers = context.providers
        self._policy = context.policy
        self._runtime = context.runtime
        self._volumes = volumes
        self._engine = engine

    def page(self, caller: Caller, listing: Listing, *, is_all: bool = False) -> Page[BackupRow]:
        """Return a page of the caller's backups, of everybody's to an admin who asks for them."""
        self._policy.check("backup:get_all", caller)
        with explained(), self._catalog.reading() as rows:
            return rows.page_backups(list_scope(caller, is_all=is_all), listing)

    def show(self, caller: Caller, backup_id: str, rule: str = "backup:get") -> BackupRow:
        """Return a backup. Raises: Missing, Denied."""
        with explained(), self._catalog.reading() as rows:
            row = rows.backup(backup_id, scope_of(caller))
        self._policy.check(rule, caller, row.project_id)
        return row

    def create(self, caller: Caller, wish: BackupWish) -> BackupRow:
        """Begin a backup and return its row. Raises: Missing, Invalid, OverQuota, Denied."""
        self._policy.check("backup:create", caller)
        label, repository = self._stores.resolve(wish.container)
        self._check_zone(wish.availability_zone)
        self._check_provider(caller, wish)
        backup_id, now = new_uuid(self._runtime), self._runtime.clock.now()

        def begin(rows: Rows) -> BackupRow:
            scope = scope_of(caller)
            volume = rows.volume(wish.volume_id, scope)
            snapshot = rows.snapshot(wish.snapshot_id, scope) if wish.snapshot_id else None
            self._check_source(wish, volume, snapshot)
            base = self._base(rows, wish, Scope.of(caller.project_id), label, snapshot)
            row = BackupRow(
                id=backup_id,
                project_id=caller.project_id,
                user_id=caller.user_id,
                volume_id=volume.id,
                volume_name=volume.name,
                volume_description=volume.description,
                volume_metadata=volume.metadata,
                snapshot_id=snapshot.id if snapshot else None,
                status=BackupStatus.CREATING,
                name=wish.name,
                description=wish.description,
                metadata=wish.metadata,
                container=label,
                repository=repository,
                stored_id=backup_id,
                size=volume.size,
                size_bytes=volume.size_bytes,
                is_incremental=base is not None,
                parent_id=base.id if base else None,
                availability_zone=self._settings.availability_zone,
                host=self._settings.host,
                request_id=caller.request_id,
                data_timestamp=_time_of(snapshot, now),
                created_at=now,
            )
            rows.add_backup(row)
            if snapshot is not None:
                rows.move_snapshot(snapshot.id, SnapshotMove.BACK_UP)
            else:
                rows.move_volume(volume.id, VolumeMove.BACK_UP)
            return row

        with explained():
            row = self._catalog.write(begin)
        self._order(JobKind.CREATE, row)
        return row

    def restore(self, caller: Caller, backup_id: str, wish: RestoreWish) -> Restoring:
        """Begin a restore. Raises: Missing, Invalid, OverQuota, Denied."""
        row = self.show(caller, backup_id, "backup:restore")
        check_restorable(row)
        if wish.volume_id is None:
            return self._restore_to_new(caller, row, wish)
        with explained(), self._catalog.reading() as rows:
            target = rows.volume(wish.volume_id, scope_of(caller))
        self._policy.check("backup:restore", caller, target.project_id)
        check_target(row, self._volumes.seen(target))

        def begin(rows: Rows) -> Restoring:
            moved = rows.move_volume(target.id, VolumeMove.RESTORE)
            return Restoring(_begin_restore(rows, row, target), moved)

        with explained():
            restoring = self._catalog.write(begin)
        self._order(JobKind.RESTORE, restoring.backup)
        return restoring

    def _restore_to_new(self, caller: Caller, row: BackupRow, wish: RestoreWish) -> Restoring:
        """Take the backup and make its volume; the job is ordered once that is made."""
        planned = planned_for(self._volumes.plan_for_restore(caller, row, wish.name), wish)
        check_target_size(row, planned)

        def begin(rows: Rows) -> BackupRow:
            rows.add_volume(planned)
            return _begin_restore(rows, row, planned)

        with explained(names_class=False):
            taken = self._catalog.write(begin)
        target = self._volumes.make(
            planned, restored=taken, then=lambda: self._order(JobKind.RESTORE, taken)
        )
        if target.status is VolumeStatus.ERROR:
            raise Invalid(
                f"Invalid volume: Error while creating volume {target.id} for restoring backup "
                f"{row.id}."
            )
        return Restoring(taken, target)

    def delete(self, caller: Caller, backup_id: str) -> None:
        """Begin a deletion. Raises: Missing, Invalid, Denied."""
        row = self.show(caller, backup_id, "backup:delete")
        with explained():
            moved = self._catalog.write(lambda rows: rows.move_backup(row.id, BackupMove.DELETE))
        self._order(JobKind.DELETE, moved)

    def force_delete(self, caller: Caller, backup_id: str) -> None:
        """Begin a deletion whatever the backup's status; what works at it is told to end.

        Raises: Missing, Invalid, Denied.
        """
        row = self.show(caller, backup_id, "volume_extension:backup_admin_actions:force_delete")
        self._order(JobKind.DELETE, self._take_over(row, BackupMove.FORCE_DELETE))

    def reset(self, caller: Caller, backup_id: str, status: str) -> None:
        """Set the status to available or error; what works at the backup is told to end.

        What the store does not have does not become available, but for a restore that ends.
        Raises: Missing, Invalid, Denied, StoreError.
        """
        rule = "volume_extension:backup_admin_actions:reset_status"
        row = self.show(caller, backup_id, rule)
        moves = {
            BackupStatus.AVAILABLE: BackupMove.RESET_AVAILABLE,
            BackupStatus.ERROR: BackupMove.RESET_ERROR,
        }
        move = moves[BackupStatus(status)]
        if move is BackupMove.RESET_AVAILABLE and row.status not in _READABLE:
            if row.status is BackupStatus.DELETING:
                raise Invalid("Invalid backup: the stored backup is being deleted")
            self._check_stored(row)
        self._take_over(row, move)

    def update(self, caller: Caller, backup_id: str, changes: BackupChanges) -> BackupRow:
        """Change name, description or metadata. Raises: Missing, Denied."""
        row = self.show(caller, backup_id, "backup:update")
        if not changes:
            return row
        with explained():
            return self._catalog.write(lambda rows: rows.edit_backup(row.id, **changes))

    def _take_over(self, row: BackupRow, move: BackupMove) -> BackupRow:
        """Move a backup, give back what work on it holds, and end that work.

        A deletion that is to be one goes on.
        """

        def begin(rows: Rows) -> tuple[BackupStatus, BackupRow]:
            before = locked(rows, row.id, Scope.everything())
            moved = rows.move_backup(row.id, move)
            abandon(rows, before)
            return before.status, moved

        with explained():
            status, moved = self._catalog.write(begin)
        for kind in _ENDED_KINDS.get(status, ()) if moved.status is not status else ():
            self._engine.cancel(order_of(kind, row).id)
        if status is BackupStatus.RESTORING:
            self._order_again(row)
        return moved

    def _order_again(self, row: BackupRow) -> None:
        """Order a restore that another caller began between the move and the cancelling."""
        with suppress(RowMissing), self._catalog.reading() as rows:
            now = rows.backup(row.id, Scope.everything())
            if now.status is BackupStatus.RESTORING:
                self._order(JobKind.RESTORE, now)

    def _order(self, kind: JobKind, row: BackupRow) -> None:
        try:
            self._engine.submit(order_of(kind, row))
        except Stopped:  # the row says what the next start has to settle
            log.info("left to the next start", extra={"backup": row.id, "job": str(kind)})

    def _check_stored(self, row: BackupRow) -> None:
        """Refuse a row whose backup is not in the store.

        Raises: Invalid, RepositoryMissing, StoreError.
        """
        try:
            is_unconfirmed = row.is_imported and row.size_bytes is None
            if row.stored_id is None or row.repository is None or is_unconfirmed:
                raise BackupMissing(f"{row.id} names no stored backup")
            with self._stores.open(row.repository, read_only=True) as repository:
                repository.find_backup(row.stored_id)
        except (BackupMissing, Damaged) as error:
            raise Invalid(f"Invalid backup: {reason_of(error)}") from error

    def _check_source(
        self, wish: BackupWish, volume: VolumeRow, snapshot: SnapshotRow | None
    ) -> None:
        """Refuse what cannot be read now. Raises: Invalid."""
        if snapshot is not None:
            if snapshot.volume_id != volume.id:
                raise Invalid(
                    f"Invalid volume: Volume {volume.id} does not match with snapshot.volume_id "
                    f"{snapshot.volume_id}."
                )
            if snapshot.status is not SnapshotStatus.AVAILABLE:
                raise Invalid(
                    "Invalid snapshot: Snapshot to be backed up must be available, but the current "
                    f'status is "{snapshot.status}".'
                )
            return
        if volume.status not in _BACKED_UP:
            raise Invalid(
                "Invalid volume: Volume to be backed up must be available or in-use, but the "
                f'current status is "{volume.status}".'
            )
        if volume.status is VolumeStatus.IN_USE:
            self._check_in_use(wish, volume)

    def _check_zone(self, wanted: str | None) -> None:
        """Refuse a zone that is not the service's. Raises: Invalid."""
        if wanted not in (None, "", self._settings.availability_zone):
            raise Invalid(f"Invalid input received: Availability zone '{wanted}' is invalid.")

    def _check_provider(self, caller: Caller, wish: BackupWish) -> None:
        """Refuse a volume as in use when its provider says so, whatever its row says."""
        if wish.snapshot_id:
            return
        with explained(), self._catalog.reading() as rows:
            volume = rows.volume(wish.volume_id, scope_of(caller))
        if self._volumes.seen(volume).status is VolumeStatus.IN_USE:
            self._check_in_use(wish, volume)

    def _check_in_use(self, wish: BackupWish, volume: VolumeRow) -> None:
        """Refuse a volume in use unless that was thought of. Raises: Invalid."""
        if not wish.is_forced:
            raise Invalid("Invalid volume: Backing up an in-use volume must use the force flag.")
        self._check_readable_in_use(volume)

    def _check_readable_in_use(self, volume: VolumeRow) -> None:
        """Refuse a volume in use that can be read neither from a snapshot nor as it changes."""
        options = self._settings.providers.get(volume.provider)
        if self._providers.of(volume).has_snapshots:
            return
        if options is None or not options.allow_crash_inconsistent:
            raise Invalid(
                f"Invalid volume: Volume {volume.id} is in use and its provider makes no "
                "snapshots: detach it, or let the operator allow backups that are not consistent"
            )

    def _base(
        self,
        rows: Rows,
        wish: BackupWish,
        scope: Scope,
        label: str,
        snapshot: SnapshotRow | None,
    ) -> BackupRow | None:
        """Return the backup to compare with; None when everything is to be read.

        Raises: Invalid when an incremental backup was asked for and the project has none at all.
        """
        if not wish.is_incremental:
            return None
        before = snapshot.created_at if snapshot else None
        if rows.base_of(wish.volume_id, scope, before=before) is None:
            raise Invalid("Invalid backup: No backups available to do an incremental backup.")
        return rows.base_of(wish.volume_id, scope, container=label, before=before)


def _time_of(snapshot: SnapshotRow | None, now: datetime) -> datetime:
    return snapshot.created_at if snapshot else now


def _begin_restore(rows: Rows, row: BackupRow, target: VolumeRow) -> BackupRow:
    return rows.move_backup(row.id, BackupMove.RESTORE, restore_volume_id=target.id)
