"""The audit log: who changed what, or was kept from it, one line of JSON each, only ever added to.

{"time": …, "request_id": …, "user": …, "project": …, "action": "delete", "target": …, "result": …}

target: the backup's id, null where there is none; of a call that is none of these, the project.
volume: what a create reads or a restore writes. result: `accepted` (what takes long is a job's,
whose end the log tells), `denied` by the policy, or `refused`, with the reason that the caller was
told. The file is opened for each line, so it may be moved away at any time.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backupcore.catalog.change import BackupChanges
from backupcore.catalog.row import BackupRow
from backupcore.errors import BackupError, Refused
from backupcore.job import Engine
from backupcore.runtime import Clock
from backupcore.service.caller import Caller
from backupcore.service.context import Context
from backupcore.service.error import Denied
from backupcore.service.policy import Policy
from backupcore.service.request.backups import Backups, BackupWish, Restoring
from backupcore.service.request.records import ExportedRecord, Records
from backupcore.service.request.target import RestoreWish
from backupcore.service.request.volumes import Volumes

__all__ = ["Audit", "AuditedBackups", "AuditedPolicy", "AuditedRecords"]

log = logging.getLogger(__name__)

_ENTRY: ContextVar[Entry | None] = ContextVar("backupcore_audit_entry", default=None)


@dataclass(slots=True)
class Entry:
    """What is being done, while it is."""

    action: str
    target: str | None
    volume: str | None = None


class Audit:
    """Writes the log. path: None for none. Raises: Refused when nothing can be added to it."""

    def __init__(self, path: Path | None, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._lock = threading.Lock()
        if path is not None:
            try:
                _add_to(path, b"")
            except OSError as error:
                raise Refused(f"{path}: audit_file: {error.strerror}") from error

    @contextmanager
    def entry(
        self, caller: Caller, action: str, target: str | None, volume: str | None = None
    ) -> Iterator[Entry]:
        """Write what became of the block; it may name target and volume once it knows."""
        entry = Entry(action, target, volume)
        token = _ENTRY.set(entry)
        try:
            yield entry
        except Denied as error:
            self._write(caller, entry, "denied", str(error))
            raise
        except BackupError as error:
            self._write(caller, entry, "refused", str(error))
            raise
        except BaseException as error:
            self._write(caller, entry, "refused", type(error).__name__)
            raise
        finally:
            _ENTRY.reset(token)
        self._write(caller, entry, "accepted")

    def deny(self, caller: Caller, rule: str, project_id: str | None) -> None:
        """Write that a rule kept a caller from what has no entry of its own, such as a list."""
        if _ENTRY.get() is None:
            self._write(caller, Entry(rule, project_id), "denied")

    def _write(self, caller: Caller, entry: Entry, result: str, reason: str | None = None) -> None:
        if self._path is None:
            return
        line: dict[str, Any] = {
            "time": self._clock.now().isoformat(),
            "request_id": caller.request_id,
            "user": caller.user_id,
            "project": caller.project_id,
            "action": entry.action,
            "target": entry.target,
            "result": result,
        }
        if entry.volume is not None:
            line["volume"] = entry.volume
        if reason is not None:
            line["reason"] = reason
        try:
            with self._lock:
                _add_to(self._path, json.dumps(line).encode() + b"\n")
        except OSError as error:
            log.error("audit log not written", extra={"reason": error.strerror, **line})


def _add_to(path: Path, line: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(path, flags, 0o600)
    with os.fdopen(descriptor, "wb", buffering=0) as file:
        if line:
            file.write(line)


class AuditedPolicy(Policy):
    """A policy whose refusals are written down."""

    def __init__(self, policy_file: Path | None, audit: Audit) -> None:
        super().__init__(policy_file)
        self._audit = audit

    def check(self, rule: str, caller: Caller, project_id: str | None = None) -> None:
        """Let pass or not. Raises: Denied."""
        try:
            super().check(rule, caller, project_id)
        except Denied:
            self._audit.deny(caller, rule, project_id)
            raise


class AuditedBackups(Backups):
    """The use cases of backups; those that change something are written down."""

    def __init__(self, context: Context, volumes: Volumes, engine: Engine, *, audit: Audit) -> None:
        super().__init__(context, volumes, engine)
        self._audit = audit

    def create(self, caller: Caller, wish: BackupWish) -> BackupRow:
        """Begin a backup and return its row."""
        with self._audit.entry(caller, "create", None, wish.volume_id) as entry:
            row = super().create(caller, wish)
            entry.target = row.id
            return row

    def restore(self, caller: Caller, backup_id: str, wish: RestoreWish) -> Restoring:
        """Begin a restore."""
        with self._audit.entry(caller, "restore", backup_id, wish.volume_id) as entry:
            restoring = super().restore(caller, backup_id, wish)
            entry.volume = restoring.volume.id
            return restoring

    def delete(self, caller: Caller, backup_id: str) -> None:
        """Begin a deletion."""
        with self._audit.entry(caller, "delete", backup_id):
            super().delete(caller, backup_id)

    def force_delete(self, caller: Caller, backup_id: str) -> None:
        """Begin a deletion whatever the backup's status."""
        with self._audit.entry(caller, "force-delete", backup_id):
            super().force_delete(caller, backup_id)

    def reset(self, caller: Caller, backup_id: str, status: str) -> None:
        """Set the status."""
        with self._audit.entry(caller, "reset", backup_id):
            super().reset(caller, backup_id, status)

    def update(self, caller: Caller, backup_id: str, changes: BackupChanges) -> BackupRow:
        """Change name, description or metadata."""
        with self._audit.entry(caller, "update", backup_id):
            return super().update(caller, backup_id, changes)


class AuditedRecords(Records):
    """The use cases of records, written down."""

    def __init__(self, context: Context, backups: Backups, engine: Engine, *, audit: Audit) -> None:
        super().__init__(context, backups, engine)
        self._audit = audit

    def export(self, caller: Caller, backup_id: str) -> ExportedRecord:
        """Return a backup's signed record."""
        with self._audit.entry(caller, "export", backup_id):
            return super().export(caller, backup_id)

    def take(self, caller: Caller, exported: ExportedRecord) -> BackupRow:
        """Begin an import and return its row."""
        with self._audit.entry(caller, "import", None) as entry:
            row = super().take(caller, exported)
            entry.target = row.id
            return row
