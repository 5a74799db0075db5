"""Volumes behind a descriptor: what files and block devices have in common."""

from __future__ import annotations

import errno
import logging
import os
from abc import abstractmethod

from backupcore.errors import (
    SourceError,
    TargetBusy,
    TargetError,
    UnreadableSector,
    VolumeMissing,
    VolumeShrunk,
)
from backupcore.model import Buffer
from backupcore.units import MIB
from backupcore.volume import Volume
from backupcore.volume.direct import DirectReader

__all__ = ["OPEN_FLAGS", "DescriptorVolume", "WritableDescriptor", "open_path"]

log = logging.getLogger(__name__)

# What block layer and file systems say of bytes they cannot deliver: block/blk-core.c, ext4, xfs.
_MEDIUM_ERRORS = frozenset(
    (errno.EIO, errno.ENODATA, errno.EREMOTEIO, errno.EILSEQ, errno.EBADMSG, errno.EUCLEAN)
)
# Opening a FIFO must not wait for its other end; on files and devices the flag does nothing.
OPEN_FLAGS = os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_ZEROS = memoryview(bytes(MIB))


class DescriptorVolume(Volume):
    """What is read through a descriptor; size as it is at opening.

    failure: what is raised when it cannot be opened.
    """

    failure: type[SourceError | TargetError] = VolumeMissing

    def __init__(self, path: str, descriptor: int) -> None:
        """Take over a descriptor of the path; it is closed when this fails.

        Raises: `failure` when it is not of this kind or does not answer.
        """
        self.name = path
        self.identity = os.path.realpath(path)
        self._descriptor = descriptor
        self._direct: DirectReader | None = None
        try:
            self._inspect()
            self.size_bytes = self._measure()
        except BaseException as error:
            self.close()
            if isinstance(error, OSError):
                text = f"{path}: cannot be asked what it is: {error.strerror}"
                raise self.failure(text) from error
            raise

    @abstractmethod
    def _inspect(self) -> None:
        """Look at what was opened. Raises: `failure` when it is not of this kind, OSError."""

    @abstractmethod
    def _measure(self) -> int:
        """Return the size of now, in bytes. Raises: OSError."""

    def bypass_cache(self) -> None:
        """Read past the page cache from now on. Raises: Refused; the volume is closed then."""
        try:
            self._direct = DirectReader(self.name, self._descriptor, self.sector_size_bytes)
        except BaseException:
            self.close()
            raise
        log.info(
            "volume is read past the page cache: what is cached is read from the medium again",
            extra={"volume": self.name},
        )

    def read_into(self, offset: int, buffer: Buffer) -> None:
        """Fill the whole buffer with the bytes from an offset on."""
        view = memoryview(buffer).cast("B")
        self.check_read(offset, len(view))
        while len(view):
            try:
                count = self._read(view, offset)
            except OSError as error:
                if error.errno not in _MEDIUM_ERRORS:
                    raise SourceError(
                        f"{self.name}: cannot be read at offset {offset}: {error.strerror}"
                    ) from error
                self._read_by_sector(offset, view)
                return
            if not count:
                raise VolumeShrunk(self._short_text(offset))
            view, offset = view[count:], offset + count

    def _read(self, view: memoryview, offset: int) -> int:
        if self._direct is not None:
            return self._direct.read(view, offset)
        return os.preadv(self._descriptor, [view], offset)

    def _read_by_sector(self, offset: int, view: memoryview) -> None:
        """Read again what failed as a whole; raises UnreadableSector naming the first culprit."""
        grain = self._direct.grain_bytes if self._direct is not None else self.sector_size_bytes
        while len(view):
            length = min(grain - offset % grain, len(view))
            try:
                count = self._read(view[:length], offset)
            except OSError as error:
                raise UnreadableSector(
                    f"{self.name}: sector at offset {offset - offset % grain} cannot be read: "
                    f"{error.strerror}: copy the volume with a rescue tool, then back up the copy"
                ) from error
            if not count:
                raise VolumeShrunk(self._short_text(offset))
            view, offset = view[count:], offset + count
        log.warning("read error went away when repeated", extra={"volume": self.name})

    def _short_text(self, offset: int) -> str:
        return (
            f"{self.name}: ends at offset {offset}: it had {self.size_bytes} bytes when opened "
            f"and has {self.current_size_bytes()} now"
        )

    def current_size_bytes(self) -> int:
        """Return the size the file or device has now."""
        try:
            return self._measure()
        except OSError as error:
            raise VolumeMissing(f"{self.name}: is gone: {error.strerror}") from error

    def close(self) -> None:
        """Close the descriptor."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class WritableDescriptor(DescriptorVolume):
    """What is overwritten in place through a descriptor; all of it counts as data."""

    failure = TargetBusy

    def write(self, offset: int, buffer: Buffer) -> None:
        """Write the whole buffer at an offset."""
        view = memoryview(buffer).cast("B")
        self.check_write(offset, len(view))
        while len(view):
            try:
                count = os.pwritev(self._descriptor, [view], offset)
            except OSError as error:
                raise self._write_error(offset, error) from error
            view, offset = view[count:], offset + count

    def write_zeros(self, offset: int, length: int) -> None:
        """Write zeros over an extent, from the same memory again and again."""
        for start in range(offset, offset + length, len(_ZEROS)):
            self.write(start, _ZEROS[: offset + length - start])

    def finish(self) -> None:
        """Make what was written durable."""
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            raise TargetError(f"{self.name}: cannot be made durable: {error.strerror}") from error

    def _write_error(self, offset: int, error: OSError) -> TargetError:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return TargetError(
                f"{self.name}: no room at offset {offset}: {error.strerror}{self._room_text()}"
            )
        return TargetError(f"{self.name}: write at offset {offset} failed: {error.strerror}")

    @abstractmethod
    def _room_text(self) -> str:
        """Return what there is to say of the room there is, and what to do."""


def open_path(path: str, flags: int, failure: type[SourceError | TargetError]) -> int:
    """Return a descriptor; raises `failure` when the path cannot be opened."""
    try:
        return os.open(path, flags | OPEN_FLAGS)
    except OSError as error:
        if error.errno == errno.ELOOP and os.path.islink(path):
            raise failure(
                f"{path}: is a symbolic link: name what it points to, {os.path.realpath(path)}"
            ) from error
        raise failure(f"{path}: cannot be opened: {error.strerror}") from error
