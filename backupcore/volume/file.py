"""Image files as volumes; block devices too, as the files they are (scheme `file`).

Reading asks the file system for holes. Writing goes in place. Creating works on a hidden name,
`.NAME.XXXXXXXX.partial` in the same folder, and `finish` links it to the final name, so that a
name never shows half a volume and nothing is overwritten.

    file:///srv/disk.img    file:disk.img?read_holes=yes    disk.img
"""

from __future__ import annotations

import errno
import logging
import os
import stat
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress

from backupcore.errors import (
    Refused,
    SourceError,
    TargetBusy,
    TargetError,
    UnreadableSector,
    VolumeMissing,
    VolumeShrunk,
)
from backupcore.extents import Extents, single_extent
from backupcore.model import Buffer
from backupcore.units import MIB, format_bytes
from backupcore.volume import Access, Url, Volume, hookimpl
from backupcore.volume.hole import find_data, punch_hole

__all__ = ["CreatedFile", "FileVolume", "WritableFile", "backupcore_open_volume"]

log = logging.getLogger(__name__)

# What block layer and file systems say of bytes they cannot deliver: block/blk-core.c, ext4, xfs.
_MEDIUM_ERRORS = frozenset(
    (errno.EIO, errno.ENODATA, errno.EREMOTEIO, errno.EILSEQ, errno.EBADMSG, errno.EUCLEAN)
)
# What link(2) says where the file system has no hard links: FAT, some network file systems.
_NO_LINKS = frozenset((errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK))
# Opening a FIFO must not wait for its other end; on files and devices the flag does nothing.
_OPEN_FLAGS = os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_ZEROS = memoryview(bytes(MIB))


@hookimpl
def backupcore_open_volume(
    url: Url, options: Mapping[str, str], access: Access, size_bytes: int
) -> Volume:
    """Return the file a URL names.

    options: `read_holes=yes` reads holes as if they were data.
    """
    url.take_options("read_holes")
    if url.host not in ("", "localhost"):
        raise Refused(f"{url}: a file has no host: write file:///path or file:path")
    read_holes = options.get("read_holes", "no")
    if read_holes not in ("yes", "no"):
        raise Refused(f"{url}: read_holes={read_holes}: say yes or no")
    if access is Access.CREATE:
        return CreatedFile(url.path, size_bytes)
    if access is Access.WRITE:
        return WritableFile(url.path)
    return FileVolume(url.path, read_holes=read_holes == "yes")


