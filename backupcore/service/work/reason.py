"""What a project is told of a failure; details are for the operator's log."""

from __future__ import annotations

from backupcore.catalog.error import CatalogUnavailable
from backupcore.errors import (
    AccessDenied,
    BackupMissing,
    Damaged,
    NotFound,
    Refused,
    RepositoryMissing,
    SessionFenced,
    SourceError,
    Stopped,
    StoreError,
    StoreFull,
    TargetError,
    TargetTooSmall,
    Unavailable,
)

__all__ = ["reason_of"]

# The first that fits counts: special ones before the branch they belong to.
_REASONS: tuple[tuple[type[BaseException], str], ...] = (
    (Stopped, "stopped before it was done"),
    (SessionFenced, "ended: another process took it over or deleted it"),
    (StoreFull, "the backup store is full"),
    (AccessDenied, "the backup store refused access"),
    (CatalogUnavailable, "the catalog did not answer"),
    (Unavailable, "the backup store did not answer"),
    (StoreError, "the backup store failed"),
    (BackupMissing, "the stored backup is not there"),
    (RepositoryMissing, "the backup store is not there"),
    (NotFound, "the volume is not there"),
    (Damaged, "the stored backup is damaged"),
    (SourceError, "the volume could not be read"),
    (TargetTooSmall, "the volume is too small"),
    (TargetError, "the volume could not be written"),
    (Refused, "it was refused; the operator's log tells more"),
)


def reason_of(error: BaseException) -> str:
    """Return a text without names, paths or addresses of the operator's."""
    for kind, reason in _REASONS:
        if isinstance(error, kind):
            return reason
    return "an internal error; the operator's log tells more"
