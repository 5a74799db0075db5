"""Reading past the page cache: O_DIRECT, and aligned memory for what is not aligned.

Source: open(2), Linux manual page, on O_DIRECT: memory, offset and length must be aligned.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import threading

from backupcore.errors import Refused
from backupcore.units import KIB, MIB

__all__ = ["DirectReader"]

_BOUNCE_BYTES = MIB
# Satisfies every file system and every device of smaller sectors.
_GRAIN_BYTES_MIN = 4 * KIB


class DirectReader:
    """Reads a descriptor past the page cache; may be called by many threads.

    grain_bytes: what offsets and lengths that reach the system are multiples of.
    """

    def __init__(self, name: str, descriptor: int, sector_size_bytes: int) -> None:
        """Switch a descriptor over. Raises: Refused where the file system cannot do it."""
        self.grain_bytes = max(_GRAIN_BYTES_MIN, sector_size_bytes)
        self._descriptor = descriptor
        self._own = threading.local()
        try:
            flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
            fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | os.O_DIRECT)
            os.preadv(descriptor, [self._bounce()[: self.grain_bytes]], 0)
        except OSError as error:
            # A bad first sector is found, and named, when it is read in earnest.
            if error.errno in (errno.EINVAL, errno.EOPNOTSUPP):
                raise Refused(
                    f"{name}: its file system cannot be read past the page cache: "
                    "leave out --direct (direct=yes)"
                ) from error

    def read(self, view: memoryview, offset: int) -> int:
        """Read up to a buffer's length from an offset on; return how many bytes; 0 at the end."""
        body = len(view) // self.grain_bytes * self.grain_bytes
        if body and offset % self.grain_bytes == 0 and _address(view) % mmap.PAGESIZE == 0:
            return os.preadv(self._descriptor, [view[:body]], offset)
        skip = offset % self.grain_bytes
        bounce = self._bounce()
        needed = -(-(skip + len(view)) // self.grain_bytes) * self.grain_bytes
        count = os.preadv(self._descriptor, [bounce[:needed]], offset - skip) - skip
        count = min(max(count, 0), len(view))
        view[:count] = bounce[skip : skip + count]
        return count

    def _bounce(self) -> memoryview:
        """Return this thread's aligned memory."""
        bounce: memoryview | None = getattr(self._own, "bounce", None)
        if bounce is None:
            bounce = self._own.bounce = memoryview(mmap.mmap(-1, _BOUNCE_BYTES))
        return bounce


def _address(view: memoryview) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(view))
