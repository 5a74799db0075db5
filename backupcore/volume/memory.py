"""Volumes in memory, for tests and examples."""

from __future__ import annotations

import threading

import numpy as np

from backupcore.errors import VolumeShrunk
from backupcore.extents import (
    Extents,
    clip_extents,
    empty_extents,
    melt_extents,
    single_extent,
    subtract_extents,
)
from backupcore.model import Buffer
from backupcore.volume import Volume

__all__ = ["MemoryVolume"]


class MemoryVolume(Volume):
    """A volume whose bytes are `content`, a bytearray that its owner may change or resize."""

    def __init__(
        self,
        content: bytes | bytearray | int,
        *,
        name: str = "memory",
        sector_size_bytes: int = 512,
        holes: Extents | None = None,
    ) -> None:
        """Make a volume over a bytearray, a copy of bytes, or that many zeros.

        holes: clean extents that are known to read as zeros; writing fills them.
        Raises: ValueError when a hole holds anything else.
        """
        self.content = content if isinstance(content, bytearray) else bytearray(content)
        self.name = name
        self.identity = name
        self.size_bytes = len(self.content)
        self.sector_size_bytes = sector_size_bytes
        self.is_known_zero = isinstance(content, int)
        self.is_finished = False
        self._lock = threading.Lock()
        self._holes = empty_extents() if holes is None else holes
        for offset, length in self._holes.tolist():
            if any(memoryview(self.content)[offset : offset + length]):
                raise ValueError(f"hole at offset {offset} holds data")

    def read_into(self, offset: int, buffer: Buffer) -> None:
        """Fill the whole buffer with the bytes from an offset on."""
        view = memoryview(buffer).cast("B")
        self.check_read(offset, len(view))
        if offset + len(view) > len(self.content):
            raise VolumeShrunk(
                f"{self.name}: ends at offset {len(self.content)}: it had {self.size_bytes} bytes "
                "when opened"
            )
        with memoryview(self.content) as content:
            view[:] = content[offset : offset + len(view)]

    def extents(self, offset: int, length: int) -> Extents:
        """Return the extents of a window that are no known holes."""
        self.check_read(offset, length)
        with self._lock:
            holes = self._holes
        return subtract_extents(single_extent(offset, length), clip_extents(holes, offset, length))

    def current_size_bytes(self) -> int:
        """Return the bytes that `content` has now."""
        return len(self.content)

    def write(self, offset: int, buffer: Buffer) -> None:
        """Write the whole buffer at an offset."""
        view = memoryview(buffer).cast("B")
        self.check_write(offset, len(view))
        with self._lock:
            self._holes = subtract_extents(self._holes, single_extent(offset, len(view)))
            self.content[offset : offset + len(view)] = view

    def zero(self, offset: int, length: int) -> None:
        """Fill an extent with zeros; it is a hole from now on."""
        self.check_write(offset, length)
        with self._lock:
            self.content[offset : offset + length] = bytes(length)
            self._holes = melt_extents(np.concatenate((self._holes, single_extent(offset, length))))

    def finish(self) -> None:
        """Note that it was finished."""
        self.is_finished = True
