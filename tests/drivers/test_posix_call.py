from __future__ import annotations

import errno
import os
import resource
from collections.abc import Sequence
from pathlib import Path

import pytest

from backupcore.driver import Buffer
from backupcore.errors import AccessDenied, ObjectMissing, StoreError, Unavailable
from backupcore_posix import PosixDriver
from backupcore_posix.temporary import PARTS_MAX
from tests.drivers.failing_call import raising


@pytest.mark.parametrize("step", [1, 7, 1_000])
def test_short_writes_are_continued(
    driver: PosixDriver, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    real = os.writev

    def short(descriptor: int, parts: Sequence[Buffer]) -> int:
        return real(descriptor, [b"".join(parts)[:step]])

    monkeypatch.setattr(os, "writev", short)
    parts = [bytes([index]) * (index % 9) for index in range(200)]
    driver.put("k", parts)
    assert driver.get("k") == b"".join(parts)


def test_a_kernel_that_writes_nothing_is_an_error(
    driver: PosixDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "writev", lambda descriptor, parts: 0)
    with pytest.raises(StoreError, match="nothing was written"):
        driver.put("k", [b"x"])


def test_a_pack_goes_out_in_few_calls_without_joining_its_parts(
    driver: PosixDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.writev
    counts: list[int] = []

    def write(descriptor: int, parts: Sequence[Buffer]) -> int:
        counts.append(len(parts))
        return real(descriptor, parts)

    monkeypatch.setattr(os, "writev", write)
    driver.put("k", [bytes(10)] * (2 * PARTS_MAX + 1))
    assert counts == [PARTS_MAX, PARTS_MAX, 1]


def test_short_reads_are_continued(driver: PosixDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    content = bytes(range(100))
    driver.put("k", [content])
    read, read_into = os.pread, os.preadv
    monkeypatch.setattr(os, "pread", lambda file, length, at: read(file, min(length, 7), at))
    monkeypatch.setattr(os, "preadv", lambda file, views, at: read_into(file, [views[0][:7]], at))
    buffer = bytearray(50)
    assert driver.get_into("k", 20, buffer) == 50
    assert (driver.get("k"), bytes(buffer)) == (content, content[20:70])


def test_an_error_while_listing_is_raised_not_hidden(
    driver: PosixDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver.put("data/1", [b"x"])
    monkeypatch.setattr(os, "scandir", raising(errno.EIO))
    with pytest.raises(StoreError, match="Input/output error"):
        list(driver.list())


def test_an_error_while_deleting_is_raised(
    driver: PosixDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver.put("data/1", [b"x"])
    monkeypatch.setattr(os, "unlink", raising(errno.EROFS))
    with pytest.raises(AccessDenied):
        driver.delete(["data/1"])


def test_a_directory_that_may_not_be_removed_stays(
    driver: PosixDriver, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver.put("data/1", [b"x"])
    monkeypatch.setattr(os, "rmdir", raising(errno.EACCES))
    driver.delete(["data/1"])
    with pytest.raises(ObjectMissing):
        driver.get("data/1")
    assert (root / "data").is_dir()


def test_a_deletion_is_made_durable_once_for_each_directory(
    driver: PosixDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [f"data/{index}" for index in range(5)]
    for key in [*keys, "data/kept"]:
        driver.put(key, [b"x"])
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    driver.delete(keys)
    assert len(synced) == 1


def test_too_many_open_files_may_be_better_later(driver: PosixDriver) -> None:
    driver.put("k", [b"x"])
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        with pytest.raises(Unavailable):
            driver.get("k")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
