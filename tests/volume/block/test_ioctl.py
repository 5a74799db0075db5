"""What devices answer that no loop device answers: a file stands in, its ioctls are made up."""

from __future__ import annotations

import errno
import fcntl
import logging
import mmap
import os
import stat
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from backupcore.errors import (
    SourceError,
    TargetBusy,
    TargetError,
    UnreadableSector,
    VolumeChanged,
    VolumeMissing,
)
from backupcore.volume import Access, Volume, block, open_volume
from backupcore.volume.file import FileVolume, WritableFile
from tests.volume.block.conftest import FakeSystem

MIB = 1 << 20
SIZE_64, SECTOR_SIZE, READ_ONLY, ZERO_OUT = 0x80081272, 0x1268, 0x125E, 0x127F


@dataclass
class Kernel:
    """Answers ioctls: a number, or the errno it fails with."""

    answers: dict[int, int] = field(default_factory=dict)
    failures: dict[int, int] = field(default_factory=dict)
    zeroed: list[tuple[int, int]] = field(default_factory=list)

    def ioctl(self, descriptor: int, request: int, argument: bytearray | bytes) -> int:
        if request in self.failures:
            raise OSError(self.failures[request], os.strerror(self.failures[request]))
        if request == ZERO_OUT:
            self.zeroed.append(struct.unpack("=QQ", argument))
            os.pwrite(descriptor, bytes(self.zeroed[-1][1]), self.zeroed[-1][0])
        elif request in self.answers:
            assert isinstance(argument, bytearray)
            form = "=Q" if len(argument) == 8 else "=i"
            argument[:] = struct.pack(form, self.answers[request])
        else:
            raise OSError(errno.ENOTTY, "Inappropriate ioctl for device")
        return 0


