"""Large writes past the page cache: no copy into it, nothing others read is pushed out of it.

Source: open(2), Linux manual page, on O_DIRECT: memory, offset and length must be aligned, and a
file system may refuse it; then the pages are written as usual.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
from collections.abc import Iterator, Sequence
from queue import Empty, SimpleQueue

from backupcore.driver import Buffer

__all__ = ["Bypass"]

ALIGNMENT = 4096
STAGE_BYTES = 4 << 20


class Bypass:
    """Copies parts through aligned memory that is kept for the next write; for many threads."""

    def __init__(self) -> None:
        self._idle: SimpleQueue[mmap.mmap] = SimpleQueue()

    def write(self, descriptor: int, parts: Sequence[Buffer]) -> None:
        """Write the parts one after the other from the start of a new file."""
        with self._stage() as stage, _direct(descriptor):
            filled = 0
            for part in parts:
                view = memoryview(part).cast("B")
                while len(view):
                    count = min(len(view), STAGE_BYTES - filled)
                    stage[filled : filled + count] = view[:count]
                    view, filled = view[count:], filled + count
                    if filled == STAGE_BYTES:
                        _write(descriptor, stage)
                        filled = 0
            whole = filled // ALIGNMENT * ALIGNMENT
            _write(descriptor, stage[:whole])
            _leave(descriptor)
            _write(descriptor, stage[whole:filled])

    def close(self) -> None:
        """Let go of the memory."""
        with contextlib.suppress(Empty):
            while True:
                self._idle.get_nowait()

    @contextlib.contextmanager
    def _stage(self) -> Iterator[memoryview]:
        try:
            memory = self._idle.get_nowait()
        except Empty:
            memory = mmap.mmap(-1, STAGE_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        try:
            with memoryview(memory) as stage:
                yield stage
        finally:
            self._idle.put(memory)


@contextlib.contextmanager
def _direct(descriptor: int) -> Iterator[None]:
    """Let writes bypass the page cache where the file system can."""
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    with contextlib.suppress(OSError):
        fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | os.O_DIRECT)
    try:
        yield
    finally:
        _leave(descriptor)


def _leave(descriptor: int) -> None:
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    fcntl.fcntl(descriptor, fcntl.F_SETFL, flags & ~os.O_DIRECT)


def _write(descriptor: int, view: memoryview) -> None:
    """Write all of it, as usual where the file system does not take it directly after all."""
    while len(view):
        try:
            count = os.write(descriptor, view)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            _leave(descriptor)
            count = os.write(descriptor, view)
        if not count:
            raise OSError(errno.EIO, "nothing was written")
        view = view[count:]
