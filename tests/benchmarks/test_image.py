from __future__ import annotations

import os
from pathlib import Path

import pytest

from backupcore.extents import as_extents
from backupcore.units import KIB, MIB
from backupcore.volume.memory import MemoryVolume
from benchmarks.image import (
    copy_image,
    data_length,
    is_same,
    is_same_extents,
    work_folder,
    write_islands,
)


@pytest.fixture
def sparse(tmp_path: Path) -> Path:
    """64 MiB with four islands of 1 MiB."""
    path = tmp_path / "sparse.img"
    path.touch()
    os.truncate(path, 64 * MIB)
    write_islands(path, 4 * MIB, seed=1)
    return path


def test_work_folder_is_gone_after_an_error(tmp_path: Path) -> None:
    def fail() -> None:
        with work_folder(str(tmp_path)) as folder:
            (folder / "image").write_bytes(b"a")
            raise SystemExit(1)

    with pytest.raises(SystemExit):
        fail()
    assert not list(tmp_path.iterdir())


def test_islands_leave_holes_between_them(sparse: Path) -> None:
    assert (sparse.stat().st_size, data_length(sparse)) == (64 * MIB, 4 * MIB)


def test_every_second_island_can_be_written_alone(sparse: Path) -> None:
    before = sparse.read_bytes()
    write_islands(sparse, 4 * MIB, seed=2, step=2)
    after = sparse.read_bytes()
    starts = range(0, 64 * MIB, 16 * MIB)
    changed = [before[start : start + MIB] != after[start : start + MIB] for start in starts]
    assert changed == [True, False, True, False]


def test_copy_has_the_same_bytes_and_holes(sparse: Path, tmp_path: Path) -> None:
    copy_image(sparse, tmp_path / "copy")
    assert is_same(sparse, tmp_path / "copy")
    assert data_length(tmp_path / "copy") == data_length(sparse)


@pytest.mark.parametrize("other", [b"ab\0", b"abd", b"ab", b"abcd"])
def test_other_bytes_are_not_the_same(tmp_path: Path, other: bytes) -> None:
    (tmp_path / "first").write_bytes(b"abc")
    (tmp_path / "second").write_bytes(other)
    assert not is_same(tmp_path / "first", tmp_path / "second")


@pytest.mark.parametrize(
    ("stream", "expected"), [(b"bcf", True), (b"bcg", False), (b"bc", False), (b"bcfg", False)]
)
def test_stream_of_extents_is_compared_whole(tmp_path: Path, stream: bytes, expected: bool) -> None:
    (tmp_path / "stream").write_bytes(stream)
    extents = as_extents([(1, 2), (5, 1)])
    assert is_same_extents(MemoryVolume(b"abcdefg"), extents, tmp_path / "stream") is expected


def test_data_ends_with_the_image(tmp_path: Path) -> None:
    (tmp_path / "odd").write_bytes(b"a" * (64 * KIB + 1))
    assert data_length(tmp_path / "odd") == 64 * KIB + 1
