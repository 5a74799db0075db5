"""Filling a catalog from a repository, which needs nothing but the store.

Each backup that no row names gets one in two steps, for a service may work meanwhile: its row is
added as one that is being made, so that whoever deletes from then on counts it; then the store is
asked once more. What is still there becomes available; the row of what was deleted goes again.
Rows that exist stay as they are.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from uuid import UUID

from backupcore.catalog import Catalog
from backupcore.catalog.change import BackupChanges
from backupcore.catalog.error import RowExists, RowMissing, WrongStatus
from backupcore.catalog.listing import Scope
from backupcore.catalog.query.writing import Rows
from backupcore.catalog.row import BackupRow
from backupcore.catalog.schema import TEXT_LENGTH_MAX
from backupcore.catalog.status import BackupMove, BackupStatus
from backupcore.errors import ManifestDamaged, Refused
from backupcore.model import Backup
from backupcore.repository import Repository
from backupcore.repository.key import volume_tag
from backupcore.repository.label import ServiceLabels
from backupcore.repository.manifest import Manifest
from backupcore.repository.register import History
from backupcore.units import GIB

__all__ = ["Rebuilt", "opaque_volume_id", "rebuild", "volume_texts"]

log = logging.getLogger(__name__)

_EVERYTHING = Scope.everything()
_UNFINISHED = BackupStatus.CREATING
_UUID = re.compile("[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What became of the backups of a repository.

    added: now have a row. known: had one. gone: were deleted or never committed. taken: another
    backup's row has their id. damaged: their register cannot be read; skipped: a row cannot hold
    what they say; the log names both.
    """

    added: int = 0
    known: int = 0
    gone: int = 0
    taken: int = 0
    damaged: int = 0
    skipped: int = 0


def rebuild(
    catalog: Catalog,
    repository: Repository,
    *,
    container: str,
    project_of: Callable[[Backup], str],
    repository_name: str | None = None,
    availability_zone: str | None = None,
) -> Rebuilt:
    """Add a row for each backup of a repository that no row names.

    container, availability_zone: what the rows show as such. project_of: whose the row of a backup
    is. repository_name: the configured one, the same as the container unless given. Quotas are not
    looked at: the backups are there. A repetition goes on where a run ended. A service may work
    on the same catalog and repository meanwhile.
    Raises: StoreError, Unsupported, CatalogUnavailable.
    """
    filling = _Filling(
        catalog, repository, container, repository_name or container, project_of, availability_zone
    )
    counts = dict.fromkeys(Rebuilt.__dataclass_fields__, 0)
    for history in repository.registers.histories():
        counts[filling.fill(history)] += 1
    rebuilt = Rebuilt(**counts)
    log.info("catalog rebuilt", extra={"repository": filling.name, **counts})
    return rebuilt


