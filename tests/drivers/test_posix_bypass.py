from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest

from backupcore.driver import Buffer
from backupcore_posix import COLD_BYTES_MIN, PosixDriver
from backupcore_posix.bypass import ALIGNMENT, STAGE_BYTES, Bypass
from tests.drivers.failing_call import raising


def parts_of(*lengths: int) -> list[Buffer]:
    return [bytes([index % 251]) * length for index, length in enumerate(lengths)]


def written(path: Path, parts: list[Buffer], bypass: Bypass | None = None) -> bytes:
    with path.open("xb", buffering=0) as file:
        (bypass or Bypass()).write(file.fileno(), parts)
        assert not fcntl.fcntl(file, fcntl.F_GETFL) & os.O_DIRECT
    return path.read_bytes()


@pytest.mark.parametrize(
    "lengths",
    [
        (),
        (0,),
        (1,),
        (ALIGNMENT,),
        (ALIGNMENT - 1, 2),
        (STAGE_BYTES,),
        (STAGE_BYTES - 7, 7, 0, 1),
        (3, 2 * STAGE_BYTES, ALIGNMENT),
        (17,) * 5000,
    ],
)
def test_what_is_written_is_the_joined_parts(tmp_path: Path, lengths: tuple[int, ...]) -> None:
    parts = parts_of(*lengths)
    assert written(tmp_path / "file", parts) == b"".join(parts)


def test_memory_that_is_used_again_leaves_nothing_of_before(tmp_path: Path) -> None:
    bypass = Bypass()
    written(tmp_path / "first", parts_of(STAGE_BYTES + 100), bypass)
    assert written(tmp_path / "second", parts_of(0, 50), bypass) == b"\1" * 50
    bypass.close()


def test_a_file_system_that_knows_no_bypass_gets_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = fcntl.fcntl

    def refuse(descriptor: int, command: int, flags: int = 0) -> int:
        if flags & os.O_DIRECT:
            raise OSError(errno.EINVAL, "no bypass")
        return real(descriptor, command, flags)

    monkeypatch.setattr(fcntl, "fcntl", refuse)
    parts = parts_of(STAGE_BYTES, 5)
    with (tmp_path / "file").open("xb", buffering=0) as file:
        Bypass().write(file.fileno(), parts)
    assert (tmp_path / "file").read_bytes() == b"".join(parts)


def test_a_write_that_is_refused_directly_is_made_as_usual(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write
    refused: list[int] = []

    def write(descriptor: int, data: memoryview) -> int:
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_DIRECT:
            refused.append(len(data))
            raise OSError(errno.EINVAL, "wants another alignment")
        return real(descriptor, data)

    monkeypatch.setattr(os, "write", write)
    parts = parts_of(STAGE_BYTES + ALIGNMENT, 5)
    assert written(tmp_path / "file", parts) == b"".join(parts)
    assert len(refused) <= 1


def test_short_writes_are_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:ALIGNMENT]))
    parts = parts_of(10 * ALIGNMENT, 5)
    assert written(tmp_path / "file", parts) == b"".join(parts)


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_a_failed_write_is_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    monkeypatch.setattr(os, "write", raising(code))
    with pytest.raises(OSError, match=os.strerror(code)):
        written(tmp_path / "file", parts_of(ALIGNMENT))


def test_a_write_of_nothing_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "write", lambda descriptor, data: 0)
    with pytest.raises(OSError, match="nothing was written"):
        written(tmp_path / "file", parts_of(ALIGNMENT))


@pytest.mark.parametrize("length", [COLD_BYTES_MIN - 1, COLD_BYTES_MIN, COLD_BYTES_MIN + 12345])
def test_packs_come_back_as_they_were_put(tmp_path: Path, length: int) -> None:
    content = os.urandom(length)
    with PosixDriver(str(tmp_path / "root")) as driver:
        driver.put("config", [b"x"])
        driver.put("data/1", [content[:1000], content[1000:]])
        assert driver.get("data/1") == content