class FileVolume(Volume):
    """An image file or block device, opened for reading; size and holes as they are at opening."""

    _is_file: bool

    def __init__(self, path: str, *, read_holes: bool = False) -> None:
        """Open a path. Raises: VolumeMissing when it is no file or device that can be read."""
        self._adopt(path, _open(path, os.O_RDONLY, VolumeMissing), VolumeMissing)
        if not self.size_bytes:
            self.close()
            raise VolumeMissing(f"{path}: is empty: a volume has at least one byte")
        self._has_holes = not read_holes and self._is_file and _flush_for_holes(self._descriptor)

    def _adopt(self, path: str, descriptor: int, failure: type[SourceError | TargetError]) -> None:
        self.name = path
        self.identity = os.path.realpath(path)
        self._descriptor = descriptor
        self._has_holes = False
        try:
            self._is_file = _is_regular(path, descriptor, failure)
            self.size_bytes = os.lseek(descriptor, 0, os.SEEK_END)
        except BaseException:
            self.close()
            raise

    def read_into(self, offset: int, buffer: Buffer) -> None:
        """Fill the whole buffer with the bytes from an offset on."""
        view = memoryview(buffer).cast("B")
        self.check_read(offset, len(view))
        while len(view):
            try:
                count = os.preadv(self._descriptor, [view], offset)
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

    def _read_by_sector(self, offset: int, view: memoryview) -> None:
        """Read again what failed as a whole; raises UnreadableSector naming the first culprit."""
        while len(view):
            length = min(self.sector_size_bytes - offset % self.sector_size_bytes, len(view))
            try:
                count = os.preadv(self._descriptor, [view[:length]], offset)
            except OSError as error:
                sector = offset - offset % self.sector_size_bytes
                raise UnreadableSector(
                    f"{self.name}: sector at offset {sector} cannot be read: {error.strerror}: "
                    "copy the volume with a rescue tool, then back up the copy"
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

    def extents(self, offset: int, length: int) -> Extents:
        """Return the extents of a window that the file system holds data for."""
        self.check_read(offset, length)
        if not self._has_holes:
            return single_extent(offset, length)
        found = find_data(self._descriptor, offset, length)
        # What was cut off looks like a hole and must not be taken for zeros.
        if self.current_size_bytes() < offset + length:
            raise VolumeShrunk(self._short_text(self.current_size_bytes()))
        return found

    def current_size_bytes(self) -> int:
        """Return the size the file or device has now."""
        try:
            return os.lseek(self._descriptor, 0, os.SEEK_END)
        except OSError as error:
            raise VolumeMissing(f"{self.name}: is gone: {error.strerror}") from error

    def close(self) -> None:
        """Close the file."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class WritableFile(FileVolume):
    """An existing image file or block device, overwritten in place; all of it counts as data."""

    def __init__(self, path: str) -> None:
        """Open a path. Raises: TargetError, TargetBusy when it may not be written to."""
        if not os.path.lexists(path):
            raise TargetError(f"{path}: does not exist: make it first or ask for a new file")
        self._adopt(path, _open(path, os.O_RDWR | os.O_NOFOLLOW, TargetBusy), TargetBusy)

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

    def zero(self, offset: int, length: int) -> None:
        """Punch a hole into a file; write zeros to a device or where holes cannot be made."""
        self.check_write(offset, length)
        if not length or (self._is_file and punch_hole(self._descriptor, offset, length)):
            return
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
            room = os.fstatvfs(self._descriptor)
            free = format_bytes(room.f_bavail * room.f_frsize)
            return TargetError(
                f"{self.name}: no room at offset {offset}: {error.strerror} ({free} free): "
                "make room or choose another place"
            )
        return TargetError(f"{self.name}: write at offset {offset} failed: {error.strerror}")


class CreatedFile(WritableFile):
    """A new image file of a given size, seen under its name once it is finished."""

    is_known_zero = True

    def __init__(self, path: str, size_bytes: int) -> None:
        """Make the hidden file. Raises: TargetBusy when the name is taken, TargetError."""
        self._target = os.path.abspath(path)
        self._folder, base = os.path.split(self._target)
        self._partial = ""
        if os.path.lexists(path):
            raise TargetBusy(_taken_text(path))
        try:
            # The random part and the suffix must fit into the 255 bytes of a name.
            descriptor, self._partial = tempfile.mkstemp(
                prefix=f".{base[:50]}.", suffix=".partial", dir=self._folder
            )
        except OSError as error:
            raise TargetError(f"{path}: cannot be created: {error.strerror}") from error
        try:
            os.ftruncate(descriptor, size_bytes)
        except OSError as error:
            os.close(descriptor)
            self._remove_partial()
            raise TargetError(
                f"{path}: cannot be {size_bytes} bytes long here: {error.strerror}"
            ) from error
        self._adopt(path, descriptor, TargetError)

    def finish(self) -> None:
        """Make it durable, then visible under its name. Raises: TargetBusy when that is taken."""
        super().finish()
        if not self._partial:
            return
        try:
            _link(self._partial, self._target)
            self._remove_partial()
            _sync_folder(self._folder)
        except FileExistsError as error:
            raise TargetBusy(_taken_text(self.name)) from error
        except OSError as error:
            raise TargetError(f"{self.name}: cannot get its name: {error.strerror}") from error

    def close(self) -> None:
        """Close the file; remove it unless it was finished."""
        super().close()
        self._remove_partial()

    def _remove_partial(self) -> None:
        partial, self._partial = self._partial, ""
        if partial:
            with suppress(FileNotFoundError):
                os.unlink(partial)


def _open(path: str, flags: int, failure: type[SourceError | TargetError]) -> int:
    try:
        return os.open(path, flags | _OPEN_FLAGS)
    except OSError as error:
        if error.errno == errno.ELOOP and os.path.islink(path):
            raise failure(
                f"{path}: is a symbolic link: name what it points to, {os.path.realpath(path)}"
            ) from error
        raise failure(f"{path}: cannot be opened: {error.strerror}") from error


def _is_regular(path: str, descriptor: int, failure: type[SourceError | TargetError]) -> bool:
    """Return whether it is a file; False for a block device, an error for anything else."""
    mode = os.fstat(descriptor).st_mode
    kinds: tuple[tuple[Callable[[int], bool], str], ...] = (
        (stat.S_ISDIR, "directory"),
        (stat.S_ISFIFO, "pipe"),
        (stat.S_ISCHR, "character device"),
    )
    if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)):
        kind = next((word for is_kind, word in kinds if is_kind(mode)), "special file")
        raise failure(f"{path}: is a {kind}: a volume is a file or a block device")
    return stat.S_ISREG(mode)


def _flush_for_holes(descriptor: int) -> bool:
    """Write back what is cached, once, so that no written byte is taken for a hole."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EROFS):
            log.warning("flush failed, holes will be read", extra={"reason": error.strerror})
        return False
    return True


def _link(partial: str, target: str) -> None:
    """Give a file its name; raises FileExistsError when somebody else took it."""
    try:
        os.link(partial, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        try:
            os.rename(partial, target)
        except OSError:
            os.unlink(target)
            raise


def _sync_folder(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _taken_text(path: str) -> str:
    return f"{path}: exists: it is never overwritten: choose another name or remove it"
