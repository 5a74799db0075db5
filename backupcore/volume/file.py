"""Image files as volumes, and the door to block devices (scheme `file`).

What a path leads to decides: a block device is opened by `block`, a file here. Reading asks the
file system for holes. Writing goes in place. Creating works on a hidden name,
`.NAME.XXXXXXXX.partial` in the same folder, and `finish` links it to the final name, so that a
name never shows half a volume and nothing is overwritten.

    file:///srv/disk.img    file:disk.img?read_holes=yes    /dev/vg0/data    disk.img
"""

from __future__ import annotations

import errno
import fcntl
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
    VolumeMissing,
    VolumeShrunk,
)
from backupcore.extents import Extents, single_extent
from backupcore.units import format_bytes
from backupcore.volume import Access, Url, Volume, block, hookimpl
from backupcore.volume.descriptor import DescriptorVolume, WritableDescriptor, open_path
from backupcore.volume.hole import find_data, punch_hole
from backupcore.volume.image_lock import claim_image

__all__ = ["CreatedFile", "FileVolume", "WritableFile", "backupcore_open_volume"]

log = logging.getLogger(__name__)

# What link(2) says where the file system has no hard links: FAT, some network file systems.
_NO_LINKS = frozenset((errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK))


@hookimpl
def backupcore_open_volume(
    url: Url, options: Mapping[str, str], access: Access, size_bytes: int
) -> Volume:
    """Return the file or block device a URL names.

    options: `read_holes=yes` reads holes as if they were data, `direct=yes` reads past the page
    cache, `force=yes` overwrites a device that is in use.
    """
    url.take_options("read_holes", "direct", "force")
    if url.host not in ("", "localhost"):
        raise Refused(f"{url}: a file has no host: write file:///path or file:path")
    read_holes, is_direct, is_forced = (
        _is_asked(url, options, name) for name in ("read_holes", "direct", "force")
    )
    if is_direct and access is not Access.READ:
        raise Refused(f"{url}: direct=yes: only reading can go past the page cache")
    if access is Access.CREATE:
        return CreatedFile(url.path, size_bytes)
    if access is Access.WRITE:
        return _open_target(url.path, is_forced=is_forced)
    return _open_source(url.path, read_holes=read_holes, is_direct=is_direct)


def _is_asked(url: Url, options: Mapping[str, str], name: str) -> bool:
    value = options.get(name, "no")
    if value not in ("yes", "no"):
        raise Refused(f"{url}: {name}={value}: say yes or no")
    return value == "yes"


def _open_source(path: str, *, read_holes: bool, is_direct: bool) -> Volume:
    descriptor = open_path(path, os.O_RDONLY, VolumeMissing)
    volume: DescriptorVolume
    if stat.S_ISBLK(os.fstat(descriptor).st_mode):
        volume = block.open_source(path, descriptor)
    else:
        volume = FileVolume(path, read_holes=read_holes, descriptor=descriptor)
    if is_direct:
        volume.bypass_cache()
    return volume


def _open_target(path: str, *, is_forced: bool) -> Volume:
    if not os.path.lexists(path):
        raise TargetError(f"{path}: does not exist: make it first or ask for a new file")
    if block.is_device(path):
        return block.open_target(path, is_forced=is_forced)
    return WritableFile(path)


class _SparseFile(DescriptorVolume):
    """What image files have in common."""

    def _measure(self) -> int:
        return os.lseek(self._descriptor, 0, os.SEEK_END)

    def _find_data(self, offset: int, length: int) -> Extents:
        """Return the extents of a window that the file system holds data for."""
        found = find_data(self._descriptor, offset, length)
        # What was cut off looks like a hole and must not be taken for zeros.
        if self.current_size_bytes() < offset + length:
            raise VolumeShrunk(self._short_text(self.current_size_bytes()))
        return found


