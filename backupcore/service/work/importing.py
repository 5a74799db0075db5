"""The second half of an import: what the store says of a record, and only that, enters the row."""

from __future__ import annotations

import logging
from contextlib import suppress

from backupcore.catalog.change import BackupChanges
from backupcore.catalog.error import QuotaExceeded, RowMissing, WrongStatus
from backupcore.catalog.row import BackupRow
from backupcore.catalog.status import BackupMove, BackupStatus
from backupcore.errors import Stopped
from backupcore.job import JobRun
from backupcore.record import Facts, Record, RecordRefused, check_against_store
from backupcore.service.context import Context
from backupcore.service.meaning import gib
from backupcore.service.work.reason import reason_of

__all__ = ["Importing"]

log = logging.getLogger(__name__)

INCOMPLETE = "incomplete import reset on manager restart: import the record again"


class Importing:
    """Holds the records that are being imported, and settles their rows."""

    def __init__(self, context: Context) -> None:
        self._catalog = context.catalog
        self._stores = context.stores
        self._records: dict[str, Record] = {}

    def expect(self, row: BackupRow, record: Record) -> None:
        """Keep a verified record until its job runs."""
        self._records[row.id] = record

    def do(self, row: BackupRow, run: JobRun) -> None:
        """Compare a record with the store and finish its row. Raises: what the store raises."""
        record = self._records.pop(row.id, None)
        if row.status is not BackupStatus.CREATING or not row.is_imported:
            return
        if record is None:
            self._fail(row, INCOMPLETE)
            return
        try:
            with self._stores.open(
                row.repository or "", stop=run.stop, read_only=True
            ) as repository:
                facts = check_against_store(record, repository, stop=run.stop)
            self._finish(row, facts)
        except RecordRefused as error:
            log.warning("record refused", extra={"backup": row.id, "reason": str(error.reason)})
            self._fail(row, f"record rejected: {error.reason}")
        except QuotaExceeded as error:
            self._fail(row, f"record rejected: quota of {error.resource} exceeded")
        except Stopped:
            self._fail(row, INCOMPLETE)
            raise
        except BaseException as error:
            self._fail(row, f"record rejected: {reason_of(error)}")
            raise

    def _finish(self, row: BackupRow, facts: Facts) -> None:
        stored = facts.backup
        changes: BackupChanges = {
            "volume_id": stored.volume_id,
            "size": gib(stored.size_bytes),
            "size_bytes": stored.size_bytes,
            "object_count": stored.sums.object_count,
            "is_incremental": stored.is_incremental,
            "data_timestamp": stored.started_at,
        }
        with suppress(WrongStatus, RowMissing):
            self._catalog.write(lambda rows: rows.move_backup(row.id, BackupMove.FINISH, **changes))

    def _fail(self, row: BackupRow, reason: str) -> None:
        """Fail the row; from then on it names nothing that is stored."""
        with suppress(WrongStatus, RowMissing):
            self._catalog.write(
                lambda rows: rows.move_backup(
                    row.id, BackupMove.FAIL, fail_reason=reason, stored_id=None
                )
            )
