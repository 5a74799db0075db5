from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from backupcore.errors import (
    Refused,
    SourceError,
    UnreadableSector,
    VolumeMissing,
    VolumeShrunk,
)
from backupcore.testing.volume import (
    CreatedVolumeConformance,
    ReadOnlyVolumeConformance,
    WritableVolumeConformance,
)
from backupcore.volume import Access, Volume, file, open_volume
from backupcore.volume.file import FileVolume, WritableFile

CONTENT = os.urandom(65536) + bytes(90_000) + os.urandom(123_457)


@pytest.fixture
def content() -> bytes:
    return CONTENT


@pytest.fixture
def path(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "disk.img"
    path.write_bytes(content)
    return path


class TestReadFile(ReadOnlyVolumeConformance):
    @pytest.fixture
    def volume(self, path: Path) -> Iterator[Volume]:
        with open_volume(str(path)) as volume:
            yield volume


class TestReadSparseFile(ReadOnlyVolumeConformance):
    @pytest.fixture
    def content(self) -> bytes:
        return bytes(262_144) + CONTENT + bytes(300_001) + b"end"

    @pytest.fixture
    def volume(self, tmp_path: Path, content: bytes) -> Iterator[Volume]:
        path = tmp_path / "sparse.img"
        with path.open("wb") as image:
            image.seek(262_144)
            image.write(CONTENT)
            image.seek(len(content) - 3)
            image.write(b"end")
        with open_volume(f"file://{path}") as volume:
            yield volume


class TestWriteFile(WritableVolumeConformance):
    @pytest.fixture
    def volume(self, path: Path) -> Iterator[Volume]:
        with open_volume(str(path), access=Access.WRITE) as volume:
            yield volume


class TestWriteFileWithoutHoles(WritableVolumeConformance):
    @pytest.fixture
    def volume(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Volume]:
        monkeypatch.setattr(file, "punch_hole", lambda *_: False)
        with open_volume(str(path), access=Access.WRITE) as volume:
            yield volume


class TestWriteCreatedFile(WritableVolumeConformance):
    @pytest.fixture
    def volume(self, tmp_path: Path, content: bytes) -> Iterator[Volume]:
        path = str(tmp_path / "new.img")
        with open_volume(path, access=Access.CREATE, size_bytes=len(content)) as volume:
            volume.write(0, content)
            yield volume


class TestCreateFile(CreatedVolumeConformance):
    @pytest.fixture
    def create(self, tmp_path: Path) -> Callable[[int], Volume]:
        path = str(tmp_path / "new.img")
        return lambda size_bytes: open_volume(path, access=Access.CREATE, size_bytes=size_bytes)

    @pytest.fixture
    def reopen(self, tmp_path: Path) -> Callable[[], Volume]:
        return lambda: open_volume(str(tmp_path / "new.img"))


def make_sparse(path: Path) -> None:
    """Make 64 MiB of hole with 64 KiB of data at 1 MiB and at 32 MiB."""
    with path.open("wb") as image:
        image.truncate(64 << 20)
        for offset in (1 << 20, 32 << 20):
            image.seek(offset)
            image.write(b"x" * 65536)


def fail_with(number: int) -> Callable[..., int]:
    def fail(*_: object, **__: object) -> int:
        raise OSError(number, os.strerror(number))

    return fail


class TestHoles:
    def test_holes_of_a_sparse_file_are_left_out(self, tmp_path: Path) -> None:
        make_sparse(tmp_path / "a")
        with FileVolume(str(tmp_path / "a")) as volume:
            extents = volume.extents(0, volume.size_bytes)
        assert extents.tolist() == [[1 << 20, 65536], [32 << 20, 65536]]

    def test_window_sees_its_part_of_the_data(self, tmp_path: Path) -> None:
        make_sparse(tmp_path / "a")
        with FileVolume(str(tmp_path / "a")) as volume:
            assert volume.extents((1 << 20) + 100, 200).tolist() == [[(1 << 20) + 100, 200]]
            assert volume.extents(2 << 20, 1 << 20).tolist() == []
            assert volume.extents(40 << 20, 24 << 20).tolist() == []

    def test_short_holes_are_read(self, tmp_path: Path) -> None:
        with (tmp_path / "a").open("wb") as image:
            for offset in range(0, 1 << 20, 8192):
                image.seek(offset)
                image.write(b"x" * 4096)
        with FileVolume(str(tmp_path / "a")) as volume:
            assert volume.extents(0, volume.size_bytes).tolist() == [[0, volume.size_bytes]]

    def test_all_is_data_when_holes_shall_be_read(self, tmp_path: Path) -> None:
        make_sparse(tmp_path / "a")
        with open_volume(str(tmp_path / "a"), read_holes="yes") as volume:
            assert volume.extents(0, 64 << 20).tolist() == [[0, 64 << 20]]

    @pytest.mark.parametrize("number", [errno.EINVAL, errno.EROFS, errno.EIO])
    def test_all_is_data_when_the_cache_cannot_be_flushed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
    ) -> None:
        make_sparse(tmp_path / "a")
        monkeypatch.setattr(os, "fsync", fail_with(number))
        with FileVolume(str(tmp_path / "a")) as volume:
            assert volume.extents(0, 64 << 20).tolist() == [[0, 64 << 20]]

    def test_all_is_data_when_the_file_system_knows_no_holes(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        make_sparse(tmp_path / "a")
        seek = os.lseek

        def seek_without_holes(descriptor: int, offset: int, whence: int) -> int:
            if whence in (os.SEEK_DATA, os.SEEK_HOLE):
                raise OSError(errno.EINVAL, "no holes here")
            return seek(descriptor, offset, whence)

        monkeypatch.setattr(os, "lseek", seek_without_holes)
        with FileVolume(str(tmp_path / "a")) as volume:
            assert volume.extents(0, 64 << 20).tolist() == [[0, 64 << 20]]

    def test_file_cut_off_while_open_is_no_hole(self, tmp_path: Path) -> None:
        make_sparse(tmp_path / "a")
        with FileVolume(str(tmp_path / "a")) as volume:
            os.truncate(tmp_path / "a", 33 << 20)
            with pytest.raises(VolumeShrunk, match=f"had {64 << 20} bytes .* {33 << 20} now"):
                volume.extents(0, 64 << 20)

    def test_zeroing_frees_the_space_of_a_file(self, path: Path) -> None:
        before = path.stat().st_blocks
        with WritableFile(str(path)) as volume:
            volume.zero(0, 65536)
            volume.finish()
        assert path.stat().st_blocks < before
        assert path.stat().st_size == len(CONTENT)


class TestReading:
    def test_short_reads_are_continued(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        read = os.preadv
        monkeypatch.setattr(
            os, "preadv", lambda fd, views, offset: read(fd, [views[0][:1000]], offset)
        )
        buffer = bytearray(len(CONTENT))
        with FileVolume(str(path)) as volume:
            volume.read_into(0, buffer)
        assert buffer == CONTENT

    def test_file_cut_off_while_open_names_offset_and_sizes(self, path: Path) -> None:
        with FileVolume(str(path)) as volume:
            os.truncate(path, 1000)
            pattern = f"ends at offset 1000: it had {len(CONTENT)} bytes when opened and has 1000"
            with pytest.raises(VolumeShrunk, match=pattern):
                volume.read_into(900, bytearray(200))

    def test_resized_file_tells_its_size_of_now(self, path: Path) -> None:
        with FileVolume(str(path)) as volume:
            os.truncate(path, 5)
            assert (volume.size_bytes, volume.current_size_bytes()) == (len(CONTENT), 5)

    def test_closed_file_cannot_be_asked(self, path: Path) -> None:
        volume = FileVolume(str(path))
        volume.close()
        with pytest.raises(VolumeMissing):
            volume.current_size_bytes()

    def test_unreadable_sector_is_named(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        break_sector(monkeypatch, 20_480, errno.EIO)
        with (
            FileVolume(str(path)) as volume,
            pytest.raises(UnreadableSector, match="sector at offset 20480 cannot be read"),
        ):
            volume.read_into(100, bytearray(65536))

    def test_bytes_before_an_unreadable_sector_can_be_read(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        break_sector(monkeypatch, 20_480, errno.EIO)
        buffer = bytearray(20_480)
        with FileVolume(str(path)) as volume:
            volume.read_into(0, buffer)
        assert buffer == CONTENT[:20_480]

    def test_read_error_that_goes_away_is_survived_and_told(
        self, path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        read = os.preadv

        def read_small(descriptor: int, views: Sequence[memoryview], offset: int) -> int:
            if len(views[0]) > 512:
                raise OSError(errno.EIO, "I/O error")
            return read(descriptor, views, offset)

        monkeypatch.setattr(os, "preadv", read_small)
        buffer = bytearray(5000)
        with FileVolume(str(path)) as volume:
            volume.read_into(100, buffer)
        assert buffer == CONTENT[100:5100]
        assert "went away" in caplog.text

    def test_file_cut_off_while_narrowing_down_has_shrunk(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def end_early(descriptor: int, views: Sequence[memoryview], offset: int) -> int:
            if len(views[0]) > 512:
                raise OSError(errno.EIO, "I/O error")
            return 0

        monkeypatch.setattr(os, "preadv", end_early)
        with FileVolume(str(path)) as volume, pytest.raises(VolumeShrunk):
            volume.read_into(0, bytearray(5000))

    def test_other_read_errors_name_offset_and_cause(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "preadv", fail_with(errno.ESTALE))
        with (
            FileVolume(str(path)) as volume,
            pytest.raises(SourceError, match="offset 7: Stale file handle"),
        ):
            volume.read_into(7, bytearray(9))


def break_sector(monkeypatch: pytest.MonkeyPatch, sector: int, number: int) -> None:
    """Let every read fail that touches the 512 bytes at an offset."""
    read = os.preadv

    def read_or_fail(descriptor: int, views: Sequence[memoryview], offset: int) -> int:
        if offset < sector + 512 and sector < offset + len(views[0]):
            raise OSError(number, os.strerror(number))
        return read(descriptor, views, offset)

    monkeypatch.setattr(os, "preadv", read_or_fail)


class TestOpening:
    def test_identity_is_the_real_path(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (path.parent / "link").symlink_to(path)
        monkeypatch.chdir(path.parent)
        with open_volume("link") as first, open_volume(f"file://{path}") as second:
            assert first.identity == second.identity == os.path.realpath(path)

    def test_missing_file_is_no_volume(self, tmp_path: Path) -> None:
        with pytest.raises(VolumeMissing, match="No such file"):
            open_volume(str(tmp_path / "none"))

    def test_folder_is_no_volume(self, tmp_path: Path) -> None:
        with pytest.raises(VolumeMissing, match="is a directory: a volume is a file or"):
            open_volume(str(tmp_path))

    def test_pipe_is_no_volume_and_is_not_waited_for(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(VolumeMissing, match="is a pipe"):
            open_volume(str(tmp_path / "pipe"))

    def test_character_device_is_no_volume(self) -> None:
        with pytest.raises(VolumeMissing, match="is a character device"):
            open_volume("/dev/zero")

    def test_empty_file_is_no_volume(self, tmp_path: Path) -> None:
        (tmp_path / "empty").touch()
        with pytest.raises(VolumeMissing, match="is empty"):
            open_volume(str(tmp_path / "empty"))

    def test_unreadable_file_says_why(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "open", fail_with(errno.EACCES))
        with pytest.raises(VolumeMissing, match="Permission denied"):
            open_volume(str(path))

    @pytest.mark.parametrize(
        "url", ["file://host/a", "file:a?format=qcow2", "file:a?read_holes=maybe"]
    )
    def test_what_a_file_url_cannot_mean_is_refused(self, url: str) -> None:
        with pytest.raises(Refused):
            open_volume(url)