class FileVolume(_SparseFile):
    """An image file, opened for reading; size and holes as they are at opening."""

    def __init__(
        self, path: str, *, read_holes: bool = False, descriptor: int | None = None
    ) -> None:
        """Open a path, unless a descriptor of it is handed over.

        Raises: VolumeMissing when it is no file that can be read.
        """
        if descriptor is None:
            descriptor = open_path(path, os.O_RDONLY, VolumeMissing)
        super().__init__(path, descriptor)
        if not self.size_bytes:
            self.close()
            raise VolumeMissing(f"{path}: is empty: a volume has at least one byte")
        self._has_holes = not read_holes and _flush_for_holes(self._descriptor)

    def _inspect(self) -> None:
        _check_regular(self.name, self._descriptor, self.failure)

    def extents(self, offset: int, length: int) -> Extents:
        """Return the extents of a window that the file system holds data for."""
        self.check_read(offset, length)
        return self._find_data(offset, length) if self._has_holes else single_extent(offset, length)


class WritableFile(_SparseFile, WritableDescriptor):
    """An existing image file, overwritten in place; no other program may use it meanwhile."""

    def __init__(self, path: str, *, descriptor: int | None = None) -> None:
        """Open a path, unless a descriptor of it is handed over.

        Raises: TargetBusy when it may not be written to, or another program uses it.
        """
        is_shared = descriptor is None
        if descriptor is None:
            descriptor = open_path(path, os.O_RDWR | os.O_NOFOLLOW, TargetBusy)
        super().__init__(path, descriptor)
        if is_shared:
            self._lock()
        try:
            claim_image(path, self._descriptor)
        except BaseException:
            self.close()
            raise

    def _inspect(self) -> None:
        _check_regular(self.name, self._descriptor, self.failure)

    def _lock(self) -> None:
        """Keep other restores away until it is closed, where the file system can do that."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.close()
            raise TargetBusy(
                f"{self.name}: is locked, another restore writes to it: wait for it or stop it"
            ) from error
        except OSError as error:
            log.debug("target cannot be locked", extra={"reason": error.strerror})

    def extents(self, offset: int, length: int) -> Extents:
        """Return the extents of a window that the file system holds data for, after a flush."""
        self.check_read(offset, length)
        if not _flush_for_holes(self._descriptor):
            return single_extent(offset, length)
        return self._find_data(offset, length)

    def zero(self, offset: int, length: int) -> None:
        """Punch a hole; write zeros where holes cannot be made."""
        self.check_write(offset, length)
        if length and not punch_hole(self._descriptor, offset, length):
            self.write_zeros(offset, length)

    def _room_text(self) -> str:
        room = os.fstatvfs(self._descriptor)
        free = format_bytes(room.f_bavail * room.f_frsize)
        return f" ({free} free): make room or choose another place"


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
        if _is_among_devices(self._folder):
            raise TargetError(
                f"{path}: there is no such device, and a file here would lie in memory: check the "
                "name, or restore to a folder on a disk"
            )
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
        super().__init__(path, descriptor=descriptor)

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


def _check_regular(path: str, descriptor: int, failure: type[SourceError | TargetError]) -> None:
    """Raise `failure` unless it is a file."""
    mode = os.fstat(descriptor).st_mode
    kinds: tuple[tuple[Callable[[int], bool], str], ...] = (
        (stat.S_ISDIR, "directory"),
        (stat.S_ISFIFO, "pipe"),
        (stat.S_ISCHR, "character device"),
    )
    if stat.S_ISBLK(mode):
        raise failure(f"{path}: is a block device and is taken for a file: use open_volume")
    if not stat.S_ISREG(mode):
        kind = next((word for is_kind, word in kinds if is_kind(mode)), "special file")
        raise failure(f"{path}: is a {kind}: a volume is a file or a block device")


def _is_among_devices(folder: str) -> bool:
    """Return whether new files of a folder would lie in /dev itself, which is no disk."""
    real = os.path.realpath(folder)
    if real != "/dev" and not real.startswith("/dev/"):
        return False
    try:
        device = os.stat("/dev").st_dev
        return os.stat(real).st_dev == device != os.stat("/").st_dev
    except OSError:
        return True


def _flush_for_holes(descriptor: int) -> bool:
    """Write back what is cached, so that no written byte is taken for a hole."""
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
