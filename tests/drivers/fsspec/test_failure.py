"""What file systems raise becomes what it means; an absence only where one could look."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NoReturn

import pytest
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from backupcore.driver import Driver
from backupcore.driver.registry import open_driver
from backupcore.errors import (
    AccessDenied,
    ObjectExists,
    ObjectMissing,
    StoreError,
    StoreFull,
    Unavailable,
)
from backupcore_fsspec.listing import object_info


class AuthenticationException(Exception):
    """As paramiko's."""


class StatusError(Exception):
    """As those of many SDKs of web services."""

    def __init__(self, status: int, headers: dict[str, str] | None = None) -> None:
        super().__init__(f"status {status}")
        self.status = status
        self.headers = headers


def raising(error: Exception, cause: Exception | None = None) -> Callable[..., NoReturn]:
    def fail(*given: object, **named: object) -> NoReturn:
        raise error from cause

    return fail


@pytest.fixture
def driver() -> Iterator[Driver]:
    with open_driver(f"fsspec+memory://{secrets.token_hex(4)}/store") as driver:
        driver.put("config", [b"0123456789"])
        yield driver


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Driver]:
    with open_driver(f"fsspec+file://{tmp_path}/store") as driver:
        yield driver


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OSError(errno.ENOSPC, "no space"), StoreFull),
        (OSError(errno.EDQUOT, "quota"), StoreFull),
        (StatusError(507), StoreFull),
        (PermissionError(errno.EACCES, "denied"), AccessDenied),
        (PermissionError("Forbidden"), AccessDenied),
        (OSError(errno.EROFS, "read-only"), AccessDenied),
        (StatusError(403), AccessDenied),
        (AuthenticationException("no"), AccessDenied),
        (TimeoutError(), Unavailable),
        (ConnectionResetError("gone"), Unavailable),
        (OSError("Socket is closed"), Unavailable),
        (EOFError(), Unavailable),
        (StatusError(503), Unavailable),
        (OSError("Failure"), StoreError),
        (OSError(errno.EIO, "medium"), StoreError),
        (StatusError(400), StoreError),
        (ValueError("I/O operation on closed file"), StoreError),
        (RuntimeError("anything"), StoreError),
    ],
)
def test_an_error_becomes_what_it_means_and_names_object_and_store(
    driver: Driver, monkeypatch: pytest.MonkeyPatch, error: Exception, kind: type[StoreError]
) -> None:
    monkeypatch.setattr(MemoryFileSystem, "cat_file", raising(error))
    with pytest.raises(StoreError, match=r"fsspec\+memory://.*/store/config") as caught:
        driver.get("config")
    assert type(caught.value) is kind
    assert caught.value.__cause__ is error


def test_a_store_that_names_a_wait_is_asked_again_after_it(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        MemoryFileSystem, "cat_file", raising(StatusError(429, {"Retry-After": "7"}))
    )
    with pytest.raises(Unavailable) as caught:
        driver.get("config")
    assert caught.value.retry_after_s == 7


@pytest.mark.parametrize(
    ("cause", "kind"),
    [
        (None, ObjectMissing),
        (KeyError("config"), ObjectMissing),
        (StatusError(404), ObjectMissing),
        (StatusError(503), Unavailable),
        (StatusError(403), AccessDenied),
        (ConnectionRefusedError("no server"), Unavailable),
    ],
)
def test_an_absence_with_a_failure_behind_it_is_that_failure(
    driver: Driver,
    monkeypatch: pytest.MonkeyPatch,
    cause: Exception | None,
    kind: type[StoreError],
) -> None:
    monkeypatch.setattr(MemoryFileSystem, "info", raising(FileNotFoundError("config"), cause))
    with pytest.raises(StoreError) as caught:
        driver.stat("config")
    assert type(caught.value) is kind


