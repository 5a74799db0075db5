"""Bringing a database to this release's tables: Alembic, run from here and without an ini file."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from backupcore.catalog.error import CatalogOutdated, CatalogTooNew

__all__ = ["VERSION_TABLE", "check_version", "newest_version", "upgrade", "version_of"]

VERSION_TABLE = "catalog_version"
_FOLDER = Path(__file__).parent / "migrations"
_LOCK = 0x6261636B75706361  # the ASCII of "backupca": one number that all our processes lock


def version_of(connection: Connection) -> str | None:
    """Return the version of a database's tables, None when it has none."""
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    return context.get_current_revision()


@cache
def newest_version() -> str:
    """Return the version that this release works with."""
    newest = _scripts().get_current_head()
    if newest is None:
        raise AssertionError("the package lacks its migrations")
    return newest


def check_version(found: str | None, name: str) -> None:
    """Check that this release can work with a database.

    name: of the database. Raises: CatalogOutdated, CatalogTooNew.
    """
    refuse_newer(found, name)
    if found != newest_version():
        what = "has no tables yet" if found is None else f"is of version {found}"
        raise CatalogOutdated(
            f"catalog {name} {what}, this release needs {newest_version()}: "
            "run `backupcore catalog upgrade`"
        )


def refuse_newer(found: str | None, name: str) -> None:
    """Check that no newer release has upgraded a database. Raises: CatalogTooNew."""
    if found is not None and found not in {
        script.revision for script in _scripts().walk_revisions()
    }:
        raise CatalogTooNew(
            f"catalog {name} is of version {found}, this release knows those up to "
            f"{newest_version()}: use the newer release that upgraded it"
        )


def upgrade(connection: Connection, name: str) -> None:
    """Bring a database to the newest version, within the transaction; processes take turns.

    Raises: CatalogTooNew.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _LOCK})
    found = version_of(connection)
    refuse_newer(found, name)
    if found != newest_version():
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


@cache
def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
