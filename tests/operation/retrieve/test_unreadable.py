"""Targets of a restore in place that cannot be read, as a whole or somewhere."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from backupcore.config import Tuning
from backupcore.errors import TargetError
from backupcore.operation.restore import compare, restore_in_place
from backupcore.volume import Access, open_volume
from backupcore.volume.memory import MemoryVolume
from backupcore.volume.stream import FileObjectVolume
from tests.operation.retrieve.conftest import SIZE
from tests.operation.scene import CHUNK, INLINE, LEAF_LENGTH, THREADS, Scene
from tests.operation.volumes import WatchedVolume, failing_at, nth_time


@pytest.mark.parametrize("tuning", [INLINE, THREADS], ids=["inline", "threads"])
def test_a_target_that_cannot_be_read_is_an_error_that_names_the_offset(
    scene: Scene, content: bytes, tuning: Tuning
) -> None:
    target = WatchedVolume(bytearray(content), failing_at(3 * CHUNK + 5))
    with (
        scene.open() as repository,
        pytest.raises(TargetError, match=rf"memory: .* cell at offset {3 * CHUNK} .*read"),
    ):
        restore_in_place(repository, "latest", target, tuning=tuning)
    assert scene.listed("sessions/") == []


def test_a_read_error_that_goes_away_is_none(scene: Scene, content: bytes) -> None:
    fail = failing_at(0)
    target = WatchedVolume(bytearray(content), nth_time(1, lambda: fail(0, 1)))
    with scene.open() as repository:
        done = restore_in_place(repository, "latest", target, tuning=INLINE)
    assert done.equal_bytes == SIZE


def test_a_medium_error_of_a_file_is_told_in_the_words_of_the_system(
    scene: Scene, content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "target"
    path.write_bytes(content)

    def fail(*_: object) -> int:
        raise OSError(5, os.strerror(5))

    match = r"offset 0 cannot be read: Input/output error: restore"
    with scene.open() as repository, open_volume(str(path), access=Access.WRITE) as target:
        monkeypatch.setattr(os, "preadv", fail)
        with pytest.raises(TargetError, match=match):
            restore_in_place(repository, "latest", target, tuning=INLINE)


def test_a_target_that_was_cut_off_is_an_error(scene: Scene, content: bytes) -> None:
    target = MemoryVolume(content)
    del target.content[LEAF_LENGTH:]
    with scene.open() as repository, pytest.raises(TargetError, match=f"offset {LEAF_LENGTH} "):
        restore_in_place(repository, "latest", target, tuning=INLINE)


def test_a_file_cut_off_is_an_error(scene: Scene, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "target"
    path.write_bytes(content)
    with scene.open() as repository, open_volume(str(path)) as target:
        os.truncate(path, LEAF_LENGTH)
        with pytest.raises(TargetError, match="cannot be compared"):
            compare(repository, "latest", target, tuning=INLINE)


class WriteOnly(io.BytesIO):
    """Cannot be read."""

    def readinto(self, buffer: object) -> int:
        raise io.UnsupportedOperation("not readable")


def test_a_target_that_may_not_be_read_is_an_error(scene: Scene, content: bytes) -> None:
    target = FileObjectVolume(WriteOnly(content), access=Access.WRITE)
    with scene.open() as repository, pytest.raises(TargetError, match="not readable"):
        restore_in_place(repository, "latest", target, tuning=INLINE)
