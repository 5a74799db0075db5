"""Reading past the page cache: alignment, ends, and who refuses."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from backupcore.errors import Refused, UnreadableSector, VolumeShrunk
from backupcore.volume import Access, open_volume
from tests.volume.block.conftest import CONTENT, Bay

ODD = CONTENT + b"odd end"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "disk.img"
    path.write_bytes(ODD)
    return path


def aligned(length: int) -> memoryview:
    return memoryview(mmap.mmap(-1, length + 4096))


class TestReading:
    def test_the_descriptor_reads_past_the_cache(self, path: Path) -> None:
        with open_volume(str(path), direct="yes") as volume:
            descriptor: int = volume._descriptor  # type: ignore[attr-defined]
            assert fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_DIRECT

    def test_aligned_buffers_are_filled_without_a_copy(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen: list[int] = []
        read = os.preadv

        def note(descriptor: int, views: Sequence[memoryview], offset: int) -> int:
            seen.append(len(views[0]))
            return read(descriptor, views, offset)

        with open_volume(str(path), direct="yes") as volume:
            monkeypatch.setattr(os, "preadv", note)
            buffer = aligned(len(ODD))[: len(ODD)]
            volume.read_into(0, buffer)
        assert bytes(buffer) == ODD
        assert seen == [len(CONTENT), 4096]

    @pytest.mark.parametrize("shift", [0, 1, 512])
    @pytest.mark.parametrize(
        ("offset", "length"),
        [(0, 1), (1, 4096), (4096, 8192), (4095, 65_538), (9000, len(CONTENT) - 9000)],
    )
    def test_any_alignment_reads_the_same(
        self, path: Path, shift: int, offset: int, length: int
    ) -> None:
        buffer = aligned(length)[shift : shift + length]
        with open_volume(str(path), direct="yes") as volume:
            volume.read_into(offset, buffer)
        assert bytes(buffer) == ODD[offset : offset + length]

    def test_short_reads_are_continued_wherever_they_end(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        read = os.preadv

        def read_little(descriptor: int, views: Sequence[memoryview], offset: int) -> int:
            count = read(descriptor, views, offset)
            return min(count, 5000) if len(views[0]) > 8192 else count

        buffer = aligned(len(ODD))[: len(ODD)]
        with open_volume(str(path), direct="yes") as volume:
            monkeypatch.setattr(os, "preadv", read_little)
            volume.read_into(0, buffer)
        assert bytes(buffer) == ODD

    def test_a_file_that_was_cut_off_has_shrunk(self, path: Path) -> None:
        with open_volume(str(path), direct="yes") as volume:
            os.truncate(path, 8192)
            with pytest.raises(VolumeShrunk, match="ends at offset 8192"):
                volume.read_into(4096, aligned(16_384)[:16_384])

    def test_a_block_that_cannot_be_read_is_named(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        read = os.preadv

        def read_or_fail(descriptor: int, views: Sequence[memoryview], offset: int) -> int:
            if offset < 20_500 < offset + len(views[0]):
                raise OSError(errno.EIO, "Input/output error")
            return read(descriptor, views, offset)

        with open_volume(str(path), direct="yes") as volume:
            monkeypatch.setattr(os, "preadv", read_or_fail)
            with pytest.raises(UnreadableSector, match="sector at offset 20480 cannot be read"):
                volume.read_into(0, aligned(65_536)[:65_536])

    def test_holes_are_still_holes(self, tmp_path: Path) -> None:
        with (tmp_path / "sparse").open("wb") as image:
            image.truncate(1 << 24)
            image.write(b"x" * 65_536)
        with open_volume(str(tmp_path / "sparse"), direct="yes") as volume:
            assert volume.extents(0, 1 << 24).tolist() == [[0, 65_536]]

    def test_an_end_that_fills_no_page_is_read_from_a_device(self, bay: Bay) -> None:
        content = CONTENT + b"x" * 512
        buffer = aligned(len(content))[: len(content)]
        with open_volume(bay.make(content), direct="yes") as volume:
            volume.read_into(0, buffer)
        assert bytes(buffer) == content


class TestRefusing:
    def test_a_file_system_without_it_is_refused_with_what_to_do(self) -> None:
        pattern = "cannot be read past the page cache: leave out --direct"
        with pytest.raises(Refused, match=pattern):
            open_volume("/sys/kernel/mm/transparent_hugepage/enabled", direct="yes")

    def test_a_real_file_system_without_it_is_refused(self, bay: Bay, tmp_path: Path) -> None:
        point = tmp_path / "ramfs"
        point.mkdir()
        if subprocess.run(["mount", "-t", "ramfs", "none", point], check=False).returncode:
            pytest.skip("cannot mount a ramfs here: run as root of the machine")
        bay.mounts.append(str(point))
        (point / "disk.img").write_bytes(ODD)
        with pytest.raises(Refused, match="past the page cache"):
            open_volume(str(point / "disk.img"), direct="yes")

    def test_a_file_system_that_refuses_the_first_read_is_refused_and_closed(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: object) -> int:
            raise OSError(errno.EINVAL, "Invalid argument")

        monkeypatch.setattr(os, "preadv", refuse)
        before = os.listdir("/proc/self/fd")
        with pytest.raises(Refused, match="past the page cache"):
            open_volume(str(path), direct="yes")
        assert os.listdir("/proc/self/fd") == before

    def test_a_bad_first_block_is_found_when_it_is_read(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: object) -> int:
            raise OSError(errno.EIO, "Input/output error")

        monkeypatch.setattr(os, "preadv", fail)
        with (
            open_volume(str(path), direct="yes") as volume,
            pytest.raises(UnreadableSector, match="offset 0 "),
        ):
            volume.read_into(0, bytearray(10))

    def test_writing_past_the_cache_is_refused(self, path: Path) -> None:
        with pytest.raises(Refused, match="only reading"):
            open_volume(str(path), access=Access.WRITE, direct="yes")

    @pytest.mark.parametrize("name", ["direct", "force", "read_holes"])
    def test_an_option_is_yes_or_no(self, path: Path, name: str) -> None:
        with pytest.raises(Refused, match=f"{name}=1: say yes or no"):
            open_volume(f"file:{path}?{name}=1")


def test_reading_past_the_cache_is_told_in_the_log(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        open_volume(str(path), direct="yes").close()
    assert "read past the page cache" in caplog.text
