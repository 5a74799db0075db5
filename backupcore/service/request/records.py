"""Export and import of records: what travels names a backup, never a place."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import timedelta

from backupcore.catalog import Rows
from backupcore.catalog.row import BackupRow
from backupcore.catalog.status import BackupStatus
from backupcore.errors import BackupError, BackupMissing, Stopped
from backupcore.job import Engine, JobKind
from backupcore.model import Backup
from backupcore.record import (
    Reason,
    Record,
    RecordRefused,
    SigningKey,
    TrustedKeys,
    Wishes,
    belongs_to,
    check_service_name,
    decode,
    encode,
    make_record,
    service_name,
    verify,
)
from backupcore.repository import Repository
from backupcore.service.caller import Caller
from backupcore.service.context import Context
from backupcore.service.error import Invalid, Missing, NotReady
from backupcore.service.meaning import explained
from backupcore.service.request.backups import Backups
from backupcore.service.work import order_of
from backupcore.service.work.outcome import check_stays
from backupcore.service.work.reason import reason_of

__all__ = ["ExportedRecord", "Records"]

log = logging.getLogger(__name__)

PLACEHOLDER_VOLUME = "00000000-0000-0000-0000-000000000000"  # until the store was asked

_REFUSALS = {
    Reason.MALFORMED: "Invalid input received: Can't parse backup record.",
    Reason.NO_ID: "Invalid input received: Provided backup record is missing an id",
    Reason.NO_SIZE: "Invalid input received: Provided backup record is missing size attribute",
    Reason.FOREIGN: "Invalid input received: this is no backup record of this service.",
    Reason.UNTRUSTED: "Invalid input received: nobody trusted here signed the backup record.",
    Reason.FORGED: "Invalid input received: nobody trusted here signed the backup record.",
    Reason.EARLY: "Invalid input received: the backup record was made in the future.",
    Reason.EXPIRED: "Invalid input received: the backup record has expired: export it again.",
}


@dataclass(frozen=True, slots=True)
class ExportedRecord:
    """The two texts that travel."""

    backup_service: str
    backup_url: str


class Records:
    """The use cases of records."""

    def __init__(self, context: Context, backups: Backups, engine: Engine) -> None:
        settings = context.settings
        self._settings = settings
        self._catalog = context.catalog
        self._stores = context.stores
        self._policy = context.policy
        self._runtime = context.runtime
        self._backups = backups
        self._engine = engine
        self._key = SigningKey.load_or_create(settings.path(settings.records.key_file))
        self._trusted_folder = settings.path(settings.records.trusted_folder)
        self._trusted_folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def export(self, caller: Caller, backup_id: str) -> ExportedRecord:
        """Return a backup's signed record. Raises: Missing, Invalid, Denied."""
        row = self._backups.show(caller, backup_id, "backup:export-import")
        if row.status is not BackupStatus.AVAILABLE:
            raise Invalid("Invalid backup: Backup status must be available and not creating.")
        days = self._settings.records.expiry_days
        try:
            with self._stores.open(row.repository or "", read_only=True) as repository:
                record = make_record(
                    repository,
                    _found(repository, row),
                    project_id=row.project_id,
                    wishes=_wishes(row),
                    lifetime=None if days is None else timedelta(days=days),
                )
        except BackupError as error:
            log.warning("record not made", extra={"backup": row.id, "reason": str(error)})
            raise Invalid(f"Invalid backup: {reason_of(error)}") from error
        scheme = self._stores.service_scheme(row.repository or "")
        return ExportedRecord(service_name(scheme), encode(record, self._key))

    def take(self, caller: Caller, exported: ExportedRecord) -> BackupRow:
        """Begin an import and return its row, which has no name before the store was asked.

        Raises: Invalid, Missing, OverQuota, Denied.
        """
        self._policy.check("backup:backup-import", caller)
        record = self._verified(exported)
        claim, cover = record.claim, record.cover
        name = self._stores.name_of(claim.repository_id)
        if name is None:
            raise Invalid("Invalid input received: the record's repository is not configured here.")
        if not caller.is_admin:
            self._check_owner(record, name, caller)
        row = BackupRow(
            id=cover.id,
            project_id=caller.project_id,
            user_id=caller.user_id,
            volume_id=PLACEHOLDER_VOLUME,
            status=BackupStatus.CREATING,
            container=self._stores.label_of(name),
            repository=name,
            stored_id=claim.backup_id,
            is_imported=True,
            availability_zone=self._settings.availability_zone,
            host=self._settings.host,
            request_id=caller.request_id,
            created_at=cover.created_at or self._runtime.clock.now(),
        )

        def add(rows: Rows) -> None:
            check_stays(rows, claim.backup_id, name)
            rows.add_backup(row, room=cover.size)

        with explained():
            self._catalog.write(add)
        try:
            self._engine.submit(order_of(JobKind.IMPORT, row, record))
        except Stopped as error:
            raise NotReady("The backup service is stopping: try again later.") from error
        return row

    def _verified(self, exported: ExportedRecord) -> Record:
        try:
            check_service_name(exported.backup_service)
            unverified = decode(exported.backup_url)
            trusted = TrustedKeys.load(self._trusted_folder).including(self._key)
            return verify(unverified, trusted, now=self._runtime.clock.now())
        except RecordRefused as error:
            log.warning("record refused", extra={"reason": str(error.reason)})
            raise Invalid(_REFUSALS.get(error.reason, _REFUSALS[Reason.MALFORMED])) from error

    def _check_owner(self, record: Record, name: str, caller: Caller) -> None:
        """Raise Missing unless the record is of the caller's project."""
        with self._stores.open(name, read_only=True) as repository:
            if belongs_to(record, repository, caller.project_id):
                return
        raise Missing(f"Backup {record.cover.id} could not be found.")


def _found(repository: Repository, row: BackupRow) -> Backup:
    """Return a row's stored backup, whose volume may have another name there.

    Raises: BackupMissing, StoreError.
    """
    try:
        return repository.find_backup(row.stored_id or "", row.volume_id)
    except BackupMissing:
        return repository.find_backup(row.stored_id or "")


def _wishes(row: BackupRow) -> Wishes:
    return Wishes(
        id=row.id,
        name=row.name or "",
        description=row.description or "",
        metadata=row.metadata,
        container=row.container,
        snapshot_id=row.snapshot_id,
        data_timestamp=row.data_timestamp,
        created_at=row.created_at,
    )
