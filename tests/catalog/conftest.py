"""The catalog in every database it runs on: each test that asks for one runs once for each."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from backupcore.catalog import Catalog
from backupcore.catalog.schema import tables
from tests.servers.postgres import Postgres, need_postgres, postgres

DATABASES = [
    "sqlite",
    pytest.param("postgresql", marks=[need_postgres(), pytest.mark.xdist_group("postgres")]),
]
_numbers = itertools.count()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    with postgres() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_url(postgres_server: Postgres) -> str:
    url = postgres_server.create("catalog")
    Catalog.open(url).close()
    return url


@pytest.fixture(scope="session")
def sqlite_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("model") / "model.db"
    Catalog.open(f"sqlite:///{file}").close()
    return file


@pytest.fixture(params=DATABASES)
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database without any table."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'catalog.db'}"
    else:
        server: Postgres = request.getfixturevalue("postgres_server")
        name = f"test{next(_numbers)}"
        yield server.create(name)
        server.drop(name)


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty catalog."""
    if request.param == "sqlite":
        model: Path = request.getfixturevalue("sqlite_model")
        shutil.copy(model, tmp_path / "catalog.db")
        yield f"sqlite:///{tmp_path / 'catalog.db'}"
    else:
        name = request.getfixturevalue("postgres_url")
        yield name
        with psycopg.connect(name) as connection:
            for table in reversed(tables.sorted_tables):
                connection.execute(f'DELETE FROM "{table.name}"'.encode())


@pytest.fixture
def catalog(url: str) -> Iterator[Catalog]:
    with Catalog.open(url) as opened:
        yield opened
