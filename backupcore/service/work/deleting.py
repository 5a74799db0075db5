"""The job that deletes a backup: first in the store, when no other row needs it, then the row."""

from __future__ import annotations

from contextlib import suppress

from backupcore.catalog import Rows, Scope
from backupcore.catalog.error import RowMissing, WrongStatus
from backupcore.catalog.row import BackupRow
from backupcore.catalog.status import BackupMove, BackupStatus
from backupcore.errors import BackupMissing, Stopped
from backupcore.job import JobRun
from backupcore.model import BackupId
from backupcore.operation.delete import delete
from backupcore.repository import Repository
from backupcore.repository.key import volume_tag
from backupcore.service.context import Context
from backupcore.service.work.outcome import is_owner, locked
from backupcore.service.work.reason import reason_of

__all__ = ["Deleting"]


class Deleting:
    """Makes the store forget a backup and then the catalog."""

    def __init__(self, context: Context) -> None:
        self._catalog = context.catalog
        self._stores = context.stores

    def do(self, row: BackupRow, run: JobRun) -> None:
        """Delete what the row names. Raises: what failed; when stopped, a restart goes on."""
        if row.status is not BackupStatus.DELETING:
            return
        try:
            if is_owner(row) and self._is_last(row):
                with self._stores.open(row.repository or "", stop=run.stop) as repository:
                    _delete_stored(repository, row)
        except Stopped:
            raise
        except BaseException as error:
            self._fail(row, reason_of(error))
            raise
        with suppress(RowMissing):
            self._catalog.write(lambda rows: _remove(rows, row.id))

    def _fail(self, row: BackupRow, reason: str) -> None:
        with suppress(WrongStatus, RowMissing):
            self._catalog.write(
                lambda rows: rows.move_backup(row.id, BackupMove.FAIL_DELETE, fail_reason=reason)
            )

    def _is_last(self, row: BackupRow) -> bool:
        """Return whether no other owner of the stored backup stays.

        Rows that are deleted at the same time do not count: each of them may be the last, and
        deleting what is stored twice is fine. Nor do imports count that the store has not
        confirmed: they become owners only while no owner is deleted, and then ask the store again.
        """
        staying = set(BackupStatus) - {BackupStatus.DELETING}
        stored_id, repository = row.stored_id or "", row.repository or ""

        def is_last(rows: Rows) -> bool:
            rows.lock_stored(stored_id, repository)
            return not rows.count_owners(
                stored_id, repository, Scope.everything(), statuses=staying, besides=row.id
            )

        return self._catalog.write(is_last)


def _remove(rows: Rows, backup_id: str) -> None:
    """Remove the row unless it was reset meanwhile; what is stored may be gone all the same."""
    if locked(rows, backup_id, Scope.everything()).status is BackupStatus.DELETING:
        rows.remove_backup(backup_id)


def _delete_stored(repository: Repository, row: BackupRow) -> None:
    """Delete a stored backup; one that was never begun is given up, so that nobody begins it."""
    stored_id = row.stored_id or ""
    try:
        delete(repository, stored_id)
    except BackupMissing:
        tag = volume_tag(row.volume_id, repository.domain().id_key)
        registers = repository.registers
        registers.delete(registers.history(tag, BackupId(stored_id)))
