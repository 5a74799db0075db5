from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backupcore.errors import ReadOnly, SourceError, TargetError, UnreadableSector, VolumeShrunk
from backupcore.testing.volume import ReadOnlyVolumeConformance, WritableVolumeConformance
from backupcore.volume import Access, Volume
from backupcore.volume.stream import FileObjectVolume

CONTENT = os.urandom(200_001)


class PlainFile:
    """A file object with no more than it must have, that gives what it likes."""

    def __init__(self, content: bytes) -> None:
        self._file = io.BytesIO(content)

    def read(self, size: int, /) -> bytes:
        return self._file.read(min(size, 10_000))

    def seek(self, offset: int, whence: int = 0, /) -> None:
        self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


class BrokenFile(PlainFile):
    """A file object that fails with an error number on every call after its size was asked."""

    def __init__(self, number: int) -> None:
        super().__init__(CONTENT)
        self._number = number

    def read(self, size: int, /) -> bytes:
        raise OSError(self._number, os.strerror(self._number))

    def write(self, data: Any) -> int:
        raise OSError(self._number, os.strerror(self._number))

    def flush(self) -> None:
        raise OSError(self._number, os.strerror(self._number))


class TestRawFile(ReadOnlyVolumeConformance):
    @pytest.fixture
    def content(self) -> bytes:
        return CONTENT

    @pytest.fixture
    def volume(self, tmp_path: Path, content: bytes) -> Iterator[Volume]:
        (tmp_path / "a").write_bytes(content)
        with (tmp_path / "a").open("rb", buffering=0) as file:
            yield FileObjectVolume(file)


class TestPlainFile(ReadOnlyVolumeConformance):
    @pytest.fixture
    def content(self) -> bytes:
        return CONTENT

    @pytest.fixture
    def volume(self, content: bytes) -> Volume:
        return FileObjectVolume(PlainFile(content), size_bytes=len(content))


class TestWritableFile(WritableVolumeConformance):
    @pytest.fixture
    def content(self) -> bytes:
        return CONTENT

    @pytest.fixture
    def volume(self, tmp_path: Path, content: bytes) -> Iterator[Volume]:
        (tmp_path / "a").write_bytes(content)
        with (tmp_path / "a").open("r+b") as file:
            yield FileObjectVolume(file, access=Access.WRITE)


class TestWritableMemory(WritableVolumeConformance):
    @pytest.fixture
    def content(self) -> bytes:
        return CONTENT

    @pytest.fixture
    def volume(self, content: bytes) -> Volume:
        return FileObjectVolume(io.BytesIO(content), access=Access.WRITE)


def test_object_stays_open_for_its_owner() -> None:
    file = io.BytesIO(CONTENT)
    FileObjectVolume(file).close()
    assert not file.closed


def test_identity_is_the_name_unless_given() -> None:
    assert FileObjectVolume(PlainFile(CONTENT), name="vol-1").identity == "vol-1"
    assert FileObjectVolume(PlainFile(CONTENT), name="vol-1", identity="id").identity == "id"


def test_object_that_ends_early_has_shrunk() -> None:
    volume = FileObjectVolume(PlainFile(b"short"), size_bytes=10)
    with pytest.raises(VolumeShrunk, match="ends at offset 5: it had 10 bytes"):
        volume.read_into(2, bytearray(8))


def test_resized_object_tells_its_size_of_now() -> None:
    file = io.BytesIO(CONTENT)
    volume = FileObjectVolume(file)
    file.truncate(7)
    assert volume.current_size_bytes() == 7


def test_input_error_is_an_unreadable_sector() -> None:
    volume = FileObjectVolume(BrokenFile(errno.EIO))
    with pytest.raises(UnreadableSector, match="between offsets 100 and 150"):
        volume.read_into(100, bytearray(50))


def test_other_read_errors_are_the_sources() -> None:
    volume = FileObjectVolume(BrokenFile(errno.ESTALE))
    with pytest.raises(SourceError, match="Stale file handle"):
        volume.read_into(0, bytearray(5))


def test_object_that_cannot_seek_is_no_volume() -> None:
    reader, writer = os.pipe()
    os.close(writer)
    with os.fdopen(reader, "rb", buffering=0) as pipe, pytest.raises(SourceError, match="its end"):
        FileObjectVolume(pipe)


def test_object_without_write_cannot_be_a_target() -> None:
    volume = FileObjectVolume(PlainFile(CONTENT), access=Access.WRITE)
    with pytest.raises(TargetError, match="cannot write"):
        volume.write(0, b"x")


def test_object_that_can_write_is_safe_when_opened_for_reading() -> None:
    file = io.BytesIO(CONTENT)
    with pytest.raises(ReadOnly):
        FileObjectVolume(file).write(0, b"x")
    assert file.getvalue() == CONTENT


def test_short_writes_are_continued() -> None:
    class Slow(io.BytesIO):
        def write(self, data: Any, /) -> int:
            return super().write(data[:3])

    file = Slow(bytes(20))
    FileObjectVolume(file, access=Access.WRITE).write(5, b"0123456789")
    assert file.getvalue() == bytes(5) + b"0123456789" + bytes(5)


def test_write_error_names_its_offset() -> None:
    volume = FileObjectVolume(BrokenFile(errno.ENOSPC), access=Access.WRITE)
    with pytest.raises(TargetError, match="offset 9 failed"):
        volume.write(9, b"x")


def test_failed_flush_is_an_error() -> None:
    volume = FileObjectVolume(BrokenFile(errno.EIO), access=Access.WRITE)
    with pytest.raises(TargetError, match="durable"):
        volume.finish()


def test_object_without_flush_or_descriptor_finishes() -> None:
    FileObjectVolume(PlainFile(CONTENT), access=Access.WRITE).finish()


def test_reading_finishes_without_flushing() -> None:
    FileObjectVolume(BrokenFile(errno.EIO)).finish()
