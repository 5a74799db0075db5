"""The directory a store is kept in: how it is opened, made ready and cleaned.

A driver for directories that are not always there, such as mounts, brings a root of its own.
"""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

from backupcore.errors import StoreError
from backupcore_posix.temporary import sweep

__all__ = ["DIRECTORY", "Root", "synchronize"]

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class Root:
    """A directory of this machine, by its path.

    has_stale_handles: whether a directory that others removed is told by a stale handle.
    """

    has_stale_handles = False

    def __init__(self, path: str) -> None:
        self.path = path

    def open(self) -> int:
        """Return a new descriptor. Raises: FileNotFoundError when it is to be created."""
        return os.open(self.path, DIRECTORY)

    def reopen(self, error: OSError) -> int:
        """Return a new descriptor after the one that is held went stale; here the error is raised.

        What the path leads to by now may be another directory.
        """
        raise error

    def create(self) -> None:
        """Make the directory unless somebody was faster; never its parent."""
        try:
            os.mkdir(self.path, 0o700)
        except FileExistsError:
            return
        except FileNotFoundError as error:
            raise StoreError(
                f"{self.path}: its parent directory is missing: mount it or create it"
            ) from error
        descriptor = self.open()
        try:
            os.fchmod(descriptor, 0o700)
        finally:
            os.close(descriptor)

    def create_all(self) -> None:
        """Make the directory and what is missing above it, durably."""
        path = Path(self.path)
        missing = [step for step in (path, *path.parents) if not step.exists()]
        os.makedirs(path, mode=0o700, exist_ok=True)
        with contextlib.suppress(PermissionError):  # somebody else's directory holds the name
            for step in missing:
                _synchronize_at(str(step.parent))

    def settle(self, descriptor: int) -> None:
        """Make sure that what is stored from now on stays: its own name is made durable."""
        with contextlib.suppress(PermissionError):  # somebody else's directory holds the name
            _synchronize_at(os.path.dirname(self.path))

    def sweep(self, drafts: int) -> None:
        """Remove what dead writers left in the directory of temporary files."""
        sweep(drafts)


def _synchronize_at(path: str) -> None:
    descriptor = os.open(path, DIRECTORY)
    try:
        synchronize(descriptor)
    finally:
        os.close(descriptor)


def synchronize(directory: int) -> None:
    """Make the names in a directory durable."""
    try:
        os.fsync(directory)
    except OSError as error:
        # some file systems have nothing to sync in a directory and say so
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