@dataclass(frozen=True, slots=True)
class _Filling:
    catalog: Catalog
    repository: Repository
    container: str
    name: str
    project_of: Callable[[Backup], str]
    zone: str | None = None

    def fill(self, history: History) -> str:
        """Add the row of one backup where it lacks; return which count it belongs to."""
        with self.catalog.reading() as rows:
            named = rows.backups_naming(history.backup_id, self.name, _EVERYTHING)
        unfinished = next((row for row in named if _is_unfinished(row)), None)
        if named and unfinished is None:
            return "known"
        try:
            if unfinished is not None:
                return self._finish(unfinished, history)
            manifest = self._manifest(history)
            return "gone" if manifest is None else self._begin(manifest.backup, history)
        except ManifestDamaged as error:
            log.error("backup gets no row", extra={"reason": str(error)})
            return "damaged"

    def _manifest(self, history: History) -> Manifest | None:
        """Return what the store says now. Raises: ManifestDamaged, StoreError."""
        registers = self.repository.registers
        return registers.manifest(registers.history(history.volume_tag, history.backup_id))

    def _begin(self, backup: Backup, history: History) -> str:
        row = self._row(backup)
        try:
            became = self.catalog.write(lambda rows: self._add(rows, row))
        except RowExists:
            return "taken"
        except Refused as error:
            facts = {"backup": backup.id, "volume": backup.volume_id, "reason": str(error)}
            log.warning("backup gets no row", extra=facts)
            return "skipped"
        if became == "added" and row.volume_id != backup.volume_id:
            facts = {"backup": row.id, "volume": backup.volume_id, "volume_id": row.volume_id}
            log.info("volume has another id in the catalog", extra=facts)
        return self._finish(row, history) if became == "added" else became

    def _add(self, rows: Rows, row: BackupRow) -> str:
        rows.lock_stored(row.id, self.name)
        if rows.has_stored(row.id, self.name, _EVERYTHING):
            return "known"
        rows.add_backup(replace(row, status=_UNFINISHED, is_imported=True), is_counted=False)
        return "added"

    def _finish(self, row: BackupRow, history: History) -> str:
        """Finish an added row when its backup is still there, or remove it.

        What ends this in between leaves the row to a repetition or to the service's next start.
        Raises: ManifestDamaged, StoreError.
        """
        is_there = self._manifest(history) is not None

        def settle(rows: Rows) -> str:
            if not is_there:
                rows.lock_stored(history.backup_id, self.name)
                if rows.backup(row.id, _EVERYTHING).status is _UNFINISHED:
                    rows.remove_backup(row.id)
                return "gone"
            rows.move_backup(row.id, BackupMove.FINISH, is_imported=False)
            return "added"

        try:
            return self.catalog.write(settle)
        except WrongStatus:
            return "known"  # the service's start, or an admin, was faster
        except RowMissing:
            return "gone"

    def _row(self, backup: Backup) -> BackupRow:
        row = BackupRow(
            id=backup.id,
            project_id=self.project_of(backup),
            volume_id=opaque_volume_id(self.repository, backup),
            status=BackupStatus.AVAILABLE,
            name=_fit(backup.name),
            description=_fit(backup.description),
            metadata=ServiceLabels.read(backup.labels).metadata,
            container=self.container,
            repository=self.name,
            stored_id=backup.id,
            size=-(-backup.size_bytes // GIB),
            size_bytes=backup.size_bytes,
            object_count=backup.sums.object_count,
            is_incremental=backup.is_incremental,
            parent_id=backup.base_id,
            availability_zone=self.zone,
            data_timestamp=backup.started_at,
            created_at=backup.started_at,
            updated_at=backup.committed_at,
        )
        return replace(row, **volume_texts(backup))


def opaque_volume_id(repository: Repository, backup: Backup) -> str:
    """Return the id of a backup's volume as projects may see it, a UUID.

    A volume of a service has it already. The command line calls a volume by its path, which is
    nobody's business: its id becomes what the repository calls the volume, a keyed digest.
    """
    if _UUID.fullmatch(backup.volume_id):
        return backup.volume_id
    return str(UUID(hex=volume_tag(backup.volume_id, repository.domain(backup.domain_id).id_key)))


def volume_texts(backup: Backup) -> BackupChanges:
    """Return what the labels of a backup tell of its volume, as a row can hold it."""
    found = ServiceLabels.read(backup.labels)
    return {
        "volume_name": _fit(found.volume_name or ""),
        "volume_description": _fit(found.volume_description or ""),
        "volume_metadata": found.volume_metadata,
    }


def _is_unfinished(row: BackupRow) -> bool:
    """Return whether a rebuilding added a row and ended; an import has the id of its request."""
    is_rebuilt = row.is_imported and row.request_id is None
    return is_rebuilt and row.size_bytes is not None and row.status is _UNFINISHED


def _fit(text: str) -> str | None:
    """Return as much of a text as a row can hold, None for an empty one."""
    clean = text.replace("\0", "\ufffd").encode(errors="replace").decode()
    return clean[:TEXT_LENGTH_MAX] or None
