"""Filling a catalog from a repository, which needs nothing but the store.

Each backup that no row names is looked up again right before its row is added, so what was deleted
or given up since the repository was listed gets none. Rows that exist stay as they are.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from backupcore.catalog import Catalog
from backupcore.catalog.error import RowExists
from backupcore.catalog.listing import Scope
from backupcore.catalog.query.writing import Rows
from backupcore.catalog.row import BackupRow
from backupcore.catalog.schema import TEXT_LENGTH_MAX
from backupcore.catalog.status import BackupStatus
from backupcore.errors import ManifestDamaged
from backupcore.model import Backup
from backupcore.repository import Repository
from backupcore.repository.register import History
from backupcore.units import GIB

__all__ = ["Rebuilt", "rebuild"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What became of the backups of a repository.

    added: now have a row. known: had one. gone: were deleted or never committed. taken: another
    backup's row has their id. damaged: their register cannot be read; the log names them.
    """

    added: int = 0
    known: int = 0
    gone: int = 0
    taken: int = 0
    damaged: int = 0


def rebuild(
    catalog: Catalog,
    repository: Repository,
    *,
    container: str,
    project_of: Callable[[Backup], str],
    repository_name: str | None = None,
) -> Rebuilt:
    """Add a row for each backup of a repository that no row names.

    container: what the rows show as such. project_of: whose the row of a backup is.
    repository_name: the configured one, the same as the container unless given. Quotas are not
    looked at: the backups are there. A repetition goes on where a run ended.
    Raises: StoreError, Unsupported, CatalogUnavailable.
    """
    filling = _Filling(catalog, repository, container, repository_name or container, project_of)
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

    def fill(self, history: History) -> str:
        """Add the row of one backup where it lacks; return which count it belongs to."""
        with self.catalog.reading() as rows:
            if rows.has_stored(history.backup_id, self.name, Scope.everything()):
                return "known"
        try:
            registers = self.repository.registers
            now = registers.history(history.volume_tag, history.backup_id)
            manifest = registers.manifest(now)
        except ManifestDamaged as error:
            log.error("backup gets no row", extra={"reason": str(error)})
            return "damaged"
        if manifest is None:
            return "gone"
        row = self._row(manifest.backup)
        try:
            return self.catalog.write(lambda rows: self._add(rows, row))
        except RowExists:
            return "taken"

    def _add(self, rows: Rows, row: BackupRow) -> str:
        if rows.has_stored(row.id, self.name, Scope.everything()):
            return "known"
        rows.add_backup(row, is_counted=False)
        return "added"

    def _row(self, backup: Backup) -> BackupRow:
        return BackupRow(
            id=backup.id,
            project_id=self.project_of(backup),
            volume_id=backup.volume_id,
            status=BackupStatus.AVAILABLE,
            name=_fit(backup.name),
            description=_fit(backup.description),
            metadata=dict(backup.labels),
            container=self.container,
            repository=self.name,
            stored_id=backup.id,
            size=-(-backup.size_bytes // GIB),
            size_bytes=backup.size_bytes,
            object_count=backup.sums.object_count,
            is_incremental=backup.is_incremental,
            parent_id=backup.base_id,
            data_timestamp=backup.started_at,
            created_at=backup.started_at,
            updated_at=backup.committed_at,
        )


def _fit(text: str) -> str | None:
    """Return as much of a text as a row can hold, None for an empty one."""
    clean = text.replace("\0", "\ufffd").encode(errors="replace").decode()
    return clean[:TEXT_LENGTH_MAX] or None
