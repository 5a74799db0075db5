"""A file that is written to is nobody else's to write to, and tells its holes all the same."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from backupcore.errors import TargetBusy
from backupcore.extents import single_extent
from backupcore.units import MIB
from backupcore.volume import Access, open_volume

HOLDER = """
import sys
from backupcore import Access, open_volume
with open_volume(sys.argv[1], access=Access.WRITE):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "disk.img"
    path.write_bytes(os.urandom(MIB))
    os.truncate(path, 4 * MIB)
    return path


def fail_with(number: int) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


def test_a_file_another_process_writes_to_is_busy_until_it_ends(path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(TargetBusy, match=r"disk\.img: is locked"):
            open_volume(str(path), access=Access.WRITE)
        open_volume(str(path)).close()
        holder.communicate()
    open_volume(str(path), access=Access.WRITE).close()


def test_a_file_this_process_writes_to_is_busy_too(path: Path) -> None:
    with (
        open_volume(str(path), access=Access.WRITE),
        pytest.raises(TargetBusy, match="another restore"),
    ):
        open_volume(str(path), access=Access.WRITE)


def test_a_file_system_without_locks_is_written_to_all_the_same(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "flock", fail_with(errno.ENOLCK))
    with open_volume(str(path), access=Access.WRITE) as volume:
        volume.write(0, b"written")
    assert path.read_bytes()[:7] == b"written"


def test_holes_of_a_target_are_known(path: Path) -> None:
    with open_volume(str(path), access=Access.WRITE) as volume:
        assert volume.extents(0, 4 * MIB).tolist() == [[0, MIB]]
        volume.write(3 * MIB, bytes(65536))
        assert volume.extents(MIB, 3 * MIB).tolist() == [[3 * MIB, 65536]]


def test_a_target_that_cannot_be_flushed_counts_as_data(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_volume(str(path), access=Access.WRITE) as volume:
        monkeypatch.setattr(os, "fsync", fail_with(errno.EINVAL))
        assert volume.extents(0, 4 * MIB).tolist() == single_extent(0, 4 * MIB).tolist()
