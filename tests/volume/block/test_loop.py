"""What is promised of block devices, on real ones."""

from __future__ import annotations

import fcntl
import logging
import os
import re
import stat
import subprocess
from pathlib import Path

import pytest

from backupcore.errors import (
    TargetBusy,
    TargetError,
    TargetTooSmall,
    UnreadableSector,
    VolumeChanged,
    VolumeMissing,
)
from backupcore.volume import Access, open_volume
from backupcore.volume.block import BlockVolume, WritableBlock
from tests.volume.block.conftest import CONTENT, Bay

SECTOR_SIZES = pytest.mark.parametrize("sector_size", [512, 4096])
MIB = 1 << 20
LOOP_CHANGE_FD = 0x4C06


def read(path: str, length: int = len(CONTENT)) -> bytes:
    with open(path, "rb") as device:
        return device.read(length)


@SECTOR_SIZES
def test_size_and_sector_size_are_those_of_the_device(bay: Bay, sector_size: int) -> None:
    with open_volume(bay.make(bytes(3 * MIB), sector_size=sector_size)) as volume:
        assert isinstance(volume, BlockVolume)
        assert (volume.size_bytes, volume.sector_size_bytes) == (3 * MIB, sector_size)


def test_a_device_that_was_resized_tells_its_size_of_now(bay: Bay) -> None:
    image = bay.image()
    path = bay.attach(image)
    with open_volume(path) as volume:
        os.truncate(image, 2 * MIB)
        subprocess.run(["losetup", "--set-capacity", path], check=True)
        assert (volume.size_bytes, volume.current_size_bytes()) == (len(CONTENT), 2 * MIB)


def test_a_device_without_a_medium_is_no_volume(bay: Bay) -> None:
    with pytest.raises(VolumeMissing, match="is empty"):
        open_volume(bay.make_empty())


@pytest.mark.parametrize("access", [Access.READ, Access.WRITE])
def test_a_device_is_opened_through_links(bay: Bay, tmp_path: Path, access: Access) -> None:
    path = bay.make()
    (tmp_path / "by-id").symlink_to(path)
    (tmp_path / "lv").symlink_to("by-id")
    with open_volume(str(tmp_path / "lv"), access=access) as volume:
        assert isinstance(volume, BlockVolume)
        assert (volume.identity, volume.size_bytes) == (path, len(CONTENT))


def test_what_is_written_through_a_link_reaches_the_device(bay: Bay, tmp_path: Path) -> None:
    path = bay.make()
    (tmp_path / "lv").symlink_to(path)
    with open_volume(str(tmp_path / "lv"), access=Access.WRITE) as volume:
        volume.write(1000, b"written")
        volume.finish()
    assert read(path) == CONTENT[:1000] + b"written" + CONTENT[1007:]


def test_a_mounted_target_is_refused_and_kept(bay: Bay) -> None:
    path = bay.make(bytes(4 * MIB))
    point = bay.mount(path)
    pattern = rf"{path}: is in use \(mounted at {re.escape(point)}\): unmount it .*--force"
    with pytest.raises(TargetBusy, match=pattern):
        open_volume(path, access=Access.WRITE)


def test_a_target_that_is_mounted_read_only_is_refused(bay: Bay) -> None:
    path = bay.make(bytes(4 * MIB))
    bay.mount(path)
    bay.clear_mounts()
    bay.mount(path, "ro")
    with pytest.raises(TargetBusy, match="mounted at"):
        open_volume(path, access=Access.WRITE)


def test_a_mounted_target_is_overwritten_when_forced_and_told(
    bay: Bay, caplog: pytest.LogCaptureFixture
) -> None:
    path = bay.make(bytes(4 * MIB))
    point = bay.mount(path)
    with open_volume(f"file:{path}?force=yes", access=Access.WRITE) as volume:
        volume.zero(0, 1024)
        volume.write(512, b"forced")
        volume.finish()
    assert read(path, 1024) == bytes(512) + b"forced" + bytes(506)
    [record] = caplog.records
    assert record.message == "target is in use and is overwritten"
    assert (record.__dict__["target"], record.__dict__["use"]) == (path, f"mounted at {point}")


def test_a_target_is_nobody_elses_while_it_is_open(bay: Bay) -> None:
    path = bay.make()
    with (
        open_volume(path, access=Access.WRITE),
        pytest.raises(TargetBusy, match="used by another program"),
    ):
        open_volume(path, access=Access.WRITE)


def test_forcing_a_target_that_is_free_claims_it_all_the_same(bay: Bay) -> None:
    path = bay.make()
    with open_volume(path, access=Access.WRITE, force="yes"), pytest.raises(TargetBusy):
        open_volume(path, access=Access.WRITE)


def test_a_write_protected_target_is_refused_before_anything_is_written(bay: Bay) -> None:
    path = bay.attach(bay.image(), "--read-only")
    with pytest.raises(TargetBusy, match=r"write-protected|cannot be opened"):
        open_volume(path, access=Access.WRITE)


def test_a_source_that_is_mounted_for_writing_is_backed_up_with_a_warning(
    bay: Bay, caplog: pytest.LogCaptureFixture
) -> None:
    path = bay.make(bytes(4 * MIB))
    point = bay.mount(path)
    open_volume(path).close()
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert "crash-consistent at best: back up a snapshot" in record.message
    assert record.__dict__["mounted_at"] == point


def test_a_source_that_is_mounted_read_only_is_no_reason_to_warn(
    bay: Bay, caplog: pytest.LogCaptureFixture
) -> None:
    path = bay.make(bytes(4 * MIB))
    bay.mount(path)
    bay.clear_mounts()
    bay.mount(path, "ro")
    open_volume(path).close()
    assert not caplog.records


