"""The driver `example:`: one row an object, in an SQLite file. EDIT: what your store is.

example:/var/backups.db. EDIT: what a URL names, and which options it takes:

    wait_s    how long to wait for another writer, in seconds; 60 unless given
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager

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
from backupcore.errors import (
    AccessDenied,
    ObjectExists,
    ObjectMissing,
    Refused,
    StoreError,
    StoreFull,
    Unavailable,
)

__all__ = ["ExampleDriver", "backupcore_open_driver"]

_TABLE = "CREATE TABLE IF NOT EXISTS object (key TEXT UNIQUE, body BLOB NOT NULL)"

# EDIT: what the errors of your SDK mean. Only what may work later with the same call is
# `Unavailable`; backupcore repeats it, so turn off the repetitions of the SDK itself.
_MEANING: Mapping[int, tuple[type[StoreError], str]] = {
    sqlite3.SQLITE_BUSY: (Unavailable, "try again later"),
    sqlite3.SQLITE_LOCKED: (Unavailable, "try again later"),
    sqlite3.SQLITE_FULL: (StoreFull, "free some space"),
    sqlite3.SQLITE_PERM: (AccessDenied, "check owner and mode of the file"),
    sqlite3.SQLITE_READONLY: (AccessDenied, "check owner, mode and mount of the file"),
}


class ExampleDriver(Driver):
    """Objects as rows; each call opens the file, so that threads share nothing."""

    # EDIT: claim what your store promises, and no more; the kit tries what is claimed
    capabilities = Capabilities(conditional_put=True, object_size_bytes_max=512 << 20)

    def __init__(self, path: str, *, wait_s: float) -> None:
        self._path = path
        self._wait_s = wait_s

    def put(
        self,
        key: str,
        parts: Sequence[Buffer],
        *,
        if_absent: bool = False,
        role: Role = Role.DATA,
    ) -> None:
        """Store a row in one transaction, its parts written one after the other."""
        check_key(key)
        verb = "INSERT OR IGNORE" if if_absent else "REPLACE"
        with self._store(key, creates=True) as store, store:
            statement = f"{verb} INTO object VALUES (?, zeroblob(?)) RETURNING rowid"
            rows = store.execute(statement, (key, parts_size_bytes(parts))).fetchall()
            if not rows:
                raise ObjectExists(f"{self._path}: {key}: exists")
            with store.blobopen("object", "body", rows[0][0]) as blob:
                for part in parts:
                    blob.write(memoryview(part).cast("B"))

    def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        """Read a range of a row, less at its end."""
        with self._blob(key) as blob:
            left = self._seek(key, blob, offset)
            return blob.read(left if length is None else min(length, left))

    def get_into(self, key: str, offset: int, buffer: Buffer) -> int:
        """Read a range; EDIT: straight into the buffer where the SDK can, else leave it out."""
        view = memoryview(buffer).cast("B")
        with self._blob(key) as blob:
            left = self._seek(key, blob, offset)
            data = blob.read(min(len(view), left))
        view[: len(data)] = data
        return len(data)

    def stat(self, key: str) -> ObjectInfo:
        """Return the size; EDIT: and the time of the last change where the store knows it."""
        with self._blob(key) as blob:
            return ObjectInfo(key, len(blob))

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """List the rows. EDIT: page by page; an error is raised, never a short list."""
        # a key has none of the letters that mean something in a pattern
        pattern = check_prefix(prefix) + "*"
        with self._store(prefix) as store:
            statement = "SELECT key, length(body) FROM object WHERE key GLOB ?"
            rows = store.execute(statement, (pattern,)).fetchall()
        return (ObjectInfo(key, size_bytes) for key, size_bytes in rows)

    def delete(self, keys: Iterable[str]) -> None:
        """Remove rows; one that is missing is fine."""
        chosen = [(check_key(key),) for key in keys]
        with self._store("delete") as store, store:
            store.executemany("DELETE FROM object WHERE key = ?", chosen)

    # EDIT: `close`, when connections are kept; calling it twice is fine

    @contextmanager
    def _blob(self, key: str) -> Iterator[sqlite3.Blob]:
        """Open the body of an object. Raises: ObjectMissing."""
        with self._store(check_key(key)) as store:
            found = store.execute("SELECT rowid FROM object WHERE key = ?", (key,)).fetchall()
            if not found:
                raise ObjectMissing(f"{self._path}: {key}: no such object")
            with store.blobopen("object", "body", found[0][0], readonly=True) as blob:
                yield blob

    def _seek(self, key: str, blob: sqlite3.Blob, offset: int) -> int:
        """Go to an offset; return how many bytes are left. Raises: ValueError past the end."""
        if not 0 <= offset <= len(blob):
            raise ValueError(f"{self._path}: {key}: offset {offset} is past the end, {len(blob)}")
        blob.seek(offset)
        return len(blob) - offset

    @contextmanager
    def _store(self, what: str, *, creates: bool = False) -> Iterator[sqlite3.Connection]:
        """Connect for one call and translate every error of the SDK; a message names the object.

        Without `creates`, a file that is not there is an empty store and stays absent.
        """
        place = self._path if creates or os.path.exists(self._path) else ":memory:"
        try:
            with closing(sqlite3.connect(place, timeout=self._wait_s)) as store:
                store.execute("PRAGMA synchronous = EXTRA")
                store.execute(_TABLE)
                # else a blob, or the row it is of, may change between two statements
                store.execute("BEGIN IMMEDIATE" if creates else "BEGIN")
                yield store
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
            kind, advice = _MEANING.get(code, (StoreError, "check the file and its directory"))
            raise kind(f"{self._path}: {what}: {error}: {advice}") from error


@hookimpl
def backupcore_open_driver(url: Url, options: Mapping[str, str]) -> Driver:
    """Open the store a URL names, without asking it anything yet."""
    # EDIT: which options there are; credentials are none of them: they come from the SDK's own
    # environment variables and files
    chosen = url.take_options("wait_s")
    if url.host or not url.path:
        raise Refused(f"{url}: names no file: write example:/var/backups.db")
    try:
        wait_s = float(chosen.get("wait_s", "60"))
    except ValueError as error:
        raise Refused(f"{url}: wait_s is {chosen['wait_s']!r}: write seconds") from error
    return ExampleDriver(url.path, wait_s=wait_s)
