"""The driver `fsspec+PROTOCOL:`: a bridge to the file systems of fsspec.

fsspec+sftp://user@host/srv/backups, fsspec+gs://bucket/prefix, fsspec+file:///srv/backups; what
follows `fsspec+` is the URL that fsspec knows. `protocol.py` says which can be written to and how;
any other can be read. Opening asks nothing; a connection is made by the first call.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import fsspec

from backupcore.driver import (
    Buffer,
    Driver,
    ObjectInfo,
    Role,
    Url,
    check_key,
    check_prefix,
    hookimpl,
)
from backupcore.errors import ObjectExists, ObjectMissing, ReadOnly, Refused, StoreError
from backupcore_fsspec.connection import Connection, Connections, Place
from backupcore_fsspec.file import is_there, put_file, remove_file
from backupcore_fsspec.listing import object_info, walk
from backupcore_fsspec.option import choose_options
from backupcore_fsspec.protocol import FACTS, READ_ONLY, REFUSED, Manner
from backupcore_fsspec.reading import read_file_into, read_range
from backupcore_fsspec.translation import ABSENT

__all__ = ["FsspecDriver", "backupcore_open_driver"]


class FsspecDriver(Driver):
    """Objects as files of a file system of fsspec."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._facts = place.facts
        self._connections = Connections(place)
        self.capabilities = place.facts.capabilities

    def put(
        self,
        key: str,
        parts: Sequence[Buffer],
        *,
        if_absent: bool = False,
        role: Role = Role.DATA,
    ) -> None:
        """Store an object in the manner of the protocol; `if_absent` looks before."""
        what = self._what(check_key(key))
        self._check_written()
        try:
            with self._connections.borrow(what) as connection:
                if if_absent and is_there(connection.files, connection.path(key)):
                    raise FileExistsError(what)
                if self._facts.manner is Manner.RENAME:
                    put_file(connection, key, parts, self._facts.rename)
                else:
                    _put_in_one_call(connection, key, parts, if_absent=if_absent)
        except FileExistsError as error:
            if if_absent:
                raise ObjectExists(f"{what}: exists") from error
            raise StoreError(f"{what}: something is in the way: {error}") from error
        except ABSENT as error:
            raise StoreError(f"{what}: there is no place for it: check the URL") from error

    def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        """Read a range; when it is short, or not served as one, the size is asked for."""
        if offset < 0:
            raise ValueError(f"{self._what(key)}: offset {offset} is before the start")
        with self._looking(check_key(key)) as connection:
            path = connection.path(key)
            if offset == 0 and length is None:
                return bytes(connection.files.cat_file(path))
            return read_range(connection.files, path, offset, length, self._facts.manner)

    def get_into(self, key: str, offset: int, buffer: Buffer) -> int:
        """Read a range of a file piece by piece into the caller's buffer; else as `get`."""
        if offset < 0 or self._facts.manner is not Manner.RENAME:
            return super().get_into(key, offset, buffer)
        view = memoryview(buffer).cast("B")
        with self._looking(check_key(key)) as connection:
            return read_file_into(connection.files, connection.path(key), offset, view)

    def stat(self, key: str) -> ObjectInfo:
        """Ask for size and time of the last change."""
        with self._looking(check_key(key)) as connection:
            return object_info(key, connection.files.info(connection.path(key)))

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Walk the directories that the prefix can match."""
        parent, slash, beginning = check_prefix(prefix).rpartition("/")
        with self._connections.borrow(self._what(prefix)) as connection:
            self._check_container(connection)
        for info in walk(self._connections, self._what(prefix), parent + slash):
            if info.key.startswith(parent + slash + beginning):
                yield info

    def delete(self, keys: Iterable[str]) -> None:
        """Remove one object after the other."""
        chosen = [check_key(key) for key in keys]
        self._check_written()
        for key in chosen:
            try:
                with self._connections.borrow(self._what(key)) as connection:
                    if self._facts.manner is Manner.RENAME:
                        remove_file(connection, key)
                    else:
                        connection.files.rm_file(connection.path(key))
            except ABSENT:
                continue

    def create_container(self) -> None:
        """Make the directory or bucket and what is missing above it."""
        self._check_written()
        with self._connections.borrow(self._place.shown) as connection:
            connection.files.makedirs(connection.path(""), exist_ok=True)

    def close(self) -> None:
        """Close the connections."""
        self._connections.close()

    def _what(self, key: str) -> str:
        return f"{self._place.shown.rstrip('/')}/{key}"

    def _check_written(self) -> None:
        if self._facts.manner is Manner.NEVER:
            raise ReadOnly(
                f"{self._place.shown}: not changed: this protocol of fsspec is only read from, as "
                "it is not known to store a file whole or not at all"
            )

    @contextmanager
    def _looking(self, key: str) -> Iterator[Connection]:
        """Lend a connection; what is absent then is a missing object if its container is there."""
        what = self._what(key)
        try:
            with self._connections.borrow(what) as connection:
                yield connection
        except ABSENT as error:
            with self._connections.borrow(what) as connection:
                self._check_container(connection)
            raise ObjectMissing(f"{what}: no such object") from error

    def _check_container(self, connection: Connection) -> None:
        """Raise StoreError unless what would hold the objects, or could be made to, is there."""
        root = connection.root
        if self._facts.manner is Manner.CALL:
            is_found = not self._facts.has_bucket or is_there(
                connection.files, root.partition("/")[0]
            )
        elif self._facts.manner is Manner.RENAME:
            above = root.rpartition("/")[0] or "/"
            is_found = any(is_there(connection.files, path) for path in (root or "/", above))
        else:
            is_found = is_there(connection.files, root)
        if not is_found:
            raise StoreError(
                f"{self._place.shown}: neither it nor what is above it is there: create it, or "
                "check the URL"
            )


def _put_in_one_call(
    connection: Connection, key: str, parts: Sequence[Buffer], *, if_absent: bool
) -> None:
    """Hand an object over as one bytes object: a file written to would be stored half as well."""
    body = parts[0] if len(parts) == 1 and isinstance(parts[0], bytes) else b"".join(parts)
    kind = type(connection.files)
    call = getattr(kind, "_pipe_file", kind.pipe_file)
    is_asked = if_absent and "mode" in inspect.signature(call).parameters
    options = {"mode": "create"} if is_asked else {}
    connection.files.pipe_file(connection.path(key), body, **options)


@hookimpl
def backupcore_open_driver(url: Url, options: Mapping[str, str]) -> Driver:
    """Open the file system and path a URL names."""
    protocol = url.scheme.partition("+")[2]
    if not protocol:
        raise Refused(f"{url}: names no protocol: write fsspec+PROTOCOL://…")
    if protocol in REFUSED:
        raise Refused(f"{url}: fsspec+{protocol} is refused: {REFUSED[protocol]}")
    chosen = choose_options(url, protocol)
    facts = FACTS.get(protocol, READ_ONLY)
    if not (url.host or url.path or facts.manner is Manner.NEVER):
        raise Refused(f"{url}: names no place: write fsspec+{protocol}://…/path")
    if url.host and protocol in ("file", "local"):
        raise Refused(f"{url}: names a host: write fsspec+{protocol}:///{url.host}{url.path}")
    if any(sign in url.path for sign in ("?", "#", "::")):
        raise Refused(f"{url}: fsspec has no way to write a path with ?, # or ::")
    _check_installed(url, protocol)
    known_hosts = chosen.known_hosts if protocol in ("sftp", "ssh") else None
    text = f"{protocol}://{url.host}{url.path}"
    driver = FsspecDriver(Place(str(url), text, facts, chosen.given, known_hosts))
    if chosen.create_container:
        try:
            driver.create_container()
        except BaseException:
            driver.close()
            raise
    return driver


def _check_installed(url: Url, protocol: str) -> None:
    try:
        fsspec.get_filesystem_class(protocol)
    except ImportError as error:
        raise Refused(f"{url}: fsspec+{protocol} needs a package: {error}") from error
    except ValueError as error:
        raise Refused(f"{url}: fsspec knows no protocol {protocol!r}: check the URL") from error
