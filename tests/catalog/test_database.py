"""A database that cannot be used says so by name, without passwords and without what was asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from backupcore.catalog import Catalog, CatalogUnavailable, Rows
from backupcore.catalog import database as database_module
from backupcore.errors import Refused, Unavailable, UnknownScheme
from tests.catalog.sample import backup_row
from tests.servers.postgres import Postgres, need_postgres


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(CatalogUnavailable, match=r"gone/catalog\.db: unable to open") as caught:
        Catalog.open(f"sqlite:///{tmp_path}/gone/catalog.db")
    assert isinstance(caught.value, Unavailable)


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    file = tmp_path / "catalog.db"
    file.write_bytes(b"no database " * 100)
    with pytest.raises(CatalogUnavailable, match=r"catalog\.db: file is not a database"):
        Catalog.open(f"sqlite:///{file}")


def test_a_server_that_is_down_is_named_without_its_password(tmp_path: Path) -> None:
    pytest.importorskip("psycopg", reason="pip install 'backupcore[postgresql]'")
    with pytest.raises(CatalogUnavailable, match=r"u:\*\*\*@/d") as caught:
        Catalog.open(f"postgresql://u:secret@/d?host={tmp_path}")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["mysql://u:secret@host/d", "oracle://host/d"])
def test_another_kind_of_database_is_unknown(url: str) -> None:
    with pytest.raises(UnknownScheme, match="no catalog is kept in") as caught:
        Catalog.open(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///:memory:", "sqlite:///file:x?mode=memory&uri=true"]
)
def test_a_catalog_in_memory_is_refused(url: str) -> None:
    with pytest.raises(Refused, match="needs a file"):
        Catalog.open(url)


@pytest.mark.parametrize("url", ["", "catalog.db", "/var/catalog.db", "postgresql://h:x/d"])
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(Refused, match="write sqlite:///FILE"):
        Catalog.open(url)


def test_a_writer_that_waits_too_long_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path / 'catalog.db'}"
    Catalog.open(url).close()
    monkeypatch.setattr(database_module, "BUSY_S_MAX", 0.1)
    with Catalog.open(url) as one, Catalog.open(url) as other:
        with one.writing(), pytest.raises(CatalogUnavailable, match="database is locked"):
            other.write(lambda rows: rows.add_backup(backup_row()))
        other.write(lambda rows: rows.add_backup(backup_row()))


def test_names_with_odd_characters_are_fine(tmp_path: Path) -> None:
    folder = tmp_path / "100% ünïcode"
    folder.mkdir()
    with Catalog.open(f"sqlite:///{folder}/cat alog.db") as catalog:
        catalog.write(lambda rows: rows.add_backup(backup_row()))
    assert (folder / "cat alog.db").exists()


@need_postgres()
@pytest.mark.xdist_group("postgres")
def test_a_server_that_was_started_again_is_used_again(postgres_server: Postgres) -> None:
    url = postgres_server.create("restarted")
    with Catalog.open(url) as catalog:
        catalog.write(lambda rows: rows.add_backup(backup_row()))
        postgres_server.run(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'restarted'"
        )
        catalog.write(lambda rows: rows.add_backup(backup_row()))
        with catalog.reading() as rows:
            assert rows.usage("p").backups == 2
    postgres_server.drop("restarted")


@need_postgres()
@pytest.mark.xdist_group("postgres")
def test_a_connection_that_breaks_midway_is_unavailable(postgres_server: Postgres) -> None:
    url = postgres_server.create("broken")
    with Catalog.open(url) as catalog:

        def change(rows: Rows) -> None:
            rows.add_backup(backup_row())
            postgres_server.run(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'broken'"
            )
            rows.usage("p")

        with pytest.raises(CatalogUnavailable):
            catalog.write(change)
        with catalog.reading() as reader:
            assert reader.usage("p").backups == 0
    postgres_server.drop("broken")


@need_postgres()
@pytest.mark.xdist_group("postgres")
def test_a_catalog_is_one_service_s_until_it_lets_go(postgres_server: Postgres) -> None:
    url = postgres_server.create("claimed")
    with Catalog.open(url) as first, Catalog.open(url) as second:
        with first.claimed():
            with pytest.raises(Refused, match=r"claimed.*: another service works on this catalog"):
                second.claimed().__enter__()
            second.write(lambda rows: rows.add_backup(backup_row()))
        with second.claimed(), second.reading() as rows:
            assert rows.usage("p").backups == 1
    postgres_server.drop("claimed")


@need_postgres()
@pytest.mark.xdist_group("postgres")
def test_a_claim_whose_connection_broke_ends_in_peace(postgres_server: Postgres) -> None:
    url = postgres_server.create("cut")
    with Catalog.open(url) as catalog, catalog.claimed():
        postgres_server.run(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'cut'"
        )
    postgres_server.drop("cut")