@pytest.fixture
def path(tmp_path: Path, system: FakeSystem, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(stat, "S_ISREG", lambda mode: False)
    monkeypatch.setattr(stat, "S_ISBLK", lambda mode: mode & 0o170000 == stat.S_IFREG)
    path = tmp_path / "device"
    path.write_bytes(b"\xff" * MIB)
    return path


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    kernel = Kernel()
    monkeypatch.setattr(fcntl, "ioctl", kernel.ioctl)
    return kernel


@pytest.fixture
def target(path: Path, kernel: Kernel) -> Iterator[Volume]:
    kernel.answers[SECTOR_SIZE] = 4096
    with open_volume(str(path), access=Access.WRITE) as volume:
        yield volume


def fail_with(number: int) -> Callable[..., int]:
    def fail(*_: object, **__: object) -> int:
        raise OSError(number, os.strerror(number))

    return fail


class TestFacts:
    def test_size_is_what_the_kernel_says(self, path: Path, kernel: Kernel) -> None:
        kernel.answers[SIZE_64] = 5 << 40
        with open_volume(str(path)) as volume:
            assert volume.size_bytes == 5 << 40

    def test_size_is_the_end_where_the_kernel_does_not_know_the_question(
        self, path: Path, kernel: Kernel
    ) -> None:
        with open_volume(str(path)) as volume:
            assert volume.size_bytes == MIB

    def test_a_device_that_went_away_has_no_size(self, path: Path, kernel: Kernel) -> None:
        kernel.answers[SIZE_64] = MIB
        with open_volume(str(path)) as volume:
            kernel.failures[SIZE_64] = errno.ENXIO
            with pytest.raises(VolumeMissing, match="is gone"):
                volume.current_size_bytes()

    @pytest.mark.parametrize("request_number", [SIZE_64, SECTOR_SIZE])
    def test_a_device_that_cannot_be_asked_is_closed_and_said_to_be_missing(
        self, path: Path, kernel: Kernel, request_number: int
    ) -> None:
        kernel.failures[request_number] = errno.ENXIO
        before = os.listdir("/proc/self/fd")
        with pytest.raises(VolumeMissing, match="cannot be asked"):
            open_volume(str(path))
        assert os.listdir("/proc/self/fd") == before

    def test_sector_size_comes_from_sysfs_where_the_kernel_does_not_know_the_question(
        self, path: Path, kernel: Kernel, system: FakeSystem
    ) -> None:
        system.write("0:0/queue/logical_block_size", "8192")
        with open_volume(str(path)) as volume:
            assert volume.sector_size_bytes == 8192

    def test_a_device_has_no_holes(self, path: Path, kernel: Kernel) -> None:
        os.truncate(path, 0)
        os.truncate(path, MIB)
        with open_volume(str(path)) as volume:
            assert volume.extents(0, MIB).tolist() == [[0, MIB]]

    def test_a_sector_that_cannot_be_read_is_named_by_its_size(
        self, path: Path, kernel: Kernel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        kernel.answers[SECTOR_SIZE] = 4096
        read = os.preadv

        def read_or_fail(descriptor: int, views: Sequence[memoryview], offset: int) -> int:
            if offset < 25_000 < offset + len(views[0]):
                raise OSError(errno.EIO, "Input/output error")
            return read(descriptor, views, offset)

        monkeypatch.setattr(os, "preadv", read_or_fail)
        with (
            open_volume(str(path)) as volume,
            pytest.raises(UnreadableSector, match="sector at offset 24576 cannot be read"),
        ):
            volume.read_into(100, bytearray(65536))


class TestZeroing:
    @pytest.mark.parametrize("sector_size", [512, 4096])
    def test_the_kernel_zeroes_whole_pages_and_we_the_rest(
        self, path: Path, kernel: Kernel, monkeypatch: pytest.MonkeyPatch, sector_size: int
    ) -> None:
        monkeypatch.setattr(mmap, "PAGESIZE", 4096)
        kernel.answers[SECTOR_SIZE] = sector_size
        with open_volume(str(path), access=Access.WRITE) as target:
            target.zero(1000, 20_000)
        assert kernel.zeroed == [(4096, 16_384)]
        assert path.read_bytes() == b"\xff" * 1000 + bytes(20_000) + b"\xff" * (MIB - 21_000)

    def test_less_than_a_page_is_written(self, target: Volume, kernel: Kernel, path: Path) -> None:
        target.zero(4097, 4094)
        assert not kernel.zeroed
        assert path.read_bytes().count(0) == 4094

    @pytest.mark.parametrize(
        "number", [errno.ENOTTY, errno.EOPNOTSUPP, errno.EINVAL, errno.EBUSY, errno.ENOSYS]
    )
    def test_zeros_are_written_where_the_kernel_does_not(
        self, target: Volume, kernel: Kernel, path: Path, number: int
    ) -> None:
        kernel.failures[ZERO_OUT] = number
        target.zero(0, MIB)
        assert path.read_bytes() == bytes(MIB)

    def test_a_medium_that_fails_is_an_error_with_its_offset(
        self, target: Volume, kernel: Kernel
    ) -> None:
        kernel.failures[ZERO_OUT] = errno.EIO
        with pytest.raises(TargetError, match="offset 4096 failed: Input/output error"):
            target.zero(4096, 8192)

    def test_a_pool_that_is_full_is_told(self, target: Volume, kernel: Kernel) -> None:
        kernel.failures[ZERO_OUT] = errno.ENOSPC
        with pytest.raises(TargetError, match=r"no room at offset 0: .*: the pool behind"):
            target.zero(0, 4096)


class TestTargets:
    def test_a_write_protected_device_is_refused(self, path: Path, kernel: Kernel) -> None:
        kernel.answers[READ_ONLY] = 1
        with pytest.raises(TargetBusy, match="write-protected: allow writing with blockdev"):
            open_volume(str(path), access=Access.WRITE)

    def test_a_device_that_nobody_may_open_says_why(
        self, path: Path, kernel: Kernel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "open", fail_with(errno.EACCES))
        with pytest.raises(TargetBusy, match="cannot be opened: Permission denied"):
            open_volume(str(path), access=Access.WRITE)

    def test_a_device_that_the_kernel_refuses_even_when_forced_stays_refused(
        self, path: Path, kernel: Kernel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "open", fail_with(errno.EBUSY))
        with pytest.raises(TargetBusy, match="cannot be opened: Device or resource busy"):
            open_volume(str(path), access=Access.WRITE, force="yes")

    def test_a_device_that_cannot_be_asked_is_busy(self, path: Path, kernel: Kernel) -> None:
        kernel.failures[SECTOR_SIZE] = errno.ENXIO
        with pytest.raises(TargetBusy, match="cannot be asked"):
            open_volume(str(path), access=Access.WRITE)


class TestIdentity:
    def test_a_disk_of_another_serial_under_the_same_number_is_noticed(
        self, path: Path, kernel: Kernel, system: FakeSystem
    ) -> None:
        system.write("0:0/device/serial", "one")
        with open_volume(str(path)) as volume:
            system.write("0:0/device/serial", "two")
            with pytest.raises(VolumeChanged, match="device/serial one, now two"):
                volume.check_identity()

    def test_a_serial_that_can_no_longer_be_read_is_no_other_device(
        self, path: Path, kernel: Kernel, system: FakeSystem
    ) -> None:
        system.write("0:0/device/serial", "one")
        with open_volume(str(path)) as volume:
            (system.folder / "block/0:0/device/serial").unlink()
            volume.check_identity()

    def test_a_path_that_became_something_else_is_noticed(self, path: Path, kernel: Kernel) -> None:
        with open_volume(str(path)) as volume:
            path.unlink()
            path.mkdir()
            with pytest.raises(VolumeChanged, match="is no block device any more"):
                volume.check_identity()


def test_a_device_is_not_taken_for_a_file(path: Path) -> None:
    with pytest.raises(VolumeMissing, match="is a block device and is taken for a file"):
        FileVolume(str(path))
    with pytest.raises(TargetBusy, match="is a block device and is taken for a file"):
        WritableFile(str(path))


def test_a_file_is_not_taken_for_a_device(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        (tmp_path / "file").open("rb") as file,
        pytest.raises(SourceError, match="is no block device"),
    ):
        block.open_source("file", os.dup(file.fileno()))


def test_where_nothing_is_there_is_no_device(tmp_path: Path) -> None:
    assert not block.is_device(str(tmp_path / "none"))


def test_a_mounted_source_is_told_once(
    path: Path, kernel: Kernel, system: FakeSystem, caplog: pytest.LogCaptureFixture
) -> None:
    system.mount(
        "1 2 0:0 / /srv rw - ext4 /dev/x rw", "3 2 0:0 /a /var\\040two ro - ext4 /dev/x rw"
    )
    open_volume(str(path)).close()
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert record.__dict__["mounted_at"] == "/srv, /var two"
