"""File systems of one URL: made when they are needed, lent to one thread each or to all at once.

The caches of fsspec are off. Its listings are kept for ever, so what others stored would not be
seen; its instances are shared by the whole process, and closing one would close it for others.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from fsspec.core import url_to_fs

from backupcore.errors import AccessDenied, Refused, StoreError
from backupcore_fsspec.option import Value
from backupcore_fsspec.protocol import Facts, FileSystem
from backupcore_fsspec.translation import ANSWERS, PastEnd, translated

__all__ = ["Connection", "Connections", "Place"]

SILENCE_S_MAX = 60.0
SSH_PORT = 22


@dataclass(frozen=True, slots=True, repr=False)
class Place:
    """Where a store is: the URL for fsspec, options of the file system, and a name to show.

    known_hosts: a file in the format of OpenSSH, or `any`; for sftp and ssh.
    """

    shown: str
    text: str
    facts: Facts
    given: dict[str, Value]
    known_hosts: str | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Connection:
    """A file system and the path of the store in it, without a slash at the end."""

    files: FileSystem
    root: str

    def path(self, key: str) -> str:
        """Return the path of an object or a directory below the root; the root's for none."""
        return f"{self.root}/{key}".rstrip("/") or "/"


class Connections:
    """Lends file systems: one for all threads, or to each borrower one of its own."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._lock = threading.Lock()
        self._idle: list[Connection] = []

    @contextmanager
    def borrow(self, what: str) -> Iterator[Connection]:
        """Lend a file system and translate its errors; after a failure nobody gets it again.

        what: the object and its store, for messages. Raises: what `translated` does.
        """
        with translated(what):
            connection = self._take()
            try:
                yield connection
            except (*ANSWERS, PastEnd):
                self._give(connection)
                raise
            except BaseException:
                self._drop(connection)
                raise
            self._give(connection)

    def close(self) -> None:
        """Let go of the file systems that are not lent."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            _close(connection)

    def _take(self) -> Connection:
        with self._lock:
            if self._idle:
                return self._idle[0] if self._place.facts.is_shared else self._idle.pop()
            if self._place.facts.is_shared:
                self._idle.append(self._connect())
                return self._idle[0]
        return self._connect()

    def _give(self, connection: Connection) -> None:
        if not self._place.facts.is_shared:
            with self._lock:
                self._idle.append(connection)

    def _drop(self, connection: Connection) -> None:
        # a server that went away took the idle ones with it
        if not self._place.facts.is_shared:
            _close(connection)
            self.close()

    def _connect(self) -> Connection:
        place = self._place
        given: dict[str, Value] = {**place.given, "skip_instance_cache": True}
        if place.facts.takes_cache_option:
            given["use_listings_cache"] = False
        try:
            files, root = url_to_fs(place.text, **given)
        except (TypeError, ValueError) as error:
            raise Refused(f"{place.shown}: options do not fit the file system: {error}") from error
        except ANSWERS as error:
            raise StoreError(f"{place.shown}: cannot be opened: {error}: check options") from error
        if place.known_hosts is not None:
            _prepare_ssh(files, place.known_hosts, place.shown)
        return Connection(files, str(root).rstrip("/"))


def _prepare_ssh(files: FileSystem, known_hosts: str, shown: str) -> None:
    """Refuse a server nobody vouches for, since fsspec takes any. Raises: AccessDenied."""
    client, channel = files.client, files.ftp.get_channel()  # type: ignore[attr-defined]
    channel.settimeout(SILENCE_S_MAX)
    # each 32 KiB waits for their answer; 5 MiB took 6.4 s without this and 0.1 s with it
    client.get_transport().sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if known_hosts == "any":
        return
    host, port = files.host, files.ssh_kwargs.get("port") or SSH_PORT  # type: ignore[attr-defined]
    name = host if port == SSH_PORT else f"[{host}]:{port}"
    reader = type(client)()  # its list of hosts is empty; the first one's holds this server
    path = os.path.expanduser(known_hosts)
    if os.path.exists(path):
        reader.load_host_keys(path)
    key = client.get_transport().get_remote_server_key()
    if not reader.get_host_keys().check(name, key):
        client.close()
        raise AccessDenied(
            f"{shown}: the server's {key.get_name()} key is not that of {name} in {known_hosts}: "
            "compare it with the server's own, then add it (ssh-keyscan -t TYPE -p PORT HOST)"
        )


def _close(connection: Connection) -> None:
    """Close the connection of a file system; fsspec has no call for it."""
    for thing in (getattr(connection.files, "client", None), connection.files):
        close = getattr(thing, "close", None)
        if callable(close):
            with suppress(Exception):  # it may be the broken one
                close()
