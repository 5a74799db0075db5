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
from backupcore.volume.descriptor import OPEN_FLAGS

__all__ = ["Folder", "Image", "check_image", "synchronize"]

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
                f"{self.path}: is in use: it is being written to, frozen or deleted: wait for that"
            ) from error
        except OSError as error:
            log.debug("image cannot be locked", extra={"reason": error.strerror})
        if not os.fstat(self.descriptor).st_nlink:
            raise NotFound(f"{self.path}: was deleted a moment ago: list what there is")

    def hand_over(self) -> int:
        """Return the descriptor, which is the caller's from now on, with its lock."""
        descriptor, self.descriptor = self.descriptor, -1
        return descriptor

    def close(self) -> None:
        """Close it."""
        if (descriptor := self.hand_over()) >= 0:
            os.close(descriptor)


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