@SECTOR_SIZES
def test_zeroed_extents_of_any_alignment_read_as_zeros(bay: Bay, sector_size: int) -> None:
    path = bay.make(b"\xff" * MIB, sector_size=sector_size)
    extents = [(0, 4096), (5000, 1), (8191, 2), (20_000, 300_001), (MIB - 513, 513)]
    wanted = bytearray(b"\xff" * MIB)
    with open_volume(path, access=Access.WRITE) as volume:
        for offset, length in extents:
            volume.zero(offset, length)
            wanted[offset : offset + length] = bytes(length)
        volume.finish()
    assert read(path, MIB) == wanted


def test_zeroing_overwrites_what_still_waits_in_the_cache(bay: Bay) -> None:
    path = bay.make()
    with open_volume(path, access=Access.WRITE) as volume:
        volume.write(0, b"\xff" * 16384)
        volume.zero(512, 8192)
        volume.write(1024, b"new")
        volume.finish()
    wanted = b"\xff" * 512 + bytes(512) + b"new" + bytes(7677) + b"\xff" * 7680
    assert read(path, 16384) == wanted


def test_zeroing_keeps_the_space_of_the_device(bay: Bay) -> None:
    image = bay.image(os.urandom(MIB))
    path = bay.attach(image)
    before = image.stat().st_blocks
    with open_volume(path, access=Access.WRITE) as volume:
        assert not volume.is_known_zero
        volume.zero(0, MIB)
        volume.finish()
    assert image.stat().st_blocks >= before - 8
    assert read(path, MIB) == bytes(MIB)


@pytest.mark.parametrize("direct", ["yes", "no"])
def test_a_sector_that_cannot_be_read_is_named(bay: Bay, direct: str) -> None:
    image = bay.image()
    path = bay.attach(image)
    os.truncate(image, 131_072)
    with (
        open_volume(path, direct=direct) as volume,
        pytest.raises(UnreadableSector, match="sector at offset 131072 cannot be read"),
    ):
        volume.read_into(100_000, bytearray(100_000))


def test_writing_past_the_end_of_a_device_is_refused(bay: Bay) -> None:
    with (
        open_volume(bay.make(), access=Access.WRITE) as volume,
        pytest.raises(TargetTooSmall),
    ):
        volume.write(len(CONTENT), b"x")


def test_a_device_that_stays_is_the_same(bay: Bay) -> None:
    with open_volume(bay.make()) as volume:
        volume.check_identity()


def test_a_path_that_leads_to_another_device_is_noticed(bay: Bay, tmp_path: Path) -> None:
    first, second = bay.make(), bay.make()
    link = tmp_path / "snapshot"
    link.symlink_to(first)
    with open_volume(str(link)) as volume:
        link.unlink()
        link.symlink_to(second)
        numbers = [os.stat(path).st_rdev for path in (second, first)]
        pattern = "leads to device {}:{} now and led to {}:{} when it was opened".format(
            *(part for number in numbers for part in (os.major(number), os.minor(number)))
        )
        with pytest.raises(VolumeChanged, match=pattern):
            volume.check_identity()


def test_a_path_that_leads_nowhere_any_more_is_noticed(bay: Bay, tmp_path: Path) -> None:
    link = tmp_path / "snapshot"
    link.symlink_to(bay.make())
    with open_volume(str(link)) as volume:
        link.unlink()
        with pytest.raises(VolumeChanged, match="is gone from its path"):
            volume.check_identity()


def test_a_device_that_got_another_medium_is_noticed(bay: Bay) -> None:
    path = bay.attach(bay.image(), "--read-only")
    other = bay.image(CONTENT[::-1])
    with open_volume(path) as volume, other.open("rb") as medium, open(path, "rb") as device:
        fcntl.ioctl(device, LOOP_CHANGE_FD, medium.fileno())
        with pytest.raises(VolumeChanged, match="another device of the same number"):
            volume.check_identity()


def test_a_target_whose_path_leads_elsewhere_at_the_end_is_an_error(
    bay: Bay, tmp_path: Path
) -> None:
    first, second = bay.make(), bay.make()
    link = tmp_path / "lv"
    link.symlink_to(first)
    with open_volume(str(link), access=Access.WRITE) as volume:
        volume.write(0, b"lost")
        link.unlink()
        link.symlink_to(second)
        with pytest.raises(TargetError, match="look where the bytes went"):
            volume.finish()


def test_a_target_that_is_swapped_while_it_is_opened_is_refused(
    bay: Bay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = bay.make(), bay.make()
    link, real = tmp_path / "lv", os.path.realpath
    link.symlink_to(first)

    def swap(path: str) -> str:
        link.unlink()
        link.symlink_to(second)
        return real(path)

    monkeypatch.setattr(os.path, "realpath", swap)
    with pytest.raises(TargetBusy, match="led to another device a moment ago"):
        open_volume(str(link), access=Access.WRITE)
    assert read(second) == CONTENT


def test_a_device_that_is_swapped_for_a_link_is_not_followed(
    bay: Bay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = bay.make()
    number = os.stat(path).st_rdev
    node = tmp_path / "node"
    os.mknod(node, stat.S_IFBLK | 0o600, number)

    def swap(path: str) -> str:
        node.unlink()
        node.symlink_to(bay.devices[0])
        return path

    monkeypatch.setattr(os.path, "realpath", swap)
    with pytest.raises(TargetBusy, match="cannot be opened"):
        open_volume(str(node), access=Access.WRITE)


def test_a_device_node_anywhere_is_opened(bay: Bay, tmp_path: Path) -> None:
    node = tmp_path / "node"
    os.mknod(node, stat.S_IFBLK | 0o600, os.stat(bay.make()).st_rdev)
    with open_volume(str(node), access=Access.WRITE) as volume:
        assert isinstance(volume, WritableBlock)
