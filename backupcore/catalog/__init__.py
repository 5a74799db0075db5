"""The catalog: the database of backups, volumes, snapshots, jobs and quotas.

It is a cache plus the state of work: what a backup is stands in its repository, and `rebuild`
fills an empty catalog from there. SQLite by default, PostgreSQL by URL.

    with Catalog.open("sqlite:///catalog.db") as catalog:
        catalog.write(lambda rows: rows.add_backup(row))
        with catalog.reading() as rows:
            page = rows.page_backups(Scope.of("project"), Listing(limit=50))
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from types import MappingProxyType
from typing import TypeVar

from backupcore.catalog import migration
from backupcore.catalog.database import Database
from backupcore.catalog.error import (
    BadListing,
    CatalogOutdated,
    CatalogTooNew,
    CatalogUnavailable,
    QuotaExceeded,
    RowExists,
    RowInUse,
    RowMissing,
    WrongStatus,
)
from backupcore.catalog.listing import Listing, Page, Scope
from backupcore.catalog.query.quota import DEFAULT_LIMITS, UNLIMITED, Usage, check_limits
from backupcore.catalog.query.reading import ReadRows
from backupcore.catalog.query.value import (
    BACKUP,
    SNAPSHOT,
    VOLUME,
    filter_columns,
    sort_columns,
)
from backupcore.catalog.query.writing import Rows
from backupcore.catalog.row import BackupRow, JobRow, SnapshotRow, VolumeRow
from backupcore.catalog.status import (
    BackupMove,
    BackupStatus,
    JobKind,
    JobMove,
    JobStatus,
    SnapshotMove,
    SnapshotStatus,
    VolumeMove,
    VolumeStatus,
)
from backupcore.closing import Closing
from backupcore.runtime import Runtime

__all__ = [
    "BACKUP_FILTERS",
    "BACKUP_SORT_KEYS",
    "DEFAULT_LIMITS",
    "SNAPSHOT_FILTERS",
    "SNAPSHOT_SORT_KEYS",
    "UNLIMITED",
    "VOLUME_FILTERS",
    "VOLUME_SORT_KEYS",
    "BackupMove",
    "BackupRow",
    "BackupStatus",
    "BadListing",
    "Catalog",
    "CatalogOutdated",
    "CatalogTooNew",
    "CatalogUnavailable",
    "JobKind",
    "JobMove",
    "JobRow",
    "JobStatus",
    "Listing",
    "Page",
    "QuotaExceeded",
    "ReadRows",
    "RowExists",
    "RowInUse",
    "RowMissing",
    "Rows",
    "Scope",
    "SnapshotMove",
    "SnapshotRow",
    "SnapshotStatus",
    "Usage",
    "VolumeMove",
    "VolumeRow",
    "VolumeStatus",
    "WrongStatus",
]

T = TypeVar("T")
BACKUP_FILTERS = filter_columns(BACKUP)
BACKUP_SORT_KEYS = sort_columns(BACKUP)
VOLUME_FILTERS = filter_columns(VOLUME)
VOLUME_SORT_KEYS = sort_columns(VOLUME)
SNAPSHOT_FILTERS = filter_columns(SNAPSHOT)
SNAPSHOT_SORT_KEYS = sort_columns(SNAPSHOT)


class Catalog(Closing):
    """An open catalog; any number of threads may use it, each transaction belongs to one."""

    def __init__(
        self, database: Database, runtime: Runtime, default_limits: Mapping[str, int]
    ) -> None:
        self._database = database
        self._clock = runtime.clock
        self._default_limits = default_limits

    @classmethod
    def open(
        cls,
        url: str,
        *,
        runtime: Runtime | None = None,
        upgrade: bool = True,
        default_limits: Mapping[str, int] | None = None,
    ) -> Catalog:
        """Open the catalog at a URL: `sqlite:///FILE` or `postgresql://…`.

        upgrade: whether tables of an older release, or none, are brought to this one's.
        default_limits: where they differ from `DEFAULT_LIMITS`.
        Raises: CatalogOutdated, CatalogTooNew, CatalogUnavailable, UnknownScheme, Refused.
        """
        check_limits(default_limits or {})
        runtime = runtime or Runtime()
        limits = MappingProxyType({**DEFAULT_LIMITS, **(default_limits or {})})
        catalog = cls(Database(url, runtime), runtime, limits)
        try:
            if upgrade:
                catalog.upgrade()
            else:
                migration.check_version(catalog.schema_version(), catalog.name)
        except BaseException:
            catalog.close()
            raise
        return catalog

    @property
    def name(self) -> str:
        """The URL without a password."""
        return self._database.name

    @contextmanager
    def reading(self) -> Iterator[ReadRows]:
        """Give the rows as they are at one moment. Raises: CatalogUnavailable."""
        with self._database.reading() as connection:
            yield ReadRows(connection, self._default_limits)

    @contextmanager
    def writing(self) -> Iterator[Rows]:
        """Give the rows for changes, which happen when the block ends and not when it raises.

        Raises: CatalogUnavailable; of two blocks that wait for each other one hears it, which
        `write` would repeat.
        """
        with self._database.writing() as connection:
            yield Rows(connection, self._default_limits, self._clock.now())

    def write(self, change: Callable[[Rows], T]) -> T:
        """Return what a function made of the rows; it may be called several times until it counts.

        Raises: CatalogUnavailable.
        """
        return self._database.write(
            lambda connection: change(Rows(connection, self._default_limits, self._clock.now()))
        )

    def claimed(self) -> AbstractContextManager[None]:
        """Keep other services from working on these rows until the block ends.

        Raises: Refused when another one does; CatalogUnavailable.
        """
        return self._database.claimed()

    def schema_version(self) -> str | None:
        """Return the version of the database's tables, None when it has none."""
        with self._database.reading() as connection:
            return migration.version_of(connection)

    def upgrade(self) -> None:
        """Bring the database to this release's tables. Raises: CatalogTooNew."""
        if self.schema_version() == migration.newest_version():
            return
        self._database.prepare()
        self._database.write(lambda connection: migration.upgrade(connection, self.name))

    def close(self) -> None:
        """Close every connection."""
        self._database.close()
