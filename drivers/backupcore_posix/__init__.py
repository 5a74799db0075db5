"""The driver `posix:`: one file an object, below a directory.

posix:///var/backups, posix:relative/directory or just a path. Layout:

    <root>/<key>          mode 0600, directories 0700, whatever the umask
    <root>/.temporary/    objects being written, each locked by its writer

A put writes a temporary file, makes it durable, gives it its name in one step (`link` when it
must be absent, else `rename`) and makes the name durable. Opening creates nothing (but with the
option `create_container=yes` the root and what is missing above it); the first put creates the
root when its parent exists. The root may be a symbolic link, nothing below it may.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager

from backupcore.driver import (
    Buffer,
    Capabilities,
    Driver,
    ObjectInfo,
    Role,
    Url,
    check_key,
    check_prefix,
    hookimpl,
    parts_size_bytes,
)
from backupcore.errors import ObjectExists, ObjectMissing, Refused, StoreError, Unavailable
from backupcore_posix.bypass import Bypass
from backupcore_posix.root import Root
from backupcore_posix.temporary import Temporary, write_all
from backupcore_posix.translation import translated
from backupcore_posix.tree import (
    Tree,
    has_vanished,
    info_of,
    open_object,
    remove_object,
    walk,
)

__all__ = ["PosixDriver", "backupcore_open_driver"]

COLD_BYTES_MIN = 1 << 20  # a pack of so many bytes or more is written past the page cache
PUBLISH_ATTEMPTS = 100  # each is lost to one delete that removed the directory just made


class PosixDriver(Driver):
    """Objects as files below a root directory, whose descriptor is held from first use to close.

    Holding it keeps the file system mounted, and all calls on the one that was mounted at first.
    """

    capabilities = Capabilities(conditional_put=True)

    def __init__(self, root: str | Root) -> None:
        self._root = Root(os.path.abspath(root)) if isinstance(root, str) else root
        self._tree = Tree(self._root)
        self._bypass = Bypass()

    def put(
        self,
        key: str,
        parts: Sequence[Buffer],
        *,
        if_absent: bool = False,
        role: Role = Role.DATA,
    ) -> None:
        """Write a temporary file and publish it under the key."""
        check_key(key)
        with self._translated(key):
            self._tree.prepare()
            with self._tree.drafts() as drafts, Temporary(drafts) as temporary:
                is_cold = role is Role.DATA and parts_size_bytes(parts) >= COLD_BYTES_MIN
                temporary.write(parts, self._write_cold if is_cold else write_all)
                self._publish(temporary, key, if_absent=if_absent)

    def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        """Read a range into new bytes."""
        with self._reading(key, offset) as (descriptor, size_bytes):
            wanted = size_bytes - offset
            left = wanted if length is None else min(length, wanted)
            pieces: list[bytes] = []
            while left > 0 and (piece := os.pread(descriptor, left, offset)):
                pieces.append(piece)
                offset += len(piece)
                left -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def get_into(self, key: str, offset: int, buffer: Buffer) -> int:
        """Read a range straight into the caller's buffer."""
        view = memoryview(buffer).cast("B")
        done = 0
        with self._reading(key, offset) as (descriptor, _):
            while done < len(view):
                count = os.preadv(descriptor, [view[done:]], offset + done)
                if not count:
                    break
                done += count
        return done

    def stat(self, key: str) -> ObjectInfo:
        """Return size and time of the last change."""
        with self._reading(key) as (descriptor, _):
            return info_of(key, os.fstat(descriptor))

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Walk the directories that the prefix can match."""
        check_prefix(prefix)
        parent, slash, beginning = prefix.rpartition("/")
        with self._translated(prefix):
            try:
                with self._tree.directory(parent) as here:
                    yield from walk(here, parent + slash, beginning)
            except (FileNotFoundError, NotADirectoryError):
                return  # walk hides what vanishes below, so it was the directory itself

    def delete(self, keys: Iterable[str]) -> None:
        """Remove files, then the directories they leave empty; needs no free space."""
        parents: set[str] = set()
        for key in keys:
            parent, _, name = check_key(key).rpartition("/")
            with self._translated(key):
                try:
                    with self._tree.directory(parent) as here:
                        is_removed = remove_object(here, name)
                except (FileNotFoundError, NotADirectoryError):
                    continue
            if is_removed:
                parents.add(parent)
        for parent in sorted(parents, reverse=True):
            with self._translated(parent):
                self._tree.settle(parent)

    def create_root(self) -> None:
        """Make the root directory and what is missing above it, durably."""
        with self._translated(""):
            self._root.create_all()

    def close(self) -> None:
        """Let go of the root directory."""
        self._tree.close()
        self._bypass.close()

    def _path(self, key: str) -> str:
        return os.path.join(self._root.path, key)

    def _translated(self, key: str) -> AbstractContextManager[None]:
        return translated(self._path(key))

    def _write_cold(self, descriptor: int, parts: Sequence[Buffer]) -> None:
        """Write what nobody will read soon."""
        self._bypass.write(descriptor, parts)

    def _publish(self, temporary: Temporary, key: str, *, if_absent: bool) -> None:
        """Give the temporary file its name and make that durable."""
        parent, _, name = key.rpartition("/")
        for attempt in range(1, PUBLISH_ATTEMPTS + 1):
            try:
                with self._tree.directory(parent, create=True) as here:
                    temporary.publish(here, name, if_absent=if_absent)
            except ObjectExists:
                # its writer may be gone, and who hears of an object relies on it
                self._settle(key, parent, if_absent=if_absent)
                raise
            except OSError as error:
                if not has_vanished(error):
                    raise
                if attempt == PUBLISH_ATTEMPTS:
                    raise Unavailable(
                        f"{self._path(key)}: {error.strerror}: its directory or the temporary "
                        "file keeps vanishing: try again later"
                    ) from error
                continue  # a delete elsewhere removed the directory while it was empty
            self._settle(key, parent, if_absent=if_absent)
            return

    def _settle(self, key: str, parent: str, *, if_absent: bool) -> None:
        """Make a new name durable.

        With `if_absent` a failure is no matter of trying again: whoever looked would find the
        object and take it for stored, which it is not before its name is.
        """
        try:
            self._tree.make_durable(parent)
        except OSError as error:
            if not if_absent:
                raise
            raise StoreError(
                f"{self._path(key)}: its name could not be made durable: {error.strerror}: "
                "check the file system and do it again"
            ) from error

    @contextmanager
    def _reading(self, key: str, offset: int = 0) -> Iterator[tuple[int, int]]:
        """Open an object and check the offset; yields its descriptor and its size."""
        parent, _, name = check_key(key).rpartition("/")
        path = self._path(key)
        with self._translated(key):
            try:
                with self._tree.directory(parent) as here:
                    descriptor = open_object(here, name)
            except (FileNotFoundError, NotADirectoryError) as error:
                raise ObjectMissing(f"{path}: no such object") from error
            try:
                size_bytes = os.fstat(descriptor).st_size
                if not 0 <= offset <= size_bytes:
                    raise ValueError(f"{path}: offset {offset} is past the end, size {size_bytes}")
                yield descriptor, size_bytes
            finally:
                os.close(descriptor)


@hookimpl
def backupcore_open_driver(url: Url, options: Mapping[str, str]) -> Driver:
    """Open the directory a URL names."""
    url.take_options("create_container")
    may_create = url.wants("create_container")
    if url.host:
        raise Refused(f"{url}: names a host: write posix:///{url.host}{url.path} or a plain path")
    if not url.path:
        raise Refused("posix: names no directory: write posix:///var/backups or a plain path")
    driver = PosixDriver(url.path)
    if may_create:
        driver.create_root()
    return driver
