"""The job that backs a volume up."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from backupcore.catalog import Scope
from backupcore.catalog.error import RowMissing
from backupcore.catalog.row import BackupRow, VolumeRow
from backupcore.catalog.status import BackupStatus, VolumeStatus
from backupcore.config import Tuning
from backupcore.errors import BackupError, BackupMissing, SourceError
from backupcore.job import JobRun
from backupcore.model import Backup
from backupcore.operation.backup import BackupRequest, backup
from backupcore.provider import Provider
from backupcore.repository import Repository
from backupcore.repository.label import ServiceLabels
from backupcore.service.context import Context
from backupcore.service.work.leftover import drop_leftovers, drop_snapshots, temporary_hint
from backupcore.service.work.outcome import end_create
from backupcore.service.work.reason import reason_of
from backupcore.service.work.report import reporting
from backupcore.volume import Access, Volume

__all__ = ["Creating"]

log = logging.getLogger(__name__)


class Creating:
    """Reads a volume or a snapshot of it into the repository."""

    def __init__(self, context: Context) -> None:
        self._settings = context.settings
        self._catalog = context.catalog
        self._stores = context.stores
        self._providers = context.providers
        self._tuning = Tuning(memory_bytes=context.settings.jobs.memory_bytes)
        self._observer = context.observer

    def do(self, row: BackupRow, run: JobRun) -> None:
        """Back up what the row names and finish the row. Raises: what failed."""
        if row.status is not BackupStatus.CREATING:
            return
        try:
            with (
                self._stores.open(row.repository or "", stop=run.stop) as repository,
                self._source(row) as volume,
            ):
                done = self._back_up(row, run, repository, volume)
        except BaseException as error:
            self._end(row, None, reason_of(error))
            raise
        self._end(row, done)
        self._observer.backed_up(
            row.repository or "",
            read_bytes=done.sums.read_bytes,
            stored_bytes=done.sums.stored_bytes,
        )

    def drop_temporary_snapshot(self, row: BackupRow) -> None:
        """Delete the snapshot that was made for one backup, if there is one.

        Raises: RowMissing without its volume, SourceError, TargetError, Invalid.
        """
        with self._catalog.reading() as rows:
            volume = rows.volume(row.volume_id, Scope.everything())
        self._drop(row, volume)

    def _end(self, row: BackupRow, done: Backup | None, reason: str = "") -> None:
        self._catalog.write(lambda rows: end_create(rows, row, done, reason))

    def _back_up(
        self, row: BackupRow, run: JobRun, repository: Repository, volume: Volume
    ) -> Backup:
        request = BackupRequest(
            volume_id=row.volume_id,
            backup_id=row.stored_id,
            name=row.name or "",
            description=row.description or "",
            labels=_labels(row),
        )
        return backup(
            volume,
            repository,
            base=self._stored_base(row, repository),
            request=request,
            tuning=self._tuning,
            progress=reporting(run),
            stop=run.stop,
        )

    def _stored_base(self, row: BackupRow, repository: Repository) -> str | None:
        """Return the stored id of the backup to compare with; None when it is gone meanwhile."""
        if row.parent_id is None:
            return None
        try:
            with self._catalog.reading() as rows:
                parent = rows.backup(row.parent_id, Scope.everything())
            return repository.find_backup(parent.stored_id or "", row.volume_id).id
        except (RowMissing, BackupMissing):
            return None

    @contextmanager
    def _source(self, row: BackupRow) -> Iterator[Volume]:
        """Open what a backup reads; a volume in use is read from a snapshot made for it."""
        with self._catalog.reading() as rows:
            volume = rows.volume(row.volume_id, Scope.everything())
            snapshot = (
                rows.snapshot(row.snapshot_id, Scope.everything()) if row.snapshot_id else None
            )
        provider = self._providers.of(volume)
        opened: AbstractContextManager[Volume]
        if snapshot is not None:
            with provider.open_snapshot(snapshot.place) as opened:
                yield opened
        elif self._has_to_freeze(volume, provider):
            drop_leftovers(self._catalog, provider, volume)
            try:
                place = provider.snapshot(volume.place, temporary_hint(row.id))
                with provider.open_snapshot(place) as opened:
                    yield opened
            finally:
                self._drop_quietly(row, volume)
        else:
            with provider.open(volume.place, Access.READ) as opened:
                yield opened

    def _drop_quietly(self, row: BackupRow, volume: VolumeRow) -> None:
        """Delete the snapshot of a backup; one that stays is found again (`leftover`)."""
        try:
            self._drop(row, volume)
        except BackupError as error:
            facts = {"backup": row.id, "volume": volume.id, "reason": str(error)}
            log.warning("snapshot of a backup not deleted", extra=facts)

    def _drop(self, row: BackupRow, volume: VolumeRow) -> None:
        drop_snapshots(self._providers.of(volume), volume.place, temporary_hint(row.id))

    def _has_to_freeze(self, volume: VolumeRow, provider: Provider) -> bool:
        """Return whether a volume is to be read from a snapshot: its row or provider says in use.

        Raises: SourceError when that is so and it can only be read as it changes.
        """
        is_in_use = volume.previous_status is VolumeStatus.IN_USE
        if not is_in_use and not provider.show(volume.place).is_in_use:
            return False
        given = self._settings.providers.get(volume.provider)
        may_change = given is not None and given.allow_crash_inconsistent
        if not provider.has_snapshots and not may_change:
            raise SourceError(
                f"volume {volume.id}: is in use and its provider makes no snapshots: stop who "
                "uses it, or allow backups that are not consistent"
            )
        return provider.has_snapshots


def _labels(row: BackupRow) -> dict[str, str]:
    """Return what the manifest keeps for those who have lost the row, as far as it has room."""
    wanted = ServiceLabels(
        project=row.project_id,
        metadata=row.metadata,
        volume_name=row.volume_name,
        volume_description=row.volume_description,
        volume_metadata=row.volume_metadata,
    )
    labels, left_out = wanted.fit(row.name or "", row.description or "")
    if left_out:
        facts = {"backup": row.id, "left_out": ", ".join(left_out)}
        log.warning("manifest has no room for all; the catalog alone keeps the rest", extra=facts)
    return labels
