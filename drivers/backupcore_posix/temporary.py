"""A file being written: invisible until published, gone when anything fails, durable before.

Each writer holds a lock on its temporary file, so whoever can take the lock knows that the writer
is dead. Sources: link(2) and open(2), Linux manual pages, on exclusive creation over NFS; nfs(5)
on what is asked of the server when a file is opened or closed.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self, TypeAlias

from backupcore.driver import Buffer
from backupcore.errors import ObjectExists

__all__ = ["Temporary", "WriteAll", "sweep", "write_all"]

WriteAll: TypeAlias = Callable[[int, Sequence[Buffer]], None]

PARTS_MAX = os.sysconf("SC_IOV_MAX")  # what one writev takes
_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_LOOK = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Temporary:
    """A new locked file in a directory; leaving the context removes it unless it was renamed."""

    def __init__(self, directory: int) -> None:
        self._directory = directory
        self._name, self._descriptor = _create(directory)
        self._is_renamed = False

    def write(self, parts: Sequence[Buffer], write_all: WriteAll) -> None:
        """Write the parts one after the other and make them durable."""
        write_all(self._descriptor, parts)
        # never repeated here: after a failure the kernel may have dropped the pages as clean
        os.fsync(self._descriptor)
        # a file system may tell of a full store on closing only: heard before there is a name
        os.close(os.dup(self._descriptor))

    def publish(self, directory: int, name: str, *, if_absent: bool) -> None:
        """Give the file its final name in one step. Raises: ObjectExists (if_absent only)."""
        if if_absent:
            self._link(directory, name)
        else:
            os.rename(self._name, name, src_dir_fd=self._directory, dst_dir_fd=directory)
            self._is_renamed = True

    def _link(self, directory: int, name: str) -> None:
        try:
            os.link(
                self._name,
                name,
                src_dir_fd=self._directory,
                dst_dir_fd=directory,
                follow_symlinks=False,
            )
        except OSError as error:
            # over NFS the reply to a link that was made can be lost, and its repetition refused
            if self._is_linked():
                return
            if isinstance(error, FileExistsError):
                raise ObjectExists(f"{name}: exists") from error
            raise

    def _is_linked(self) -> bool:
        """Return whether the file has a second name, as the file system says now.

        It is opened for that: over NFS the descriptor that is held may tell what was before.
        """
        descriptor = os.open(self._name, _LOOK, dir_fd=self._directory)
        try:
            return os.fstat(descriptor).st_nlink == 2
        finally:
            os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _discard(self._directory, None if self._is_renamed else self._name, self._descriptor)


def sweep(directory: int) -> None:
    """Remove the temporary files whose writers are dead."""
    for name in os.listdir(directory):
        with contextlib.suppress(OSError):  # it vanished, lives, or belongs to somebody else
            descriptor = os.open(
                name, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory
            )
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(name, dir_fd=directory)
            finally:
                os.close(descriptor)


def write_all(descriptor: int, parts: Sequence[Buffer]) -> None:
    """Write all parts with as few calls as the kernel allows, going on after short writes."""
    views = [memoryview(part).cast("B") for part in parts if memoryview(part).nbytes]
    index = 0
    while index < len(views):
        left = os.writev(descriptor, views[index : index + PARTS_MAX])
        if left <= 0:
            raise OSError(errno.EIO, "nothing was written")
        while index < len(views) and left >= len(views[index]):
            left -= len(views[index])
            index += 1
        if left:
            views[index] = views[index][left:]


def _create(directory: int) -> tuple[str, int]:
    """Return name and descriptor of a new file that is locked and still has its name."""
    while True:
        name = secrets.token_hex(16)
        descriptor = os.open(name, _CREATE, 0o600, dir_fd=directory)
        try:
            os.fchmod(descriptor, 0o600)
            # where locks are unknown nobody can take one, so nobody sweeps either
            with contextlib.suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            if os.fstat(descriptor).st_nlink:
                return name, descriptor
        except BaseException:
            _discard(directory, name, descriptor)
            raise
        os.close(descriptor)  # a sweeper was faster than the lock


def _discard(directory: int, name: str | None, descriptor: int) -> None:
    # closed before the name goes: NFS renames what is still open instead of removing it
    with contextlib.suppress(OSError):
        os.close(descriptor)
    if name is not None:
        with contextlib.suppress(OSError):  # a leftover is harmless, the next driver removes it
            os.unlink(name, dir_fd=directory)
