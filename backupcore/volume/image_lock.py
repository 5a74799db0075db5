"""Locks by which QEMU and we keep off each other's image files.

QEMU locks single bytes of an image, whatever they hold, for as long as it has it open:

    100 + n    it does this                          n: 0 reads, 1 writes, 2 writes what is there
    200 + n    nobody else may do this meanwhile        already, 3 changes the size

All of these are shared locks; who wants to open an image takes its own and then asks whether one
of them forbids what another does. The locks belong to the open file, so they end with it.

Source: raw_check_lock_bytes in block/file-posix.c of QEMU; fcntl(2), open file description locks.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import struct

from backupcore.errors import TargetBusy

__all__ = ["claim_image", "is_written_to"]

log = logging.getLogger(__name__)

_DOES, _FORBIDS, _KIND_COUNT = 100, 200, 4
_WRITES = 101
_TO_THE_END = 0
_LOCK = struct.Struct("@hhqqi0q")  # struct flock: kind, whence, start, length, process
_TAKEN = frozenset((errno.EAGAIN, errno.EACCES))


def claim_image(path: str, descriptor: int) -> None:
    """Keep every other program from an image file until the descriptor is closed.

    Where the file system knows no such locks nobody is kept away.
    Raises: TargetBusy when another program has locked any part of it.
    """
    try:
        for start in (_DOES, _FORBIDS):
            lock = _LOCK.pack(fcntl.F_RDLCK, 0, start, _KIND_COUNT, 0)
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, lock)
        is_free = not _is_locked(descriptor, fcntl.F_WRLCK, 0, _TO_THE_END)
    except OSError as error:
        is_free = error.errno not in _TAKEN
        if is_free:
            log.debug("image cannot be locked", extra={"reason": error.strerror})
    if not is_free:
        raise TargetBusy(
            f"{path}: is in use by another program, such as a virtual machine: stop that first"
        )


def is_written_to(descriptor: int) -> bool:
    """Return whether another program has an image file open for writing, as far as it says so."""
    try:
        return _is_locked(descriptor, fcntl.F_WRLCK, _WRITES, _KIND_COUNT - 1) or _is_locked(
            descriptor, fcntl.F_RDLCK, 0, _TO_THE_END
        )
    except OSError as error:
        log.debug("image cannot be asked for locks", extra={"reason": error.strerror})
        return False


def _is_locked(descriptor: int, kind: int, start: int, length: int) -> bool:
    """Return whether somebody else's lock is in the way of one of this kind."""
    asked = _LOCK.pack(kind, 0, start, length, 0)
    answer = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, asked)
    found: int = _LOCK.unpack(answer)[0]
    return found != fcntl.F_UNLCK
