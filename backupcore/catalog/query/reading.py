"""What one transaction reads. Every method takes the scope of whoever asks, or one project."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import Connection, func, select

from backupcore.catalog.error import RowMissing
from backupcore.catalog.listing import Listing, Page, Scope
from backupcore.catalog.query.page import in_scope, read_page
from backupcore.catalog.query.quota import Quota, Usage
from backupcore.catalog.query.value import (
    BACKUP,
    JOB,
    SNAPSHOT,
    VOLUME,
    Kind,
    is_storable,
    row_of,
)
from backupcore.catalog.row import BackupRow, JobRow, SnapshotRow, VolumeRow
from backupcore.catalog.status import BackupStatus, JobStatus, SnapshotStatus, VolumeStatus

__all__ = ["ReadRows"]

R = TypeVar("R")
STREAM_ROW_COUNT = 500


class ReadRows:
    """The rows as one transaction sees them: all of one moment."""

    def __init__(self, connection: Connection, limits: Mapping[str, int]) -> None:
        self._connection = connection
        self._quota = Quota(connection, limits)

    def backup(self, backup_id: str, scope: Scope) -> BackupRow:
        """Return a backup. Raises: RowMissing."""
        return self._one(BACKUP, backup_id, scope)

    def volume(self, volume_id: str, scope: Scope) -> VolumeRow:
        """Return a volume. Raises: RowMissing."""
        return self._one(VOLUME, volume_id, scope)

    def snapshot(self, snapshot_id: str, scope: Scope) -> SnapshotRow:
        """Return a snapshot. Raises: RowMissing."""
        return self._one(SNAPSHOT, snapshot_id, scope)

    def job(self, job_id: str, scope: Scope) -> JobRow:
        """Return a job. Raises: RowMissing."""
        return self._one(JOB, job_id, scope)

    def page_backups(self, scope: Scope, listing: Listing) -> Page[BackupRow]:
        """Return one page of a list of backups. Raises: BadListing, RowMissing (the marker)."""
        return read_page(self._connection, BACKUP, scope, listing)

    def page_volumes(self, scope: Scope, listing: Listing) -> Page[VolumeRow]:
        """Return one page of a list of volumes. Raises: BadListing, RowMissing (the marker)."""
        return read_page(self._connection, VOLUME, scope, listing)

    def page_snapshots(self, scope: Scope, listing: Listing) -> Page[SnapshotRow]:
        """Return one page of a list of snapshots. Raises: BadListing, RowMissing (the marker)."""
        return read_page(self._connection, SNAPSHOT, scope, listing)

    def base_of(
        self,
        volume_id: str,
        scope: Scope,
        *,
        container: str | None = None,
        before: datetime | None = None,
    ) -> BackupRow | None:
        """Return the newest available backup of a volume by the time of its data.

        container: only of this one. before: only of data older than that, not of that moment.
        """
        table = BACKUP.table
        if not is_storable(volume_id) or not is_storable(container or ""):
            return None
        query = select(table).where(
            *in_scope(BACKUP, scope),
            table.c.volume_id == volume_id,
            table.c.status == BackupStatus.AVAILABLE,
            table.c.data_timestamp.is_not(None),
        )
        if container is not None:
            query = query.where(table.c.container == container)
        if before is not None:
            query = query.where(table.c.data_timestamp < before)
        newest = (table.c.data_timestamp.desc(), table.c.created_at.desc(), table.c.id.desc())
        found = self._connection.execute(query.order_by(*newest).limit(1)).mappings().first()
        return None if found is None else row_of(BACKUP, found)

    def has_stored(self, stored_id: str, repository: str, scope: Scope) -> bool:
        """Return whether a row names a stored backup of a repository."""
        table = BACKUP.table
        query = select(table.c.id).where(
            *in_scope(BACKUP, scope),
            table.c.stored_id == stored_id,
            table.c.repository == repository,
        )
        return self._connection.execute(query.limit(1)).first() is not None

    def backups_naming(self, stored_id: str, repository: str, scope: Scope) -> list[BackupRow]:
        """Return the rows that name a stored backup of a repository, by id."""
        table = BACKUP.table
        query = select(table).where(
            *in_scope(BACKUP, scope),
            table.c.stored_id == stored_id,
            table.c.repository == repository,
        )
        found = self._connection.execute(query.order_by(table.c.id)).mappings()
        return [row_of(BACKUP, one) for one in found]

    def count_owners(
        self,
        stored_id: str,
        repository: str,
        scope: Scope,
        *,
        statuses: Collection[BackupStatus],
        besides: str | None = None,
    ) -> int:
        """Return how many rows in some states have a part in a stored backup of a repository.

        Whoever names it has, but for an import before the store has confirmed its record.
        besides: the id of a row that does not count.
        """
        table = BACKUP.table
        query = select(func.count()).where(
            *in_scope(BACKUP, scope),
            table.c.stored_id == stored_id,
            table.c.repository == repository,
            table.c.status.in_(statuses),
            table.c.id != (besides or ""),
            table.c.is_imported.is_(False) | table.c.size_bytes.is_not(None),
        )
        return int(self._connection.execute(query).scalar_one())

    def backups_in(self, *statuses: BackupStatus, scope: Scope) -> Iterator[BackupRow]:
        """Yield the backups that are in some states, oldest first, without holding them all.

        Take them from a reading transaction while changing others in writing ones; what a
        transaction changes itself while it iterates may come twice or not at all.
        """
        return self._in(BACKUP, statuses, scope)

    def volumes_in(self, *statuses: VolumeStatus, scope: Scope) -> Iterator[VolumeRow]:
        """Yield the volumes that are in some states; as `backups_in`."""
        return self._in(VOLUME, statuses, scope)

    def snapshots_in(self, *statuses: SnapshotStatus, scope: Scope) -> Iterator[SnapshotRow]:
        """Yield the snapshots that are in some states; as `backups_in`."""
        return self._in(SNAPSHOT, statuses, scope)

    def jobs_in(self, *statuses: JobStatus, scope: Scope) -> Iterator[JobRow]:
        """Yield the jobs that are in some states; as `backups_in`."""
        return self._in(JOB, statuses, scope)

    def limits(self, project_id: str) -> dict[str, int]:
        """Return a project's limits by resource; -1 for none."""
        return self._quota.limits(project_id)

    def usage(self, project_id: str) -> Usage:
        """Return how much a project holds."""
        return self._quota.usage(project_id)

    def _one(self, kind: Kind[R], row_id: str, scope: Scope) -> R:
        query = select(kind.table).where(*in_scope(kind, scope), kind.table.c.id == row_id)
        found = None
        if is_storable(row_id):
            found = self._connection.execute(query).mappings().first()
        if found is None:
            raise RowMissing(kind.name, row_id)
        return row_of(kind, found)

    def _in(self, kind: Kind[R], statuses: Sequence[Any], scope: Scope) -> Iterator[R]:
        table = kind.table
        query = (
            select(table)
            .where(*in_scope(kind, scope), table.c.status.in_(statuses))
            .order_by(table.c.created_at, table.c.id)
            .execution_options(yield_per=STREAM_ROW_COUNT)
        )
        for found in self._connection.execute(query).mappings():
            yield row_of(kind, found)