def test_a_listing_that_fails_below_is_no_short_listing(
    local: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    local.put("data/a", [b"x"])
    ls: Callable[..., object] = LocalFileSystem.ls

    def fail_below(self: LocalFileSystem, path: str, *, detail: bool) -> object:
        if path.endswith("/data"):
            raise ConnectionResetError("gone")
        return ls(self, path, detail=detail)

    monkeypatch.setattr(LocalFileSystem, "ls", fail_below)
    with pytest.raises(Unavailable):
        list(local.list())


def test_a_range_that_comes_short_is_not_taken(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MemoryFileSystem, "cat_file", lambda *given, **named: b"01")
    with pytest.raises(Unavailable, match="asked for 5 bytes from 0, served 2"):
        driver.get("config", 0, 5)


def test_a_file_system_with_arguments_of_its_own_reads_the_range_asked_for(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cat_file(
        self: MemoryFileSystem,
        path: str,
        version_id: None = None,
        start: int | None = None,
        end: int | None = None,
    ) -> bytes:
        assert version_id is None
        return b"0123456789"[start:end]

    monkeypatch.setattr(MemoryFileSystem, "cat_file", cat_file)
    assert driver.get("config", 3, 4) == b"3456"


@pytest.mark.parametrize("refusal", [StatusError(416), OSError(errno.EINVAL, "range")])
def test_a_store_that_refuses_a_range_from_the_very_end_has_nothing_there(
    driver: Driver, monkeypatch: pytest.MonkeyPatch, refusal: Exception
) -> None:
    monkeypatch.setattr(MemoryFileSystem, "cat_file", raising(refusal))
    assert driver.get("config", 10, 5) == b""
    with pytest.raises(ValueError, match="past the end"):
        driver.get("config", 11, 5)


def test_a_put_that_fails_leaves_the_old_object_and_no_draft(
    local: Driver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local.put("data/a", [b"old"])
    monkeypatch.setattr(os, "replace", raising(OSError(errno.ENOSPC, "no space")))
    with pytest.raises(StoreFull):
        local.put("data/a", [b"new"])
    assert local.get("data/a") == b"old"
    assert list((tmp_path / "store/.temporary").iterdir()) == []


def test_a_draft_that_a_dead_writer_left_is_no_object(local: Driver, tmp_path: Path) -> None:
    local.put("data/a", [b"x"])
    (tmp_path / "store/.temporary" / ("0" * 32)).write_bytes(b"half")
    assert [info.key for info in local.list()] == ["data/a"]


def test_opening_and_reading_create_nothing(local: Driver, tmp_path: Path) -> None:
    assert list(local.list()) == []
    with pytest.raises(ObjectMissing):
        local.get("config")
    local.delete(["config"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("call", ["get", "stat", "list"])
def test_where_even_the_parent_is_missing_no_object_is_called_missing(
    tmp_path: Path, call: str
) -> None:
    with open_driver(f"fsspec+file://{tmp_path}/no/store") as driver:
        calls: dict[str, Callable[[], object]] = {
            "get": lambda: driver.get("config"),
            "stat": lambda: driver.stat("config"),
            "list": lambda: list(driver.list()),
        }
        with pytest.raises(StoreError, match="neither it nor what is above it") as caught:
            calls[call]()
    assert not isinstance(caught.value, ObjectMissing)


def test_a_missing_parent_is_made_only_when_asked(tmp_path: Path) -> None:
    url = f"fsspec+file://{tmp_path}/no/such/store"
    with (
        open_driver(url) as driver,
        pytest.raises(StoreError, match="parent directory is missing"),
    ):
        driver.put("config", [b"x"])
    with open_driver(f"{url}?create_container=yes") as driver:
        driver.put("config", [b"x"])
    assert (tmp_path / "no/such/store/config").read_bytes() == b"x"


def test_a_deleted_object_takes_its_empty_directories_along(local: Driver, tmp_path: Path) -> None:
    local.put("data/session/1", [b"x"])
    local.put("data/kept", [b"x"])
    local.delete(["data/session/1"])
    assert [path.name for path in (tmp_path / "store/data").iterdir()] == ["kept"]


def test_an_object_that_comes_between_look_and_put_is_kept_where_the_store_can(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = MemoryFileSystem.info

    def see_nothing_once(self: MemoryFileSystem, path: str) -> object:
        monkeypatch.setattr(MemoryFileSystem, "info", info)
        raise FileNotFoundError(path)

    monkeypatch.setattr(MemoryFileSystem, "info", see_nothing_once)
    with pytest.raises(ObjectExists):
        driver.put("config", [b"other"], if_absent=True)
    assert driver.get("config") == b"0123456789"


@pytest.mark.parametrize("protocol", ["memory", "file"])
def test_the_time_of_the_last_change_is_told(tmp_path: Path, protocol: str) -> None:
    with open_driver(f"fsspec+{protocol}://{tmp_path}") as driver:
        driver.put("config", [b"x"])
        for info in (driver.stat("config"), next(driver.list("config"))):
            assert info.modified is not None
            assert abs(info.modified - datetime.now(UTC)) < timedelta(minutes=1)


def test_a_listing_that_tells_no_sizes_is_completed_by_asking(
    local: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    local.put("data/a", [b"12345"])
    ls: Callable[..., list[dict[str, object]]] = LocalFileSystem.ls

    def tell_no_sizes(self: LocalFileSystem, path: str, *, detail: bool) -> list[dict[str, object]]:
        return [{**info, "size": None} for info in ls(self, path, detail=detail)]

    monkeypatch.setattr(LocalFileSystem, "ls", tell_no_sizes)
    assert [(info.key, info.size_bytes) for info in local.list()] == [("data/a", 5)]


@pytest.mark.parametrize(
    ("fact", "modified"),
    [
        ({"mtime": 0}, datetime(1970, 1, 1, tzinfo=UTC)),
        ({"LastModified": datetime(2026, 1, 2)}, datetime(2026, 1, 2, tzinfo=UTC)),
        ({"updated": "2026-01-02T03:04:05Z"}, datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ({"updated": "yesterday"}, None),
        ({}, None),
    ],
)
def test_a_time_is_understood_as_each_file_system_tells_it(
    fact: dict[str, object], modified: datetime | None
) -> None:
    info = object_info("config", {"name": "config", "type": "file", "size": 1, **fact})
    assert info.modified == modified
