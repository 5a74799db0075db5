"""Faults as a kernel hands them out, from a file system that fails on demand."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from backupcore.driver.pace import Retrying
from backupcore.errors import ObjectExists, StoreError, StoreFull, Unavailable
from backupcore_nfs import NfsDriver
from tests.drivers.nfs.machine import EXPORT_URL, FakeMachine, opened
from tests.servers.fault_fs import FaultFs, fault_fs, need_fault_fs

pytestmark = need_fault_fs()


@pytest.fixture(scope="module")
def mounted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultFs]:
    with fault_fs(tmp_path_factory.mktemp("fault")) as mounted:
        yield mounted


@pytest.fixture
def faulty(mounted: FaultFs) -> Iterator[FaultFs]:
    """The file system, empty and without a fault."""
    yield mounted
    mounted.fail()
    for path in mounted.folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.fixture
def driver(faulty: FaultFs) -> Iterator[NfsDriver]:
    machine = FakeMachine()
    machine.show(faulty.point.resolve())
    with opened(f"{EXPORT_URL}?mount={faulty.point}", machine) as driver:
        driver.put("config", [b"x"])
        yield driver


def left_over(faulty: FaultFs) -> list[Path]:
    return list((faulty.folder / ".temporary").iterdir())


@pytest.mark.parametrize("call", ["write", "fsync", "flush"])
@pytest.mark.parametrize("number", ["ENOSPC", "EDQUOT"])
@pytest.mark.parametrize("if_absent", [True, False])
def test_a_store_that_is_full_at_any_moment_stores_nothing(
    driver: NfsDriver, faulty: FaultFs, call: str, number: str, if_absent: bool
) -> None:
    faulty.fail({"call": call, "errno": number, "path": ".temporary/"})
    with pytest.raises(StoreFull):
        driver.put("data/1", [b"object"], if_absent=if_absent)
    faulty.fail()
    assert [info.key for info in driver.list()] == ["config"]
    assert left_over(faulty) == []


def test_a_full_store_can_be_deleted_from(driver: NfsDriver, faulty: FaultFs) -> None:
    faulty.fail(*({"call": call, "errno": "ENOSPC"} for call in ("create", "write", "mkdir")))
    driver.delete(["config"])
    assert list(driver.list()) == []


def test_a_sync_that_failed_is_made_with_a_new_file_only(
    driver: NfsDriver, faulty: FaultFs
) -> None:
    faulty.fail({"call": "fsync", "errno": "EIO", "path": ".temporary/", "times": 1})
    before = len(faulty.calls("fsync"))
    Retrying(driver).put("data/1", [b"object"])
    synced = [path for path in faulty.calls("fsync")[before:] if ".temporary" in path]
    assert len(set(synced)) == len(synced) == 2
    assert (faulty.folder / "data/1").read_bytes() == b"object"
    assert left_over(faulty) == []


@pytest.mark.parametrize("number", ["EIO", "EEXIST", "ETIMEDOUT"])
def test_a_link_whose_reply_was_lost_has_won(
    driver: NfsDriver, faulty: FaultFs, number: str
) -> None:
    faulty.fail({"call": "link", "errno": number, "is_done": True})
    driver.put("register", [b"mine"], if_absent=True)
    assert driver.get("register") == b"mine"
    assert left_over(faulty) == []


def test_a_link_that_was_not_made_has_not_won(driver: NfsDriver, faulty: FaultFs) -> None:
    faulty.fail({"call": "link", "errno": "EIO"})
    with pytest.raises(Unavailable):
        driver.put("register", [b"mine"], if_absent=True)
    faulty.fail()
    driver.put("register", [b"theirs"], if_absent=True)
    with pytest.raises(ObjectExists):
        driver.put("register", [b"mine"], if_absent=True)


def test_a_rename_whose_reply_was_lost_is_made_good_by_the_next_put(
    driver: NfsDriver, faulty: FaultFs
) -> None:
    faulty.fail({"call": "rename", "errno": "EIO", "is_done": True, "times": 1})
    Retrying(driver).put("config", [b"new"])
    assert (faulty.folder / "config").read_bytes() == b"new"
    assert left_over(faulty) == []


def test_a_close_that_fails_at_the_very_end_does_not_unmake_an_object(
    driver: NfsDriver, faulty: FaultFs
) -> None:
    # the first close is heard before the object has its name, the second after it
    faulty.fail({"call": "flush", "errno": "EIO", "path": "data/", "times": 99})
    driver.put("data/1", [b"object"])
    assert (faulty.folder / "data/1").read_bytes() == b"object"


@pytest.mark.parametrize("call", ["open", "read"])
def test_an_object_that_is_stale_once_is_opened_again(
    driver: NfsDriver, faulty: FaultFs, call: str
) -> None:
    faulty.fail({"call": call, "errno": "ESTALE", "path": "config", "times": 1})
    assert driver.get("config") == b"x"


@pytest.mark.parametrize("number", ["EIO", "ESTALE", "ETIMEDOUT"])
def test_an_object_that_cannot_be_looked_at_is_unavailable_not_missing(
    driver: NfsDriver, faulty: FaultFs, number: str
) -> None:
    faulty.fail({"call": "getattr", "errno": number, "path": "config"})
    for read in (driver.get, driver.stat):
        with pytest.raises(Unavailable):
            read("config")


def test_a_listing_that_fails_is_an_error_not_short(driver: NfsDriver, faulty: FaultFs) -> None:
    for index in range(3):
        driver.put(f"data/{index}/x", [b"x"])
    faulty.fail({"call": "readdir", "errno": "EIO", "path": "/data/1"})
    with pytest.raises(StoreError):
        list(driver.list())
