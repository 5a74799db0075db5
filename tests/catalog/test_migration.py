"""The migrations make the tables this release uses, and no other release's are touched."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, create_engine, text

from backupcore.catalog import Catalog, CatalogOutdated, CatalogTooNew
from backupcore.catalog.database import Database
from backupcore.catalog.migration import VERSION_TABLE, newest_version
from backupcore.catalog.schema import tables
from backupcore.errors import Refused, Unsupported
from backupcore.runtime import Runtime

# Everything PostgreSQL knows of columns, indexes and constraints, collations included.
POSTGRESQL_SHAPE = """
SELECT 'column', table_name || '.' || column_name, concat_ws(' ', data_type,
    character_maximum_length, collation_name, is_nullable, column_default)
  FROM information_schema.columns WHERE table_schema = 'public'
UNION ALL SELECT 'index', indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
UNION ALL SELECT 'constraint', conname, pg_get_constraintdef(oid) FROM pg_constraint
  WHERE connamespace = 'public'::regnamespace
"""


def _shape(url: str, make: Callable[[Connection], Any] | None = None) -> set[tuple[str, ...]]:
    """Return a database's tables as it tells them itself."""
    database = Database(url, Runtime())
    with database.engine.begin() as connection:
        if make is not None:
            make(connection)
        if not database.is_sqlite:
            found = connection.execute(text(POSTGRESQL_SHAPE)).all()
        else:
            found = []
            for (table,) in connection.execute(
                text("SELECT name FROM sqlite_master WHERE type = 'table'")
            ).all():
                found += _sqlite_shape(connection, table)
    database.close()
    return {tuple(map(str, row)) for row in found if VERSION_TABLE not in " ".join(map(str, row))}


def _sqlite_shape(connection: Connection, table: str) -> list[Any]:
    """Return columns without their number, for it depends on the order they were written in."""
    shape: list[Any] = []
    for pragma in ("table_info", "foreign_key_list"):
        found = connection.exec_driver_sql(f'PRAGMA {pragma}("{table}")').all()
        shape += [(table, pragma, *row[1:]) for row in found]
    for row in connection.exec_driver_sql(f'PRAGMA index_list("{table}")').all():
        columns = connection.exec_driver_sql(f'PRAGMA index_xinfo("{row[1]}")').all()
        named = [(column[2:]) for column in columns if column[5]]
        shape.append((table, "index", *row[1:], *map(str, named)))
    return shape


def test_the_migrations_make_what_the_tables_say(empty_url: str, tmp_path: Path) -> None:
    if empty_url.startswith("sqlite"):
        expected = _shape(f"sqlite:///{tmp_path / 'other.db'}", tables.create_all)
        Catalog.open(empty_url).close()
    else:
        expected = _shape(empty_url, tables.create_all)
        _shape(empty_url, tables.drop_all)
        Catalog.open(empty_url).close()
    found = _shape(empty_url)
    assert len(found) > 80
    assert found == expected


def test_nothing_is_left_for_another_migration_to_change(url: str) -> None:
    database = Database(url, Runtime())
    with database.engine.connect() as connection:
        options = {"compare_type": True, "version_table": VERSION_TABLE}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, tables) == []
    database.close()


def test_opening_makes_the_tables_and_opening_again_changes_nothing(empty_url: str) -> None:
    with Catalog.open(empty_url) as catalog:
        assert catalog.schema_version() == newest_version()
    made = _shape(empty_url)
    with Catalog.open(empty_url) as catalog:
        catalog.upgrade()
    assert _shape(empty_url) == made


def test_an_empty_database_is_not_touched_without_leave(empty_url: str) -> None:
    with pytest.raises(CatalogOutdated, match=r"no tables yet.*`backupcore catalog upgrade`"):
        Catalog.open(empty_url, upgrade=False)
    assert _shape(empty_url) == set()


def _set_version(url: str, version: str) -> None:
    database = Database(url, Runtime())
    with database.writing() as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '{version}'"))
    database.close()


def test_a_catalog_of_this_version_opens_without_upgrade(url: str) -> None:
    with Catalog.open(url, upgrade=False) as catalog:
        assert catalog.schema_version() == newest_version()


@pytest.mark.parametrize("may_upgrade", [True, False])
def test_a_newer_catalog_is_refused(url: str, may_upgrade: bool) -> None:
    _set_version(url, "9999")
    try:
        with pytest.raises(CatalogTooNew, match="is of version 9999") as caught:
            Catalog.open(url, upgrade=may_upgrade)
        assert isinstance(caught.value, Unsupported)
    finally:
        _set_version(url, newest_version())


def test_many_may_open_a_new_catalog_at_once(empty_url: str) -> None:
    def open_it(_number: int) -> str | None:
        with Catalog.open(empty_url) as catalog:
            return catalog.schema_version()

    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(open_it, range(6))) == {newest_version()}


def test_processes_may_open_a_new_catalog_at_once(tmp_path: Path) -> None:
    code = "import sys; from backupcore.catalog import Catalog; Catalog.open(sys.argv[1]).close()"
    command = [sys.executable, "-W", "error", "-c", code, f"sqlite:///{tmp_path / 'new.db'}"]
    running = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    assert [process.communicate(timeout=60)[1] for process in running] == [""] * 4
    assert [process.returncode for process in running] == [0] * 4


def test_a_half_done_upgrade_leaves_nothing(
    empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_words: object) -> None:
        raise Refused("in the middle")

    monkeypatch.setattr("alembic.op.create_index", fail)
    with pytest.raises(Refused, match="in the middle"):
        Catalog.open(empty_url)
    assert _shape(empty_url) == set()


def test_the_package_carries_its_migrations() -> None:
    folder = Path(sys.modules["backupcore.catalog"].__path__[0]) / "migrations"
    names = {str(path.relative_to(folder)) for path in folder.rglob("*.py")}
    assert {"env.py", "versions/0001_first.py"} <= names


def test_a_file_of_sqlite_is_in_wal_mode_with_foreign_keys(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'catalog.db'}"
    with Catalog.open(url) as catalog, catalog._database.reading() as connection:
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
    engine = create_engine(url)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
    engine.dispose()
