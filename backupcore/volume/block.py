"""Block devices of Linux: claimed for writing, measured by the kernel, zeroed for sure.

A source is read as it is; when a file system on it is mounted for writing, a warning says so. A
target is claimed (O_EXCL), so that nobody mounts it meanwhile. Both keep what marks the device and
compare it at the end: a name in /dev may lead to another device by then.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import mmap
import os
import stat
import struct
import sys

from backupcore.errors import TargetBusy, TargetError, VolumeChanged, VolumeMissing
from backupcore.volume.descriptor import OPEN_FLAGS, DescriptorVolume, WritableDescriptor
from backupcore.volume.device import (
    lasting_name,
    mark_of,
    mount_points,
    number_text,
    sector_size,
    use_text,
)

__all__ = ["BlockVolume", "WritableBlock", "is_device", "open_source", "open_target"]

log = logging.getLogger(__name__)

# linux/fs.h; the size of size_t is part of the first.
_BLKGETSIZE64 = 0x80001272 | struct.calcsize("P") << 16
_BLKSSZGET = 0x1268
_BLKROGET = 0x125E
_BLKZEROOUT = 0x127F
_NOT_KNOWN = frozenset((errno.ENOTTY, errno.EINVAL, errno.ENOSYS))
# EBUSY: somebody else holds the device and has unwritten pages of the extent in the cache.
_NOT_ZEROED = _NOT_KNOWN | {errno.EOPNOTSUPP, errno.EBUSY}


def is_device(path: str) -> bool:
    """Return whether a path leads to a block device, through symbolic links or not."""
    try:
        return stat.S_ISBLK(os.stat(path).st_mode)
    except OSError:
        return False


def open_source(path: str, descriptor: int) -> BlockVolume:
    """Return the device behind a descriptor of the path; warn when it is in use.

    Raises: VolumeMissing when it has no medium.
    """
    volume = BlockVolume(path, descriptor)
    if not volume.size_bytes:
        volume.close()
        raise VolumeMissing(f"{path}: is empty: a volume has at least one byte")
    if points := mount_points(volume.number, is_written=True):
        log.warning(
            "volume is mounted for writing: the backup is crash-consistent at best: back up a "
            "snapshot of it",
            extra={"volume": path, "mounted_at": ", ".join(points)},
        )
    return volume


def open_target(path: str, *, is_forced: bool) -> WritableBlock:
    """Claim the device that a path leads to and return it for writing.

    is_forced: take it, with a warning, even when it is mounted or somebody else holds it.
    Raises: TargetBusy when it is in use or write-protected.
    """
    try:
        wanted = os.stat(path)
        descriptor = _claim(path, wanted.st_rdev, is_forced)
        try:
            _check_target(path, descriptor, wanted)
        except BaseException:
            os.close(descriptor)
            raise
    except OSError as error:
        raise TargetBusy(f"{path}: cannot be opened: {error.strerror}") from error
    return WritableBlock(path, descriptor)


def _claim(path: str, number: int, is_forced: bool) -> int:
    """Return a descriptor that keeps others from mounting the device. Raises: TargetBusy, OSError.

    Links are resolved before, so that none is followed at the last moment.
    """
    real, flags = os.path.realpath(path), os.O_RDWR | os.O_NOFOLLOW | OPEN_FLAGS
    try:
        return os.open(real, flags | os.O_EXCL)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        use = use_text(number)
        if not is_forced:
            raise TargetBusy(
                f"{path}: is in use ({use}): unmount it or stop who uses it; --force (force=yes) "
                "overwrites it all the same"
            ) from error
    descriptor = os.open(real, flags)
    log.warning("target is in use and is overwritten", extra={"target": path, "use": use})
    return descriptor


def _check_target(path: str, descriptor: int, wanted: os.stat_result) -> None:
    """Refuse what is not the device that was looked at, and what cannot be written to."""
    found = os.fstat(descriptor)
    if not os.path.samestat(found, wanted) or found.st_rdev != wanted.st_rdev:
        raise TargetBusy(f"{path}: led to another device a moment ago: try again")
    if _ask(descriptor, _BLKROGET, default=0):
        raise TargetBusy(f"{path}: is write-protected: allow writing with blockdev --setrw")


class BlockVolume(DescriptorVolume):
    """A block device, opened for reading.

    number: its st_rdev. mark: what told it from other devices when it was opened.
    """

    number: int
    mark: dict[str, str]

    def _inspect(self) -> None:
        found = os.fstat(self._descriptor)
        if not stat.S_ISBLK(found.st_mode):
            raise self.failure(f"{self.name}: is no block device")
        self.number = found.st_rdev
        self.mark = mark_of(self.number)
        self.identity = lasting_name(self.name, self.number)
        self._path = os.path.abspath(self.name)
        self.sector_size_bytes = _ask(self._descriptor, _BLKSSZGET, default=0) or sector_size(
            self.number
        )

    def _measure(self) -> int:
        try:
            answer = bytearray(8)
            fcntl.ioctl(self._descriptor, _BLKGETSIZE64, answer)
            return int.from_bytes(answer, sys.byteorder)
        except OSError as error:
            if error.errno not in _NOT_KNOWN:
                raise
            return os.lseek(self._descriptor, 0, os.SEEK_END)

    def check_identity(self) -> None:
        """Raise VolumeChanged when path or number mean another device than at opening."""
        if text := self._changes_text():
            raise VolumeChanged(f"{self.name}: {text}: back up again")

    def _changes_text(self) -> str:
        """Return what tells the device of now from the one that was opened."""
        try:
            found = os.stat(self._path)
        except OSError as error:
            return f"is gone from its path ({error.strerror})"
        if not stat.S_ISBLK(found.st_mode):
            return "is no block device any more"
        if found.st_rdev != self.number:
            return (
                f"leads to device {number_text(found.st_rdev)} now and led to "
                f"{number_text(self.number)} when it was opened"
            )
        for name, now in mark_of(self.number).items():
            if (before := self.mark.get(name, now)) != now:
                return f"is another device of the same number now ({name} {before}, now {now})"
        return ""


class WritableBlock(BlockVolume, WritableDescriptor):
    """A block device, overwritten in place; all of it counts as data."""

    def zero(self, offset: int, length: int) -> None:
        """Make an extent zeros that stay; a discard would promise nothing."""
        self.check_write(offset, length)
        # A write into the same page, at this moment, may bring back what the page held before.
        grain = max(self.sector_size_bytes, mmap.PAGESIZE)
        start, end = -(-offset // grain) * grain, (offset + length) // grain * grain
        if start >= end or not self._zero_out(start, end - start):
            self.write_zeros(offset, length)
            return
        self.write_zeros(offset, start - offset)
        self.write_zeros(end, offset + length - end)

    def _zero_out(self, offset: int, length: int) -> bool:
        """Let the kernel zero whole pages; return whether it did."""
        try:
            fcntl.ioctl(self._descriptor, _BLKZEROOUT, struct.pack("=QQ", offset, length))
        except OSError as error:
            if error.errno not in _NOT_ZEROED:
                raise self._write_error(offset, error) from error
            return False
        return True

    def finish(self) -> None:
        """Make what was written durable, on the device that the path still leads to."""
        super().finish()
        if text := self._changes_text():
            raise TargetError(f"{self.name}: {text}: look where the bytes went")

    def _room_text(self) -> str:
        return ": the pool behind the device is full: make room in it"


def _ask(descriptor: int, request: int, *, default: int) -> int:
    """Return the int that an ioctl answers, the default where the kernel does not know it."""
    answer = bytearray(4)
    try:
        fcntl.ioctl(descriptor, request, answer)
    except OSError as error:
        if error.errno not in _NOT_KNOWN:
            raise
        return default
    return int.from_bytes(answer, sys.byteorder)
