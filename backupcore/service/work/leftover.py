"""Snapshots that were made for one backup and are still there when nobody needs them."""

from __future__ import annotations

import logging
import re
from contextlib import suppress

from backupcore.catalog import Catalog, Scope
from backupcore.catalog.error import RowMissing
from backupcore.catalog.row import VolumeRow
from backupcore.catalog.status import BackupStatus
from backupcore.errors import BackupError, NotFound
from backupcore.provider import Provider

__all__ = ["drop_leftovers", "drop_snapshots", "temporary_hint"]

log = logging.getLogger(__name__)

_TEMPORARY = re.compile("backup-([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")


def temporary_hint(backup_id: str) -> str:
    """Return what the snapshot is called that is made for a backup."""
    return f"backup-{backup_id}"


def drop_leftovers(
    catalog: Catalog, provider: Provider, volume: VolumeRow, *, is_leaving: bool = False
) -> None:
    """Delete the snapshots of a volume whose backups are not under way; failures are logged.

    A backup without a row may be another service's: its snapshot stays unless the volume leaves.
    The row of a backup is there before its snapshot, so what is listed first is asked for then.
    """
    try:
        listed = [found.name for found in provider.list_snapshots(volume.place)]
        for name in listed:
            made_for = _TEMPORARY.fullmatch(name)
            if made_for and not _is_needed(catalog, made_for[1], if_unknown=not is_leaving):
                drop_snapshots(provider, volume.place, name)
    except BackupError as error:
        facts = {"volume": volume.id, "reason": str(error)}
        log.warning("snapshot of a backup not deleted", extra=facts)


def drop_snapshots(provider: Provider, place: str, hint: str) -> None:
    """Delete what a volume has of a name. Raises: SourceError, TargetError."""
    for found in list(provider.list_snapshots(place)):
        if found.name == hint:
            with suppress(NotFound):
                provider.delete_snapshot(found.place)


def _is_needed(catalog: Catalog, backup_id: str, *, if_unknown: bool) -> bool:
    try:
        with catalog.reading() as rows:
            row = rows.backup(backup_id, Scope.everything())
    except RowMissing:
        return if_unknown
    return row.status is BackupStatus.CREATING
