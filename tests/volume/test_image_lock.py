"""QEMU and we keep off each other's image files."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from backupcore.errors import TargetBusy
from backupcore.units import MIB
from backupcore.volume import Access, open_volume
from backupcore.volume.image_lock import is_written_to
from tests.volume.image_user import (
    READER,
    WRITER,
    locked_bytes,
    machine_on,
    opened_by_qemu_io,
    program,
    try_qemu_io,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "disk.img"
    path.write_bytes(os.urandom(MIB))
    return path


def asks_is_written_to(path: Path) -> bool:
    with path.open("rb") as file:
        return is_written_to(file.fileno())


def refuse_to_write(path: Path) -> None:
    with pytest.raises(TargetBusy, match=r"disk\.img: is in use by another program"):
        open_volume(str(path), access=Access.WRITE)


@pytest.mark.parametrize("places", [WRITER, READER, (100,), (203,), (5000,)])
def test_a_file_of_which_another_process_locks_bytes_is_not_written_to(
    path: Path, places: tuple[int, ...]
) -> None:
    with locked_bytes(path, places):
        refuse_to_write(path)
        open_volume(str(path)).close()
    open_volume(str(path), access=Access.WRITE).close()


def test_a_file_that_another_process_locks_for_itself_is_not_written_to(path: Path) -> None:
    with locked_bytes(path, (101,), "exclusive"):
        refuse_to_write(path)


def test_a_file_is_written_to_by_who_says_so_and_not_by_who_reads(path: Path) -> None:
    assert not asks_is_written_to(path)
    with locked_bytes(path, READER):
        assert not asks_is_written_to(path)
    with locked_bytes(path, WRITER):
        assert asks_is_written_to(path)
    with locked_bytes(path, (0,), "exclusive"):
        assert asks_is_written_to(path)
    with open_volume(str(path), access=Access.WRITE):
        assert asks_is_written_to(path)
    assert not asks_is_written_to(path)


def test_a_file_system_without_such_locks_is_written_to_all_the_same(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "fcntl", fail)
    with open_volume(str(path), access=Access.WRITE) as volume:
        volume.write(0, b"written")
    assert path.read_bytes()[:7] == b"written"
    assert not asks_is_written_to(path)


def user_of(kind: str, path: Path) -> AbstractContextManager[None]:
    if kind == "qemu-system":
        return machine_on(path)
    return opened_by_qemu_io(path, *(["-r"] if kind == "reader" else []))


@pytest.mark.parametrize("kind", ["qemu-io", "qemu-system", "reader"])
def test_a_file_that_qemu_uses_is_not_written_to(path: Path, kind: str) -> None:
    with user_of(kind, path):
        refuse_to_write(path)
        assert asks_is_written_to(path) is (kind != "reader")
    open_volume(str(path), access=Access.WRITE).close()


@pytest.mark.parametrize("options", [[], ["-r"]], ids=["writing", "reading"])
def test_qemu_does_not_start_on_a_file_that_is_written_to(path: Path, options: list[str]) -> None:
    with open_volume(str(path), access=Access.WRITE):
        refused = try_qemu_io(path, *options)
        assert "lock" in refused.stdout + refused.stderr
    before = path.read_bytes()
    assert try_qemu_io(path).returncode == 0
    assert path.read_bytes() != before


def test_qemu_does_not_serve_a_file_that_is_written_to(path: Path, tmp_path: Path) -> None:
    socket = f"--socket={tmp_path / 'nbd'}"
    command = [program("qemu-nbd"), "-f", "raw", socket, str(path)]
    with open_volume(str(path), access=Access.WRITE):
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode
    assert "lock" in done.stderr


def test_a_file_that_is_made_is_nobody_elses_until_it_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "new.img"
    with open_volume(str(path), access=Access.CREATE, size_bytes=MIB) as volume:
        volume.finish()
        assert asks_is_written_to(path)
    assert not asks_is_written_to(path)
