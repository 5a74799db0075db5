"""The bytes of an answer: only those asked for, straight into memory, and only if all came."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from backupcore.driver.http import check_content_range
from backupcore.driver.transfer import Watchdog
from backupcore.errors import Unavailable

__all__ = ["Served", "served"]


class Served:
    """An answer whose bytes are read once.

    length: how many there are. read: returns at most that many, waiting for the first only.
    """

    def __init__(self, length: int, read: Callable[[int], bytes], watchdog: Watchdog) -> None:
        self.length = length
        self._read = read
        self._watchdog = watchdog

    def read_into(self, view: memoryview) -> int:
        """Read all of it to the start of a buffer; return how much. Raises: Unavailable."""
        self._watchdog.fill(view[: self.length], self._read)
        self._read(1)  # meets the end, which gives the connection back
        return self.length


@contextmanager
def served(
    answer: Mapping[str, Any], offset: int, length: int | None, what: str, watchdog: Watchdog
) -> Iterator[Served]:
    """Check an answer to what was asked and yield its bytes; lets go of it in any case.

    Raises: Unavailable when another range came, or one of unknown length.
    """
    with answer["Body"] as stream:
        if offset or length is not None:
            given = answer.get("ContentRange")
            size_bytes = check_content_range(given, offset, length, what).size_bytes
        else:
            size_bytes = answer.get("ContentLength", -1)
        if answer.get("ContentLength") != size_bytes or size_bytes < 0:
            raise Unavailable(f"{what}: served with another length than it says: try again later")
        # the SDK's own stream waits for all of a piece, and so does urllib3 before 2.2
        raw = getattr(stream, "_raw_stream", stream)
        yield Served(size_bytes, getattr(raw, "read1", stream.read), watchdog)
