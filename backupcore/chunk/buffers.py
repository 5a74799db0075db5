"""The memory budget: page-aligned buffers that are used again, and a count of bytes promised.

Owned by the thread that coordinates an operation; the buffers it hands out may be filled and read
by others until they are given back.
"""

from __future__ import annotations

import contextlib
import mmap

import numpy as np

from backupcore.model import ByteArray

__all__ = ["Budget", "BufferPool", "map_memory"]


class Budget:
    """Counts bytes promised to work under way; never more than the limit."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.used_bytes = 0

    def reserve(self, size_bytes: int, *, force: bool = False) -> bool:
        """Promise bytes if they fit, or if the caller could otherwise never go on."""
        if not force and self.used_bytes + size_bytes > self.limit_bytes:
            return False
        self.used_bytes += size_bytes
        return True

    def release(self, size_bytes: int) -> None:
        """Take back a promise, whole or in part."""
        self.used_bytes -= size_bytes
        if self.used_bytes < 0:
            raise AssertionError("more memory released than reserved")


class BufferPool:
    """Buffers of one size, aligned to pages (as O_DIRECT needs), kept for the next user.

    Never more than `count_max` are made; each is made when it is first needed.
    """

    def __init__(self, buffer_size_bytes: int, count_max: int) -> None:
        self.buffer_size_bytes = buffer_size_bytes
        self._left_count = count_max
        self._free: list[ByteArray] = []

    @property
    def has_free(self) -> bool:
        """Whether there is a buffer to be taken."""
        return bool(self._free) or self._left_count > 0

    def take(self) -> ByteArray:
        """Return uint8[buffer size] with undefined content; only when there is a free one."""
        if self._free:
            return self._free.pop()
        if not self._left_count:
            raise AssertionError("a buffer is taken where none is free")
        self._left_count -= 1
        return map_memory(self.buffer_size_bytes)

    def give_back(self, buffer: ByteArray) -> None:
        """Keep a buffer for the next user."""
        self._free.append(buffer)


def map_memory(size_bytes: int) -> ByteArray:
    """Return uint8[size], zero, aligned to pages; in huge ones where the system has them."""
    memory = mmap.mmap(-1, size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with contextlib.suppress(OSError):
        memory.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(memory, np.uint8)
