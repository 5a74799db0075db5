from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backupcore.driver import Driver, Role
from backupcore.driver.pace import Retrying
from backupcore.driver.registry import open_driver, scheme_capabilities
from backupcore.errors import (
    AccessDenied,
    BackupError,
    ObjectExists,
    ObjectMissing,
    StoreError,
    StoreFull,
    Unavailable,
)
from backupcore.testing.driver import DriverConformance
from backupcore_nfs import NfsDriver
from tests.drivers.failing_call import raising
from tests.drivers.nfs.machine import EXPORT_URL, OPTIONS, FakeMachine, opened


class TestNfs(DriverConformance):
    list_count = 1_000

    @pytest.fixture
    def machine(self, folder: Path) -> FakeMachine:
        machine = FakeMachine()
        machine.show(folder, options=f"{OPTIONS},noac")  # a strong listing, so that it is tried
        return machine

    @pytest.fixture
    def second_driver(self, folder: Path, machine: FakeMachine) -> Iterator[Driver]:
        with opened(f"{EXPORT_URL}?mount={folder}", machine) as driver:
            yield driver


def test_the_url_is_opened_by_its_scheme(
    folder: Path, machine: FakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backupcore_nfs.Machine", lambda: machine)
    with open_driver(f"{EXPORT_URL}?mount={folder}") as driver:
        driver.put("config", [b"x"])
    assert (folder / "config").read_bytes() == b"x"


def test_the_listing_lags_as_long_as_the_mount_says(folder: Path) -> None:
    machine = FakeMachine()
    machine.show(folder, options="rw,acdirmax=5")
    with opened(f"{EXPORT_URL}?mount={folder}", machine) as driver:
        assert (driver.capabilities.list_lag_s_max, driver.capabilities.conditional_put) == (
            5,
            True,
        )


def test_the_scheme_promises_what_a_usual_mount_does() -> None:
    capabilities = scheme_capabilities("nfs")
    assert capabilities is not None
    assert (capabilities.list_lag_s_max, capabilities.conditional_put) == (60, True)


ERRORS: list[tuple[int, type[BackupError]]] = [
    (errno.EIO, Unavailable),
    (errno.EREMOTEIO, Unavailable),
    (errno.ETIMEDOUT, Unavailable),
    (errno.ESTALE, Unavailable),
    (errno.ENOSPC, StoreFull),
    (errno.EDQUOT, StoreFull),
    (errno.EACCES, AccessDenied),
    (errno.EROFS, AccessDenied),
    (errno.EKEYEXPIRED, AccessDenied),
]


@pytest.mark.parametrize(("number", "kind"), ERRORS)
@pytest.mark.parametrize("call", ["writev", "fsync", "link"])
def test_a_failed_put_raises_what_it_means_over_nfs_and_leaves_nothing(
    driver: NfsDriver,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    kind: type[BackupError],
    call: str,
) -> None:
    driver.put("config", [b"x"])
    with monkeypatch.context() as patch:
        patch.setattr(os, call, raising(number))
        with pytest.raises(StoreError, match=os.strerror(number)) as caught:
            driver.put("data/1", [b"x"], if_absent=True)
    assert caught.type is kind
    assert f"{EXPORT_URL}/data/1: " in str(caught.value)
    assert [info.key for info in driver.list()] == ["config"]
    assert os.listdir(folder / ".temporary") == []


def test_a_put_whose_sync_failed_is_made_anew_with_another_file(
    driver: NfsDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver.put("config", [b"x"])
    real = os.fsync
    synced: list[str] = []

    def fail_first(descriptor: int) -> None:
        name = os.readlink(f"/proc/self/fd/{descriptor}")
        if "/.temporary/" in name:
            synced.append(name)
        if len(synced) == 1:
            raise OSError(errno.EIO, "Input/output error")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fail_first)
    Retrying(driver).put("data/1", [b"x"])
    assert driver.get("data/1") == b"x"
    assert len(set(synced)) == len(synced) == 2


@pytest.mark.parametrize("number", [errno.EIO, errno.EEXIST])
def test_a_link_whose_reply_was_lost_has_won_also_when_its_file_seems_to_have_one_name(
    driver: NfsDriver, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    real_link, real_status = os.link, os.fstat
    before: dict[int, os.stat_result] = {}

    def link(*given: Any, **named: Any) -> None:
        real_link(*given, **named)
        for descriptor in os.listdir("/proc/self/fd"):
            if "/.temporary/" in _name_of(int(descriptor)):
                before[int(descriptor)] = _with_one_name(real_status(int(descriptor)))
        raise OSError(number, "reply lost")

    monkeypatch.setattr(os, "link", link)
    monkeypatch.setattr(os, "fstat", lambda file: before.get(file) or real_status(file))
    driver.put("register", [b"mine"], if_absent=True)
    assert driver.get("register") == b"mine"


def _name_of(descriptor: int) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    except FileNotFoundError:
        return ""


def _with_one_name(status: os.stat_result) -> os.stat_result:
    fields = list(status)
    fields[3] = 1  # st_nlink
    return os.stat_result(fields)


def test_a_link_of_which_nothing_can_be_learnt_is_not_called_lost(
    driver: NfsDriver, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver.put("register", [b"first"])
    real = os.open

    def open_failing(path: str, flags: int, *given: Any, **named: Any) -> int:
        if len(path) == 32 and not flags & os.O_CREAT:
            raise OSError(errno.EIO, "Input/output error")
        return real(path, flags, *given, **named)

    monkeypatch.setattr(os, "open", open_failing)
    with pytest.raises(Unavailable):
        driver.put("register", [b"second"], if_absent=True)
    monkeypatch.undo()
    with pytest.raises(ObjectExists):
        driver.put("register", [b"second"], if_absent=True)
    assert os.listdir(folder / ".temporary") == []


@pytest.mark.parametrize("call", ["get", "get_into", "stat"])
def test_an_object_replaced_while_it_is_read_is_opened_again(
    driver: NfsDriver, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    driver.put("key", [b"object"])
    name = {"get": "pread", "get_into": "preadv", "stat": "fstat"}[call]
    failures = [OSError(errno.ESTALE, os.strerror(errno.ESTALE))]
    real = getattr(os, name)

    def fail_once(*given: Any) -> Any:
        if failures:
            raise failures.pop()
        return real(*given)

    monkeypatch.setattr(os, name, fail_once)
    buffer = bytearray(6)
    if call == "get":
        seen = driver.get("key")
    elif call == "get_into":
        seen = bytes(buffer[: driver.get_into("key", 0, buffer)])
    else:
        seen = b"object"[: driver.stat("key").size_bytes]
    assert (seen, failures) == (b"object", [])


def test_an_object_deleted_elsewhere_while_it_is_read_is_missing(
    driver: NfsDriver, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver.put("key", [b"object"])

    def delete_and_fail(*given: Any) -> bytes:
        (folder / "key").unlink()
        raise OSError(errno.ESTALE, "Stale file handle")

    monkeypatch.setattr(os, "pread", delete_and_fail)
    with pytest.raises(ObjectMissing):
        driver.get("key")


def test_a_read_that_stays_stale_is_unavailable(
    driver: NfsDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver.put("key", [b"object"])
    monkeypatch.setattr(os, "pread", raising(errno.ESTALE))
    with pytest.raises(Unavailable, match="Stale"):
        driver.get("key")


def test_a_read_that_cannot_be_made_is_not_made_twice(
    driver: NfsDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver.put("key", [b"object"])
    calls: list[int] = []

    def fail(*given: Any) -> bytes:
        calls.append(1)
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "pread", fail)
    with pytest.raises(Unavailable):
        driver.get("key")
    assert len(calls) == 1


@pytest.mark.parametrize("call", ["link", "rename"])
def test_a_put_goes_on_when_its_directory_went_stale(
    driver: NfsDriver, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    driver.put("config", [b"x"])
    failures = [OSError(errno.ESTALE, os.strerror(errno.ESTALE))]
    real = getattr(os, call)

    def fail_once(*given: Any, **named: Any) -> None:
        if failures:
            raise failures.pop()
        real(*given, **named)

    monkeypatch.setattr(os, call, fail_once)
    driver.put("deep/er/key", [b"x"], if_absent=call == "link")
    assert (driver.get("deep/er/key"), failures) == (b"x", [])


def test_a_deletion_in_a_directory_that_went_stale_is_made_again(
    driver: NfsDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver.put("data/1", [b"x"])
    failures = [OSError(errno.ESTALE, os.strerror(errno.ESTALE))]
    real = os.unlink

    def fail_once(*given: Any, **named: Any) -> None:
        if failures:
            raise failures.pop()
        real(*given, **named)

    monkeypatch.setattr(os, "unlink", fail_once)
    driver.delete(iter(["data/1"]))
    assert (list(driver.list()), failures) == ([], [])


def test_files_that_the_client_keeps_for_readers_are_not_listed_and_stop_no_deletion(
    driver: NfsDriver, folder: Path
) -> None:
    driver.put("data/1", [b"x"])
    (folder / "data/.nfs000000000029c09600000001").write_bytes(b"old")
    (folder / ".nfs000000000029c09600000002").write_bytes(b"old")
    driver.delete(["data/1"])
    assert list(driver.list()) == []
    driver.put("data/1", [b"again"], if_absent=True)
    assert driver.get("data/1") == b"again"


def test_a_temporary_file_is_closed_before_it_loses_its_name(
    driver: NfsDriver, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver.put("config", [b"x"])
    real = os.unlink
    open_files: list[str] = []

    def unlink(name: str, *given: Any, **named: Any) -> None:
        open_files.extend(
            found
            for found in map(_name_of, map(int, os.listdir("/proc/self/fd")))
            if found.endswith(name)
        )
        real(name, *given, **named)

    monkeypatch.setattr(os, "unlink", unlink)
    driver.put("register", [b"x"], if_absent=True)
    assert (open_files, os.listdir(folder / ".temporary")) == ([], [])


def test_packs_are_written_through_the_page_cache(
    driver: NfsDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = fcntl.fcntl

    def refuse(descriptor: int, command: int, flags: int = 0) -> int:
        assert not flags & os.O_DIRECT
        return real(descriptor, command, flags)

    monkeypatch.setattr(fcntl, "fcntl", refuse)
    content = os.urandom(3 << 20)
    driver.put("data/1", [content], role=Role.DATA)
    assert driver.get("data/1") == content
