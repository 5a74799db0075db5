"""Open file objects as volumes, for services that attach a volume and hand over its handle."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from typing import Any, Protocol

from backupcore.errors import SourceError, TargetError, UnreadableSector, VolumeShrunk
from backupcore.model import Buffer
from backupcore.units import MIB
from backupcore.volume import Access, Volume

__all__ = ["FileObjectVolume", "SeekableFile"]

_ZEROS = memoryview(bytes(MIB))


class SeekableFile(Protocol):
    """What is needed of a file object; `readinto`, `write` and `flush` are used when present."""

    def read(self, size: int, /) -> bytes | None:
        """Return up to that many bytes."""
        ...

    def seek(self, offset: int, whence: int = 0, /) -> Any:
        """Move the position."""
        ...

    def tell(self) -> int:
        """Return the position."""
        ...


class FileObjectVolume(Volume):
    """A volume behind an open file object.

    The object has one position, so calls take turns. It stays the caller's: `close` leaves it
    open. It must hand out raw bytes and, when written to, take whole buffers or say how much.
    """

    def __init__(
        self,
        file: SeekableFile,
        *,
        size_bytes: int | None = None,
        name: str = "stream",
        identity: str = "",
        access: Access = Access.READ,
    ) -> None:
        """Take over an object; without a size, its end tells it.

        Raises: SourceError when the end cannot be found.
        """
        self._file = file
        self._lock = threading.Lock()
        self._access = access
        self.name = name
        self.identity = identity or name
        self._is_size_given = size_bytes is not None
        self.size_bytes = self._seek_end() if size_bytes is None else size_bytes

    def _seek_end(self) -> int:
        with self._lock:
            try:
                self._file.seek(0, os.SEEK_END)
                return self._file.tell()
            except OSError as error:
                raise SourceError(f"{self.name}: its end cannot be found: {error}") from error

    def current_size_bytes(self) -> int:
        """Return where the object ends now; the size that was given when one was."""
        return self.size_bytes if self._is_size_given else self._seek_end()

    def read_into(self, offset: int, buffer: Buffer) -> None:
        """Fill the whole buffer with the bytes from an offset on."""
        view = memoryview(buffer).cast("B")
        self.check_read(offset, len(view))
        done = 0
        with self._lock:
            try:
                self._file.seek(offset)
                while done < len(view):
                    count = self._read_some(view[done:])
                    if not count:
                        raise VolumeShrunk(
                            f"{self.name}: ends at offset {offset + done}: it had "
                            f"{self.size_bytes} bytes when opened"
                        )
                    done += count
            except OSError as error:
                failure = UnreadableSector if error.errno == errno.EIO else SourceError
                raise failure(
                    f"{self.name}: cannot be read between offsets {offset + done} and "
                    f"{offset + len(view)}: {error}"
                ) from error

    def _read_some(self, view: memoryview) -> int:
        read_into: Callable[[memoryview], int | None] | None = getattr(self._file, "readinto", None)
        if read_into is not None:
            return read_into(view) or 0
        data = self._file.read(len(view)) or b""
        view[: len(data)] = data
        return len(data)

    def write(self, offset: int, buffer: Buffer) -> None:
        """Write the whole buffer at an offset."""
        view = memoryview(buffer).cast("B")
        if self._access is Access.READ:
            super().write(offset, view)
        self.check_write(offset, len(view))
        write: Callable[[memoryview], int | None] | None = getattr(self._file, "write", None)
        if write is None:
            raise TargetError(f"{self.name}: its file object cannot write: open it for writing")
        with self._lock:
            try:
                self._file.seek(offset)
                while len(view):
                    count = write(view)
                    view = view[len(view) if count is None else count :]
            except OSError as error:
                raise TargetError(
                    f"{self.name}: write at offset {offset} failed: {error}"
                ) from error

    def zero(self, offset: int, length: int) -> None:
        """Write zeros over an extent."""
        self.check_write(offset, length)
        for start in range(offset, offset + length, len(_ZEROS)):
            self.write(start, _ZEROS[: offset + length - start])

    def finish(self) -> None:
        """Flush the object and, when it has a descriptor, make its file durable."""
        if self._access is Access.READ:
            return
        with self._lock:
            try:
                flush: Callable[[], None] | None = getattr(self._file, "flush", None)
                if flush is not None:
                    flush()
                descriptor = self._descriptor()
                if descriptor is not None:
                    os.fsync(descriptor)
            except OSError as error:
                raise TargetError(f"{self.name}: cannot be made durable: {error}") from error

    def _descriptor(self) -> int | None:
        number: Callable[[], int] | None = getattr(self._file, "fileno", None)
        try:
            return None if number is None else number()
        except OSError:  # io.UnsupportedOperation is one, and wrappers raise their own
            return None
