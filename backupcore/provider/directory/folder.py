"""The folder of a provider, reached by a descriptor that is held, and image files in it."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import stat
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from backupcore.closing import Closing
from backupcore.errors import NotFound, Refused, TargetBusy
from backupcore.provider import ProvidedVolume
from backupcore.volume.descriptor import OPEN_FLAGS
from backupcore.volume.image_lock import claim_image, is_written_to

__all__ = ["Folder", "Image", "check_image", "look_at", "synchronize"]

log = logging.getLogger(__name__)

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class Folder(Closing):
    """A folder that stays the one that was opened, whatever becomes of its path.

    path: its real path.
    """

    def __init__(self, path: str) -> None:
        """Open the folder. Raises: OSError."""
        self.path = os.path.realpath(path)
        self._lock = threading.Lock()
        self._descriptor = os.open(self.path, _DIRECTORY)
        self._finalizer = weakref.finalize(self, os.close, self._descriptor)

    @contextmanager
    def opened(self, below: str = "", *, create: bool = False) -> Iterator[int]:
        """Yield a descriptor of the folder or of one directly below it, made when asked for.

        Raises: Refused when it was closed, OSError.
        """
        with self._lock:
            if self.is_closed:
                raise Refused(f"{self.path}: the provider is closed: open it again")
            # a description of its own, for reading a directory moves its position
            here = os.open(".", _DIRECTORY, dir_fd=self._descriptor)
        try:
            if below:
                there = _enter(here, below, create=create)
                os.close(here)
                here = there
            yield here
        finally:
            os.close(here)

    @property
    def is_closed(self) -> bool:
        """Whether it was closed."""
        return not self._finalizer.alive

    def close(self) -> None:
        """Let go of the folder; what is under way below it goes on."""
        with self._lock:
            self._finalizer()


def _enter(here: int, name: str, *, create: bool) -> int:
    if create:
        with suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=here)
            synchronize(here)
    return os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=here)


def synchronize(directory: int) -> None:
    """Make the names in a directory durable. Raises: OSError."""
    try:
        os.fsync(directory)
    except OSError as error:
        # some file systems have nothing to sync in a directory and say so
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise


class Image(Closing):
    """An image file in a folder, open; it is closed in the end unless it was handed over."""

    def __init__(
        self,
        here: int,
        name: str,
        path: str,
        flags: int = os.O_RDONLY,
        *,
        may_be_empty: bool = False,
    ) -> None:
        """Open a name in a directory. Raises: Refused, NotFound, OSError."""
        self.path = path
        # opening a pipe or a device may already do something to who waits at its other end
        status = os.stat(name, dir_fd=here, follow_symlinks=False)
        check_image(path, status, may_be_empty=may_be_empty)
        self.descriptor = os.open(name, flags | os.O_NOFOLLOW | OPEN_FLAGS, dir_fd=here)
        try:
            check_image(path, os.fstat(self.descriptor), may_be_empty=may_be_empty)
        except BaseException:
            self.close()
            raise

    def lock(self, *, is_shared: bool) -> None:
        """Keep others from writing to it, or from locking it at all, until it is closed.

        Raises: TargetBusy when somebody else does, NotFound when it was deleted meanwhile.
        """
        try:
            fcntl.flock(
                self.descriptor, (fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX) | fcntl.LOCK_NB
            )
        except BlockingIOError as error:
            raise TargetBusy(
                f"{self.path}: is in use: it is written to, read as a snapshot, frozen or deleted: "
                "wait for that"
            ) from error
        except OSError as error:
            log.debug("image cannot be locked", extra={"reason": error.strerror})
        if not os.fstat(self.descriptor).st_nlink:
            raise NotFound(f"{self.path}: was deleted a moment ago: list what there is")

    def claim(self) -> None:
        """Keep other programs off it until it is closed. Raises: TargetBusy when one uses it."""
        claim_image(self.path, self.descriptor)

    def hand_over(self) -> int:
        """Return the descriptor, which is the caller's from now on, with its lock."""
        descriptor, self.descriptor = self.descriptor, -1
        return descriptor

    def close(self) -> None:
        """Close it."""
        if (descriptor := self.hand_over()) >= 0:
            os.close(descriptor)


def look_at(here: int, place: str, path: str, name: str = "") -> ProvidedVolume:
    """Return what is to be told of an image file. Raises: Refused, NotFound, OSError.

    name: what people call it, its place unless given.
    """
    status = os.stat(place, dir_fd=here, follow_symlinks=False)
    check_image(path, status)
    is_in_use = False
    with suppress(OSError):  # one that may not be read is shown all the same
        descriptor = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | OPEN_FLAGS, dir_fd=here)
        try:
            is_in_use = is_written_to(descriptor)
        finally:
            os.close(descriptor)
    return ProvidedVolume(place, status.st_size, name or place, is_in_use)


def check_image(path: str, status: os.stat_result, *, may_be_empty: bool = False) -> None:
    """Raise unless it is a volume: Refused for what is no file, NotFound for an empty one."""
    if stat.S_ISLNK(status.st_mode):
        raise Refused(
            f"{path}: is a symbolic link, which is not followed: put there what it points to"
        )
    if not stat.S_ISREG(status.st_mode):
        raise Refused(f"{path}: is no regular file: a volume is one")
    if not status.st_size and not may_be_empty:
        raise NotFound(f"{path}: is empty: a volume has at least one byte")
