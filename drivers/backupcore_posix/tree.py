"""Directories below the root, reached by descriptors only, one name at a time.

No path is ever resolved by the kernel as a whole, so a symbolic link planted inside the store is
met here, and refused, instead of being followed out of it.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

from backupcore.driver import ObjectInfo, is_key
from backupcore.errors import AccessDenied
from backupcore_posix.root import DIRECTORY, Root, synchronize

__all__ = ["Tree", "has_vanished", "info_of", "open_object", "remove_object", "walk"]

TEMPORARY = ".temporary"
# O_NONBLOCK: a planted pipe must not hang the reader; it changes nothing for files
_OBJECT = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Tree:
    """A root directory; its descriptor is held from first use on."""

    def __init__(self, root: Root) -> None:
        self._root = root
        self._lock = threading.Lock()
        self._descriptor: int | None = None
        self._finalizer: weakref.finalize[[int], Tree] | None = None
        self._is_prepared = False

    def prepare(self) -> None:
        """Make the root, once, ready for puts: it exists, durably, without dead temporaries."""
        with self._lock:
            if self._is_prepared:
                return
            try:
                self._open_root()
            except FileNotFoundError:
                self._root.create()
            self._root.settle(self._open_root())
            with self._open_directory("", create=False) as here:
                drafts = _enter(here, TEMPORARY, create=True)
                try:
                    self._root.sweep(drafts)
                finally:
                    os.close(drafts)
            self._is_prepared = True

    @contextmanager
    def drafts(self) -> Iterator[int]:
        """Open the directory of temporary files."""
        with self.directory("") as here:
            descriptor = _enter(here, TEMPORARY, create=True)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    @contextmanager
    def directory(self, path: str, *, create: bool = False) -> Iterator[int]:
        """Open a directory below the root by its slash-separated names, the root itself by "".

        create: make what is missing.
        Raises: FileNotFoundError, NotADirectoryError, AccessDenied (a symbolic link).
        """
        with self._lock:
            self._open_root()
        with self._open_directory(path, create=create) as here:
            yield here

    def make_durable(self, path: str) -> None:
        """Sync a directory and all above it up to the root, whoever made them.

        Their maker may be another writer, killed or not yet so far. Needs an object in the
        directory, which keeps it from being removed; when it is gone nothing is to be kept.
        """
        names = path.split("/") if path else []
        for depth in range(len(names), -1, -1):
            self._synchronize("/".join(names[:depth]))

    def settle(self, path: str) -> None:
        """Remove a directory and its parents as far as they are empty, durably."""
        names = path.split("/") if path else []
        while True:
            try:
                with self.directory("/".join(names[:-1])) as here:
                    if names:
                        os.rmdir(names[-1], dir_fd=here)
            except OSError as error:
                if not has_vanished(error):
                    break  # not empty, or not ours to remove: an empty directory harms nobody
            if not names:
                break
            names.pop()
        self._synchronize("/".join(names))

    def close(self) -> None:
        """Let go of the root."""
        with self._lock:
            if self._finalizer is not None:
                self._finalizer()
            self._descriptor = self._finalizer = None

    def _synchronize(self, path: str) -> None:
        """Make the names in a directory durable; in one that is gone there are none.

        A stale handle tells that a directory is gone only where that is how it is told.
        """
        try:
            with self.directory(path) as here:
                synchronize(here)
        except FileNotFoundError:
            pass
        except OSError as error:
            if not (path and self._root.has_stale_handles and has_vanished(error)):
                raise

    def _open_root(self) -> int:
        if self._descriptor is None:
            self._descriptor = self._root.open()
            self._finalizer = weakref.finalize(self, os.close, self._descriptor)
        return self._descriptor

    @contextmanager
    def _open_directory(self, path: str, *, create: bool) -> Iterator[int]:
        here = self._enter_root()
        try:
            for name in path.split("/") if path else ():
                there = _enter(here, name, create=create)
                os.close(here)
                here = there
            yield here
        finally:
            os.close(here)

    def _enter_root(self) -> int:
        """Return a description of its own: reading a directory moves its position."""
        held = self._open_root()
        try:
            return os.open(".", DIRECTORY, dir_fd=held)
        except OSError as error:
            if error.errno != errno.ESTALE:
                raise
            fresh = self._root.reopen(error)
        try:
            # in one step: other threads go on using the number, which must not be free meanwhile
            os.dup2(fresh, held, inheritable=False)
        finally:
            os.close(fresh)
        return os.open(".", DIRECTORY, dir_fd=held)


def has_vanished(error: OSError) -> bool:
    """Return whether a directory was removed while it was used; over NFS it is stale then."""
    return error.errno in (errno.ENOENT, errno.ESTALE)


def open_object(here: int, name: str) -> int:
    """Open a regular file. Raises: FileNotFoundError, also for anything that is no file."""
    try:
        descriptor = os.open(name, _OBJECT, dir_fd=here)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _link_refused(name) from error
        if error.errno == errno.ENXIO:  # a socket, or a pipe without a reader
            raise FileNotFoundError(errno.ENOENT, "no object", name) from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileNotFoundError(errno.ENOENT, "no object", name)
    return descriptor


def remove_object(here: int, name: str) -> bool:
    """Remove a file's name; return whether there was one."""
    try:
        os.unlink(name, dir_fd=here)
    except (FileNotFoundError, IsADirectoryError):
        return False
    return True


def walk(here: int, path: str, beginning: str = "") -> Iterator[ObjectInfo]:
    """Yield the objects of a directory whose names start so, and all below; path ends in a slash.

    Names that are no keys belong to others (`lost+found`, `.snapshot`) and are passed over.
    A directory is read whole before its first object is given out, so the caller may delete.
    """
    with os.scandir(here) as entries:
        found = [item for item in entries if item.name.startswith(beginning) and is_key(item.name)]
    for entry in found:
        # what is gone by now was deleted, or replaced, since the directory was read
        with suppress(FileNotFoundError, NotADirectoryError):
            yield from _objects_of(here, entry, path + entry.name)


def _objects_of(here: int, entry: os.DirEntry[str], key: str) -> Iterator[ObjectInfo]:
    """Yield the object that an entry is, or all below when it is a directory."""
    if entry.is_symlink():
        raise _link_refused(key)
    if entry.is_file(follow_symlinks=False):
        yield info_of(key, entry.stat(follow_symlinks=False))
    elif entry.is_dir(follow_symlinks=False):
        there = _enter(here, entry.name, create=False)
        try:
            yield from walk(there, f"{key}/")
        finally:
            os.close(there)


def info_of(key: str, status: os.stat_result) -> ObjectInfo:
    """Return what a file's status says about the object in it."""
    return ObjectInfo(key, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))


def _enter(here: int, name: str, *, create: bool) -> int:
    """Open a directory in a directory, made when it is missing and that is asked for."""
    try:
        return os.open(name, DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
    except FileNotFoundError:
        if not create:
            raise
    except NotADirectoryError as error:
        if stat.S_ISLNK(os.stat(name, dir_fd=here, follow_symlinks=False).st_mode):
            raise _link_refused(name) from error
        raise
    with suppress(FileExistsError):  # somebody was faster
        os.mkdir(name, 0o700, dir_fd=here)
    there = os.open(name, DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
    try:
        os.fchmod(there, 0o700)
    except BaseException:
        os.close(there)
        raise
    return there


def _link_refused(name: str) -> AccessDenied:
    return AccessDenied(f"{name}: a symbolic link inside the store is not followed: remove it")
