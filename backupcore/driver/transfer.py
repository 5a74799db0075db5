"""For drivers that send objects over a network: an unjoined body, its sum, and a watchdog."""

from __future__ import annotations

import hashlib
import io
import os
import threading
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate

from backupcore.driver import Buffer
from backupcore.errors import Unavailable
from backupcore.runtime import Clock, SystemClock

__all__ = ["PIECE_BYTES_MAX", "Body", "Watchdog", "content_md5"]

RATE_BYTES_S_MIN = 1024
WINDOW_S = 60.0
PIECE_BYTES_MAX = 256 << 10
# all packs at once would all be ready late, with the store idle until then
_HASHING = threading.BoundedSemaphore(len(os.sched_getaffinity(0)))


def content_md5(parts: Iterable[Buffer]) -> bytes:
    """Return the MD5 of the joined parts, 16 bytes: what object stores check, no protection."""
    digest = hashlib.md5(usedforsecurity=False)
    with _HASHING:
        for part in parts:
            digest.update(part)
    return digest.digest()


class Body(io.RawIOBase):
    """The parts of an object as one file to read and to wind back, without joining them.

    moved: hears of every read how many bytes it gave, such as `Watchdog.moved`.
    """

    def __init__(
        self, parts: Sequence[Buffer], *, moved: Callable[[int], None] | None = None
    ) -> None:
        views = (memoryview(part).cast("B") for part in parts)
        self._parts = [view for view in views if len(view)]
        self._ends = list(accumulate(map(len, self._parts)))
        self._size_bytes = self._ends[-1] if self._ends else 0
        self._offset = 0
        self._moved = moved

    def __len__(self) -> int:
        """Return the joined size in bytes."""
        return self._size_bytes

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Buffer, /) -> int:  # type: ignore[override]  # narrower, as bytes go
        """Fill the buffer from the place reached; less only at the end."""
        view = memoryview(buffer).cast("B")
        filled = 0
        index = bisect_right(self._ends, self._offset)
        while filled < len(view) and index < len(self._parts):
            part = self._parts[index]
            start = len(part) - (self._ends[index] - self._offset)
            count = min(len(part) - start, len(view) - filled)
            view[filled : filled + count] = part[start : start + count]
            filled += count
            self._offset += count
            index += 1
        if self._moved is not None:
            self._moved(filled)
        return filled

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Go to an offset from the start, from here or from the end."""
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._offset, io.SEEK_END: self._size_bytes}[whence]
        if origin + offset < 0:
            raise ValueError(f"offset {origin + offset} is before the start")
        self._offset = origin + offset
        return self._offset

    def tell(self) -> int:
        """Return the place reached."""
        return self._offset

    def close(self) -> None:
        """Let go of the parts: a connection may keep what it has sent until it sends again."""
        self._parts, self._ends = [], []
        super().close()


class Watchdog:
    """Ends a transfer that trickles: a time-out of the socket hears only of one that stands still.

    what: the object and its store, for the message. rate_bytes_s_min: less than this over a whole
    window is as good as nothing.
    """

    def __init__(
        self,
        what: str,
        *,
        clock: Clock | None = None,
        rate_bytes_s_min: int = RATE_BYTES_S_MIN,
        window_s: float = WINDOW_S,
    ) -> None:
        self._what = what
        self._clock = clock or SystemClock()
        self._size_bytes_min = rate_bytes_s_min * window_s
        self._window_s = window_s
        self._started = self._clock.monotonic()
        self._size_bytes = 0

    def moved(self, size_bytes: int) -> None:
        """Note that some bytes went over. Raises: Unavailable at the end of a slow window."""
        self._size_bytes += size_bytes
        now = self._clock.monotonic()
        if now - self._started < self._window_s:
            return
        if self._size_bytes < self._size_bytes_min:
            raise Unavailable(
                f"{self._what}: only {self._size_bytes} bytes went over in "
                f"{now - self._started:.0f} s: try again later"
            )
        self._started, self._size_bytes = now, 0

    def fill(self, view: memoryview, read: Callable[[int], bytes]) -> None:
        """Read until a view is full; raises Unavailable when nothing more comes, or too slowly.

        read: returns at most that many bytes as soon as there are some.
        """
        filled = 0
        while filled < len(view):
            piece = read(min(PIECE_BYTES_MAX, len(view) - filled))
            if not piece:
                raise Unavailable(
                    f"{self._what}: {filled} of {len(view)} bytes came: try again later"
                )
            view[filled : filled + len(piece)] = piece
            filled += len(piece)
            self.moved(len(piece))
