"""Delete a backup: one register says so, and every other backup stays whole.

No pack is touched: space is given back by pruning, which finds what nothing refers to.
"""

from __future__ import annotations

import logging

from backupcore.model import BackupId
from backupcore.repository import Repository

__all__ = ["delete"]

log = logging.getLogger(__name__)


def delete(repository: Repository, backup: str, *, volume_id: str | None = None) -> BackupId:
    """Delete a backup and return its id; it cannot come back.

    backup: as `Repository.history` takes it, or the whole id of a backup that was begun and not
    finished: it will not be. Raises: BackupMissing, Refused, StoreError.
    """
    repository.require_writable()
    history = repository.deletable(backup, volume_id)
    repository.registers.delete(history)
    log.info("backup deleted", extra={"backup": history.backup_id})
    return history.backup_id
