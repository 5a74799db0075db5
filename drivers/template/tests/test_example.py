"""The driver keeps its promises, and fails with the errors that lead to the right deed."""
# ruff: noqa: D101, D102, D103, S101 - the name of a test is what it says

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from backupcore.driver import Driver
from backupcore.driver.registry import open_driver
from backupcore.errors import Refused, StoreError
from backupcore.testing.driver import DriverConformance


class TestExample(DriverConformance):
    # EDIT: longer than a page of your store's listing
    list_count = 500

    # EDIT: how to open the store; begin with a real one, of its own for each test
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"example:{tmp_path}/store.db?wait_s=60"

    @pytest.fixture
    def driver(self, url: str) -> Iterator[Driver]:
        with open_driver(url) as driver:
            yield driver

    @pytest.fixture
    def second_driver(self, url: str) -> Iterator[Driver]:
        with open_driver(url) as driver:
            yield driver


# EDIT: a failure of your store a test; raise it in earnest where you can
def test_a_file_that_is_no_store_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "store.db").write_bytes(b"no database" * 100)
    with (
        open_driver(f"example:{tmp_path}/store.db") as driver,
        pytest.raises(StoreError, match=r"store\.db: .*not a database"),
    ):
        driver.get("config")


def test_reading_where_nothing_is_creates_nothing(tmp_path: Path) -> None:
    with open_driver(f"example:{tmp_path}/store.db") as driver:
        assert list(driver.list()) == []
    assert list(tmp_path.iterdir()) == []


def test_a_locked_store_is_unavailable(tmp_path: Path) -> None:
    with (
        open_driver(f"example:{tmp_path}/store.db?wait_s=0") as driver,
        closing(sqlite3.connect(tmp_path / "store.db")) as other,
    ):
        driver.put("config", [b"x"])
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreError, match="try again later"):
            driver.get("config")


@pytest.mark.parametrize("url", ["example:", "example://host/path", "example:x?wait_s=soon"])
def test_a_url_that_does_not_say_where_is_refused(url: str) -> None:
    with pytest.raises(Refused):
        open_driver(url)
