"""A second file with the bytes of a first: by sharing its blocks, or by copying its data.

Sharing is one call to the file system and one point in time, whoever writes meanwhile. A copy takes
its time, so the file must stay as it is: what the kernel notes of a change (size, mtime, ctime) is
compared at the end.

Source: ioctl_ficlone(2), copy_file_range(2), Linux manual pages.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from backupcore.errors import Stopped, VolumeChanged
from backupcore.runtime import Clock
from backupcore.units import GIB, MIB
from backupcore.volume.hole import find_data

__all__ = ["copy_data", "may_share_blocks", "share_blocks"]

_FICLONE = 0x40049409  # linux/fs.h
_CANNOT = frozenset(
    (errno.EOPNOTSUPP, errno.ENOTTY, errno.ENOSYS, errno.EXDEV, errno.EINVAL, errno.ETXTBSY)
)
# The kernel stamps files by a clock that ticks every 10 ms or faster.
_TICK_S = 0.02
_WINDOW_BYTES = 64 * GIB
_STEP_BYTES = 64 * MIB
_BUFFER_BYTES = MIB


def may_share_blocks(here: int) -> bool:
    """Return False when the file system of a directory surely cannot share blocks."""
    try:
        with _unnamed_file(here) as source, _unnamed_file(here) as target:
            return share_blocks(source, target)
    except OSError:
        return True  # only a snapshot can tell


@contextmanager
def _unnamed_file(here: int) -> Iterator[int]:
    descriptor = os.open(".", os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600, dir_fd=here)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def share_blocks(source: int, target: int) -> bool:
    """Give an empty file the blocks of another; return whether the file system could. OSError."""
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError as error:
        if error.errno not in _CANNOT:
            raise
        return False
    return True


def copy_data(
    source: int, target: int, path: str, *, clock: Clock, is_stopped: Callable[[], bool]
) -> None:
    """Copy a file's data into a file of no bytes; holes of 64 KiB and more stay holes.

    path: of the source, for messages.
    Raises: VolumeChanged when somebody wrote to the source meanwhile, Stopped, OSError.
    """
    # Flushed pages are write-protected, so that stores into a mapping are noticed as well.
    with suppress(OSError):
        os.fsync(source)
    before = _stamp(source)
    clock.sleep(_TICK_S)
    size_bytes = before[0]
    os.ftruncate(target, size_bytes)
    for start in range(0, size_bytes, _WINDOW_BYTES):
        window = min(_WINDOW_BYTES, size_bytes - start)
        for offset, length in find_data(source, start, window).tolist():
            _copy_extent(source, target, offset, length, is_stopped)
    if _stamp(source) != before:
        raise VolumeChanged(
            f"{path}: was written to while it was copied, so the copy is no point in time: stop "
            "who writes, or keep it on a file system that can share blocks (XFS, Btrfs)"
        )


def _stamp(descriptor: int) -> tuple[int, int, int]:
    """Return what changes with a file: its size and the times of its last changes."""
    status = os.fstat(descriptor)
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _copy_extent(
    source: int, target: int, offset: int, length: int, is_stopped: Callable[[], bool]
) -> None:
    end = offset + length
    while offset < end:
        if is_stopped():
            raise Stopped("stopped: the provider was closed while it copied a volume")
        copied = _copy_some(source, target, offset, min(end - offset, _STEP_BYTES))
        if not copied:  # it was cut off, which its stamp tells
            return
        offset += copied


def _copy_some(source: int, target: int, offset: int, length: int) -> int:
    """Copy up to that many bytes at an offset; return how many."""
    try:
        copied = os.copy_file_range(source, target, length, offset, offset)
    except OSError as error:
        if error.errno not in _CANNOT:
            raise
        copied = 0
    # Some file systems answer 0 for what they cannot copy.
    return copied or os.pwrite(target, os.pread(source, min(length, _BUFFER_BYTES), offset), offset)
