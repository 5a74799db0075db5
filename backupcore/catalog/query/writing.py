"""What one transaction changes: every move is one conditional UPDATE whose row count decides."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeVar, Unpack

from sqlalchemy import Connection, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from backupcore.catalog.change import BackupChanges, JobChanges, SnapshotChanges, VolumeChanges
from backupcore.catalog.error import RowExists, RowInUse, RowMissing, WrongStatus
from backupcore.catalog.listing import Scope
from backupcore.catalog.query.reading import ReadRows
from backupcore.catalog.query.value import (
    BACKUP,
    JOB,
    SNAPSHOT,
    VOLUME,
    Kind,
    change_values,
    is_storable,
    values_of,
)
from backupcore.catalog.row import BackupRow, JobRow, SnapshotRow, VolumeRow
from backupcore.catalog.status import (
    BACKUP_MOVES,
    JOB_MOVES,
    SNAPSHOT_MOVES,
    VOLUME_MOVES,
    BackupMove,
    JobMove,
    Move,
    Previous,
    SnapshotMove,
    SnapshotStatus,
    VolumeMove,
    VolumeStatus,
)

__all__ = ["Rows"]

R = TypeVar("R")
_EVERYTHING = Scope.everything()


class Rows(ReadRows):
    """The rows as one transaction sees and changes them; all of it happens or nothing.

    now: the time of every change of the transaction.
    """

    def __init__(self, connection: Connection, limits: Mapping[str, int], now: datetime) -> None:
        super().__init__(connection, limits)
        self._now = now

    def add_backup(self, row: BackupRow, *, room: int = 0, is_counted: bool = True) -> None:
        """Add a backup.

        room: GiB that there must be room for, when the row does not tell its size yet.
        is_counted: whether the quota is looked at; not for what is in the store already.
        Raises: RowExists, QuotaExceeded.
        """
        if is_counted:
            self._quota.take(BACKUP, row.project_id, max(row.size, room))
        self._add(BACKUP, row)

    def add_volume(self, row: VolumeRow, *, is_counted: bool = True) -> None:
        """Add a volume; as `add_backup`. Raises: RowExists, QuotaExceeded."""
        if is_counted:
            self._quota.take(VOLUME, row.project_id, row.size)
        self._add(VOLUME, row)

    def add_snapshot(self, row: SnapshotRow) -> None:
        """Add a snapshot. Raises: RowExists, QuotaExceeded, RowMissing (its volume)."""
        volumes = VOLUME.table
        held = select(volumes.c.id).where(volumes.c.id == row.volume_id)
        held = held.with_for_update(read=True, key_share=True)
        if not is_storable(row.volume_id) or self._connection.execute(held).first() is None:
            raise RowMissing(VOLUME.name, row.volume_id)
        self._quota.take(SNAPSHOT, row.project_id, row.size)
        self._add(SNAPSHOT, row)

    def add_job(self, row: JobRow) -> None:
        """Add a job. Raises: RowExists."""
        self._add(JOB, row)

    def move_backup(
        self,
        backup_id: str,
        move: BackupMove,
        *,
        is_counted: bool = True,
        **changes: Unpack[BackupChanges],
    ) -> BackupRow:
        """Bring a backup into another state, with what else changes; return it.

        is_counted: whether the quota is looked at when it grows; not for what is stored already.
        Raises: RowMissing, WrongStatus, QuotaExceeded when it grew beyond its project's.
        """
        if is_counted:
            self._grow(BACKUP, backup_id, changes)
        values = self._stamped(BACKUP, backup_id, changes)
        self._move(BACKUP, backup_id, (move, BACKUP_MOVES[move]), values)
        return self.backup(backup_id, _EVERYTHING)

    def move_volume(
        self,
        volume_id: str,
        move: VolumeMove,
        *,
        status: VolumeStatus | None = None,
        **changes: Unpack[VolumeChanges],
    ) -> VolumeRow:
        """Bring a volume into another state; as `move_backup`.

        status: the new one, for a move that leaves it to the caller, and for no other.
        """
        self._grow(VOLUME, volume_id, changes)
        values = self._stamped(VOLUME, volume_id, changes)
        self._move(VOLUME, volume_id, (move, VOLUME_MOVES[move]), values, status=status)
        return self.volume(volume_id, _EVERYTHING)

    def move_snapshot(
        self,
        snapshot_id: str,
        move: SnapshotMove,
        *,
        status: SnapshotStatus | None = None,
        **changes: Unpack[SnapshotChanges],
    ) -> SnapshotRow:
        """Bring a snapshot into another state; as `move_volume`."""
        self._grow(SNAPSHOT, snapshot_id, changes)
        values = self._stamped(SNAPSHOT, snapshot_id, changes)
        self._move(SNAPSHOT, snapshot_id, (move, SNAPSHOT_MOVES[move]), values, status=status)
        return self.snapshot(snapshot_id, _EVERYTHING)

    def move_job(self, job_id: str, move: JobMove, **changes: Unpack[JobChanges]) -> JobRow:
        """Bring a job into another state, with the times that go with it; as `move_backup`."""
        values = change_values(JOB, job_id, changes)
        if move is JobMove.START:
            values["started_at"] = self._now
        elif move is not JobMove.REQUEUE:
            values["ended_at"] = self._now
        self._move(JOB, job_id, (move, JOB_MOVES[move]), values)
        return self.job(job_id, _EVERYTHING)

    def edit_backup(self, backup_id: str, **changes: Unpack[BackupChanges]) -> BackupRow:
        """Change a backup, whatever its state; nothing at all happens without changes.

        Raises: RowMissing, QuotaExceeded when it grew beyond its project's.
        """
        self._edit(BACKUP, backup_id, changes)
        return self.backup(backup_id, _EVERYTHING)

    def edit_volume(
        self, volume_id: str, *, is_counted: bool = True, **changes: Unpack[VolumeChanges]
    ) -> VolumeRow:
        """Change a volume; as `edit_backup`.

        is_counted: whether the quota is looked at when it grows; not for what has grown already.
        """
        self._edit(VOLUME, volume_id, changes, is_counted=is_counted)
        return self.volume(volume_id, _EVERYTHING)

    def edit_snapshot(self, snapshot_id: str, **changes: Unpack[SnapshotChanges]) -> SnapshotRow:
        """Change a snapshot; as `edit_backup`."""
        self._edit(SNAPSHOT, snapshot_id, changes)
        return self.snapshot(snapshot_id, _EVERYTHING)

    def edit_job(self, job_id: str, **changes: Unpack[JobChanges]) -> JobRow:
        """Change a job, such as how far it is. Raises: RowMissing."""
        self._update(JOB, job_id, change_values(JOB, job_id, changes))
        return self.job(job_id, _EVERYTHING)

    def remove_backup(self, backup_id: str) -> bool:
        """Remove a backup's row; return whether no row names its stored backup any more.

        False too when it named none. Of several removers exactly one hears True.
        Raises: RowMissing.
        """
        table = BACKUP.table
        row = self.backup(backup_id, _EVERYTHING)
        if row.stored_id is None:
            self._remove(BACKUP, backup_id)
            return False
        # Two removers that each still saw the other's row would both hear False.
        self.lock_stored(row.stored_id, row.repository)
        self._remove(BACKUP, backup_id)
        same = (table.c.stored_id == row.stored_id) & (table.c.repository == row.repository)
        left = self._connection.execute(select(func.count()).where(same)).scalar_one()
        return left == 0

    def lock_stored(self, stored_id: str, repository: str | None) -> None:
        """Wait for, and be, the only one who moves or removes rows that name a stored backup.

        Whoever counts such rows to act on their number calls it first: what is asked afterwards in
        this transaction sees what others did until then. A row that another one adds waits not.
        """
        table = BACKUP.table
        same = (table.c.stored_id == stored_id) & (table.c.repository == repository)
        lock = select(table.c.id).where(same).order_by(table.c.id).with_for_update()
        self._connection.execute(lock).all()

    def remove_volume(self, volume_id: str) -> None:
        """Remove a volume's row. Raises: RowMissing, RowInUse when it has snapshots."""
        self._remove(VOLUME, volume_id, users="snapshots")

    def remove_snapshot(self, snapshot_id: str) -> None:
        """Remove a snapshot's row. Raises: RowMissing."""
        self._remove(SNAPSHOT, snapshot_id)

    def forget_jobs(self, *, ended_before: datetime) -> int:
        """Remove the rows of jobs that ended before that time; return how many."""
        query = delete(JOB.table).where(JOB.table.c.ended_at < ended_before)
        return self._connection.execute(query).rowcount

    def set_limits(self, project_id: str, limits: Mapping[str, int]) -> None:
        """Change some of a project's limits; -1 for none. Raises: Refused."""
        self._quota.set_limits(project_id, limits)

    def reset_limits(self, project_id: str) -> None:
        """Give a project the default limits again."""
        self._quota.reset_limits(project_id)

    def _add(self, kind: Kind[R], row: R) -> None:
        values = values_of(kind, row)
        try:
            with self._connection.begin_nested():
                self._connection.execute(insert(kind.table).values(values))
        except IntegrityError as error:
            raise RowExists(kind.name, values["id"]) from error

    def _stamped(
        self, kind: Kind[Any], row_id: str, changes: Mapping[str, object]
    ) -> dict[str, Any]:
        return {**change_values(kind, row_id, changes), "updated_at": self._now}

    def _move(
        self,
        kind: Kind[Any],
        row_id: str,
        move: tuple[StrEnum, Move],
        values: dict[str, Any],
        *,
        status: str | None = None,
    ) -> None:
        name, way = move
        if (status is not None) != way.is_free:
            raise TypeError(f"move {name!r} of a {kind.name} and status {status!r} do not fit")
        table = kind.table
        values["status"] = way.target if status is None else status
        if way.previous is Previous.KEPT:
            values["previous_status"] = table.c.status
        elif way.previous is Previous.FORGOTTEN:
            values["previous_status"] = None
        elif way.previous is Previous.BROUGHT_BACK:
            values["status"] = func.coalesce(table.c.previous_status, VolumeStatus.AVAILABLE)
            values["previous_status"] = way.leaves
        may_move = table.c.status.in_(sorted(way.sources))
        query = update(table).where(table.c.id == row_id, may_move).values(values)
        if is_storable(row_id) and self._connection.execute(query).rowcount:
            return
        found = self._one(kind, row_id, _EVERYTHING)
        raise WrongStatus(kind.name, row_id, status=found.status, move=name)

    def _edit(
        self,
        kind: Kind[Any],
        row_id: str,
        changes: Mapping[str, object],
        *,
        is_counted: bool = True,
    ) -> None:
        if changes:
            if is_counted:
                self._grow(kind, row_id, changes)
            self._update(kind, row_id, self._stamped(kind, row_id, changes))

    def _update(self, kind: Kind[Any], row_id: str, values: Mapping[str, object]) -> None:
        query = update(kind.table).where(kind.table.c.id == row_id).values(values)
        if values and not (is_storable(row_id) and self._connection.execute(query).rowcount):
            raise RowMissing(kind.name, row_id)

    def _grow(self, kind: Kind[Any], row_id: str, changes: Mapping[str, object]) -> None:
        """Look at the quota when a row's size is to change."""
        size = changes.get("size")
        if isinstance(size, int):
            self._quota.lock(self._one(kind, row_id, _EVERYTHING).project_id)
            row = self._one(kind, row_id, _EVERYTHING)
            if size > row.size:
                self._quota.take(kind, row.project_id, size - row.size, held=row.size)

    def _remove(self, kind: Kind[Any], row_id: str, *, users: str = "") -> None:
        query = delete(kind.table).where(kind.table.c.id == row_id)
        try:
            with self._connection.begin_nested():
                is_gone = is_storable(row_id) and self._connection.execute(query).rowcount
        except IntegrityError as error:
            raise RowInUse(kind.name, row_id, users) from error
        if not is_gone:
            raise RowMissing(kind.name, row_id)
