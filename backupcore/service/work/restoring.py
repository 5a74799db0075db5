"""The job that writes a backup to a volume."""

from __future__ import annotations

from backupcore.catalog import Scope
from backupcore.catalog.row import BackupRow, VolumeRow
from backupcore.catalog.status import BackupStatus, VolumeMove, VolumeStatus
from backupcore.config import Tuning
from backupcore.errors import Stopped, TargetBusy
from backupcore.job import JobRun
from backupcore.operation.restore import Restored, restore
from backupcore.service.context import Context
from backupcore.service.work.outcome import end_restore
from backupcore.service.work.report import reporting
from backupcore.volume import Access

__all__ = ["Restoring"]


class Restoring:
    """Writes what is stored over a volume."""

    def __init__(self, context: Context) -> None:
        self._catalog = context.catalog
        self._stores = context.stores
        self._providers = context.providers
        self._tuning = Tuning(memory_bytes=context.settings.jobs.memory_bytes)
        self._observer = context.observer

    def do(self, row: BackupRow, run: JobRun) -> None:
        """Restore to the volume the row names and finish both rows.

        Raises: what failed; when stopped, whoever stopped it has moved the row, or a restart does.
        """
        if row.status is not BackupStatus.RESTORING or row.restore_volume_id is None:
            return
        try:
            with self._catalog.reading() as rows:
                target = rows.volume(row.restore_volume_id, Scope.everything())
            if target.status is VolumeStatus.CREATING:  # who makes it orders this again
                return
            done = self._write(row, target, run)
        except Stopped:
            raise
        except BaseException:
            self._end(row, VolumeMove.FAIL_RESTORE)
            raise
        self._end(row, VolumeMove.END_RESTORE)
        self._observer.restored(
            row.repository or "", restored_bytes=done.restored_bytes, got_bytes=done.got_bytes
        )

    def _write(self, row: BackupRow, target: VolumeRow, run: JobRun) -> Restored:
        if target.status is not VolumeStatus.RESTORING:
            raise TargetBusy(f"volume {target.id}: is {target.status}, not restoring-backup")
        provider = self._providers.of(target)
        with (
            self._stores.open(row.repository or "", stop=run.stop, read_only=True) as repository,
            provider.open(target.place, Access.WRITE) as volume,
        ):
            found = repository.find_backup(row.stored_id or "")
            return restore(
                repository,
                found.id,
                volume,
                tuning=self._tuning,
                progress=reporting(run),
                stop=run.stop,
            )

    def _end(self, row: BackupRow, move: VolumeMove) -> None:
        self._catalog.write(lambda rows: end_restore(rows, row, move))
