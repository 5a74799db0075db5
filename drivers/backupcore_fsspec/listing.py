"""Listings, directory by directory: `find` of fsspec takes for empty what it cannot list."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from backupcore.driver import ObjectInfo, is_key
from backupcore.errors import StoreError
from backupcore_fsspec.connection import Connections
from backupcore_fsspec.protocol import Info
from backupcore_fsspec.translation import ABSENT

__all__ = ["object_info", "walk"]

# What file systems call the time of the last change; some know the creation only, which for
# objects that are never changed is the same.
_TIMES = ("mtime", "LastModified", "last_modified", "updated", "created")


def walk(connections: Connections, what: str, directory: str) -> Iterator[ObjectInfo]:
    """Yield the objects below a directory (empty, or ending with a slash).

    One that vanishes meanwhile is empty; any other failure is raised, never taken for an end.
    """
    waiting = [directory]
    while waiting:
        here = waiting.pop()
        for info in _ls(connections, what, here):
            key = here + str(info["name"]).rstrip("/").rpartition("/")[2]
            if not is_key(key):
                continue
            if info["type"] == "directory":
                waiting.append(f"{key}/")
            elif info["size"] is None:
                yield from _asked(connections, what, key)
            else:
                yield object_info(key, info)


def _ls(connections: Connections, what: str, directory: str) -> list[Info]:
    try:
        with connections.borrow(what) as connection:
            path = connection.path(directory)
            found = connection.files.ls(path, detail=True)
    except ABSENT:
        return []
    # listed as a directory, a file names itself; some stores keep a mark for the directory
    return [info for info in found if str(info["name"]).rstrip("/") != path]


def _asked(connections: Connections, what: str, key: str) -> Iterator[ObjectInfo]:
    """Yield an object whose size the listing did not tell."""
    try:
        with connections.borrow(what) as connection:
            yield object_info(key, connection.files.info(connection.path(key)))
    except ABSENT:
        return


def object_info(key: str, info: Info) -> ObjectInfo:
    """Return what a file system tells of an object. Raises: FileNotFoundError, StoreError."""
    if info["type"] == "directory":
        raise FileNotFoundError(key)
    size_bytes = info["size"]
    if not isinstance(size_bytes, int):
        raise StoreError(f"{key}: the store does not tell its size")
    return ObjectInfo(key, size_bytes, _modified(info))


def _modified(info: Info) -> datetime | None:
    for name in _TIMES:
        value = info.get(name)
        if isinstance(value, str):
            try:
                value = datetime.fromisoformat(value)
            except ValueError:
                continue
        if isinstance(value, datetime):
            return value if value.tzinfo else value.replace(tzinfo=UTC)
        if isinstance(value, int | float):
            return datetime.fromtimestamp(value, UTC)
    return None
