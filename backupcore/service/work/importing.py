"""The second half of an import: what the store says of a record enters the row, and its wishes.

Facts are the store's; a name, metadata or a date may be anything and decides nothing.

An import becomes an owner of what is stored in one transaction, after the store has confirmed the
record; then the store is asked once more, and the row is finished. Whoever deletes the last owner
before that deletes what is stored, and the import fails as if it had come later.
"""

from __future__ import annotations

import logging

from backupcore.catalog.change import BackupChanges
from backupcore.catalog.error import QuotaExceeded
from backupcore.catalog.rebuild import opaque_volume_id, volume_texts
from backupcore.catalog.row import BackupRow
from backupcore.catalog.status import BackupStatus
from backupcore.errors import Stopped
from backupcore.job import JobRun
from backupcore.model import Backup
from backupcore.record import (
    Cover,
    Record,
    RecordRefused,
    check_against_store,
    check_is_current,
)
from backupcore.repository import Repository
from backupcore.service.context import Context
from backupcore.service.error import Invalid
from backupcore.service.meaning import gib
from backupcore.service.work.outcome import confirm_import, fail_import, finish_import
from backupcore.service.work.reason import reason_of

__all__ = ["INCOMPLETE", "Importing"]

log = logging.getLogger(__name__)

INCOMPLETE = "incomplete import reset on manager restart: import the record again"


class Importing:
    """Settles the rows of records that are being imported."""

    def __init__(self, context: Context) -> None:
        self._catalog = context.catalog
        self._stores = context.stores

    def do(self, row: BackupRow, record: object, run: JobRun) -> None:
        """Compare a record with the store and finish its row. Raises: what the store raises.

        record: a verified `Record`.
        """
        if row.status is not BackupStatus.CREATING or not row.is_imported:
            return
        if not isinstance(record, Record):
            self._fail(row, INCOMPLETE)
            return
        try:
            with self._stores.open(
                row.repository or "", stop=run.stop, read_only=True
            ) as repository:
                self._bring_in(row, record, repository, run)
        except RecordRefused as error:
            log.warning("record refused", extra={"backup": row.id, "reason": str(error.reason)})
            self._fail(row, f"record rejected: {error.reason}")
        except QuotaExceeded as error:
            self._fail(row, f"record rejected: quota of {error.resource} exceeded")
        except Invalid as error:
            self._fail(row, f"record rejected: {error}")
        except Stopped:
            self._fail(row, INCOMPLETE)
            raise
        except BaseException as error:
            self._fail(row, f"record rejected: {reason_of(error)}")
            raise

    def _bring_in(
        self, row: BackupRow, record: Record, repository: Repository, run: JobRun
    ) -> None:
        facts = check_against_store(record, repository, stop=run.stop)
        changes = _changes(repository, facts.backup) | _granted(record.cover, facts.backup)
        if self._catalog.write(lambda rows: confirm_import(rows, row, changes)):
            check_is_current(facts, repository)
            self._catalog.write(lambda rows: finish_import(rows, row))

    def _fail(self, row: BackupRow, reason: str) -> None:
        self._catalog.write(lambda rows: fail_import(rows, row, reason))


def _changes(repository: Repository, stored: Backup) -> BackupChanges:
    """Return what the store says of a backup, as a row tells it."""
    changes: BackupChanges = {
        "volume_id": opaque_volume_id(repository, stored),
        "size": gib(stored.size_bytes),
        "size_bytes": stored.size_bytes,
        "object_count": stored.sums.object_count,
        "is_incremental": stored.is_incremental,
    }
    return changes | volume_texts(stored)


def _granted(cover: Cover, stored: Backup) -> BackupChanges:
    """Return what the importer wishes and nobody has to believe."""
    return {
        "name": cover.name,
        "description": cover.description,
        "metadata": cover.metadata,
        "snapshot_id": cover.snapshot_id,
        "data_timestamp": cover.data_timestamp or stored.started_at,
    }
