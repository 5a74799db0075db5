"""A file that gets its name when it is whole; what a maker that died has left is swept away."""

from __future__ import annotations

import fcntl
import os
import re
from contextlib import suppress

from backupcore.closing import Closing
from backupcore.errors import TargetBusy
from backupcore.provider.directory.folder import synchronize
from backupcore.runtime import Runtime

__all__ = ["Draft", "sweep"]

_NAME = re.compile(r"\.[0-9a-f]{32}\.partial")
_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Draft(Closing):
    """A new file of mode 0600 in a directory, locked as long as it is being made."""

    def __init__(self, here: int, runtime: Runtime) -> None:
        """Make it under a name that no volume can have. Raises: OSError."""
        self._here = here
        self._name, self.descriptor = _create(here, runtime)

    def resize(self, size_bytes: int) -> None:
        """Make it a hole of that many bytes. Raises: OSError."""
        os.ftruncate(self.descriptor, size_bytes)

    def publish(self, name: str, path: str) -> None:
        """Make it durable and give it its name. Raises: TargetBusy when that is taken, OSError."""
        os.fsync(self.descriptor)
        try:
            os.link(
                self._name,
                name,
                src_dir_fd=self._here,
                dst_dir_fd=self._here,
                follow_symlinks=False,
            )
        except FileExistsError as error:
            raise TargetBusy(
                f"{path}: exists, and nothing is overwritten: choose another name"
            ) from error
        try:
            synchronize(self._here)
        except OSError:
            os.unlink(name, dir_fd=self._here)
            raise

    def close(self) -> None:
        """Close it and remove the name it was made under."""
        _discard(self._here, self._name, self.descriptor)


def sweep(here: int) -> None:
    """Remove what makers that died have left in a directory, as far as one may. Raises: OSError."""
    for name in filter(_NAME.fullmatch, os.listdir(here)):
        with suppress(OSError):  # it vanished, its maker lives, or one may not
            flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            descriptor = os.open(name, flags, dir_fd=here)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(name, dir_fd=here)
            finally:
                os.close(descriptor)


def _create(here: int, runtime: Runtime) -> tuple[str, int]:
    """Return name and descriptor of a new file that is locked and still has its name."""
    while True:
        name = f".{runtime.new_id()}.partial"
        descriptor = os.open(name, _CREATE, 0o600, dir_fd=here)
        try:
            os.fchmod(descriptor, 0o600)
            # where locks are unknown nobody can take one, so nobody sweeps either
            with suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            if os.fstat(descriptor).st_nlink:
                return name, descriptor
        except BaseException:
            _discard(here, name, descriptor)
            raise
        os.close(descriptor)  # a sweeper was faster than the lock


def _discard(here: int, name: str, descriptor: int) -> None:
    with suppress(OSError):  # a leftover is harmless, the next opening removes it
        os.unlink(name, dir_fd=here)
    os.close(descriptor)
