"""Stores that have files and directories: a temporary file is written and takes the object's name.

<root>/<key>                       directories come and go with the objects in them
<root>/.temporary/<32 hex digits>  being written, or left by a writer that died
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress

from backupcore.driver import Buffer
from backupcore.driver.transfer import Body
from backupcore.errors import StoreError, Unavailable
from backupcore_fsspec.connection import Connection
from backupcore_fsspec.protocol import FileSystem, walk_parents
from backupcore_fsspec.translation import ABSENT, has_failed

__all__ = ["is_there", "put_file", "remove_file"]

DRAFTS = ".temporary"  # no key begins with a dot
PIECE_BYTES = 1 << 20
MKDIR_ATTEMPTS = 5
PUT_ATTEMPTS = 100  # each is lost to one delete that removed the directory just made


def put_file(
    connection: Connection,
    key: str,
    parts: Sequence[Buffer],
    rename: Callable[[FileSystem, str, str], None],
) -> None:
    """Write a temporary file and give it the name of the object."""
    files, path = connection.files, connection.path(key)
    draft = connection.path(f"{DRAFTS}/{secrets.token_hex(16)}")
    try:
        _with_directories(connection, DRAFTS, lambda: _write(files, draft, parts))
        parent = key.rpartition("/")[0]
        _with_directories(connection, parent, lambda: rename(files, draft, path))
    except BaseException:
        with suppress(Exception):  # the error above says more
            files.rm_file(draft)
        raise


def _write(files: FileSystem, path: str, parts: Sequence[Buffer]) -> None:
    body = Body(parts)
    with files.open(path, "wb") as file:
        while piece := body.read(PIECE_BYTES):
            file.write(piece)
    written = files.info(path)["size"]  # some clients do not tell that closing failed
    if written != len(body):
        raise Unavailable(f"{path}: {written} of {len(body)} bytes were kept: try again later")


def _with_directories(connection: Connection, parent: str, act: Callable[[], None]) -> None:
    """Act, making the directory that is missing for it."""
    for _ in range(PUT_ATTEMPTS):
        try:
            return act()
        except FileNotFoundError as error:
            if has_failed(error):
                raise
        with suppress(FileNotFoundError):  # a delete elsewhere was faster
            _make_directories(connection, parent)
    raise Unavailable(f"{connection.path(parent)}: the directory keeps vanishing: try again later")


def _make_directories(connection: Connection, directory: str) -> None:
    """Make a directory below the root and what is missing above it, down from the root."""
    root = connection.path("")
    try:
        _make_directory(connection.files, root)
    except FileNotFoundError as error:
        raise StoreError(
            f"{root}: its parent directory is missing: create it, or give the option "
            "create_container=yes"
        ) from error
    for name in reversed([directory, *walk_parents(directory)] if directory else []):
        _make_directory(connection.files, connection.path(name))


def _make_directory(files: FileSystem, path: str) -> None:
    """Make one directory unless it is there. Raises: FileNotFoundError when its parent is not."""
    for attempt in range(MKDIR_ATTEMPTS):
        try:
            files.mkdir(path, create_parents=False)
        except FileExistsError:
            return
        except FileNotFoundError:
            raise
        except OSError:
            # SFTP's word for "exists" is "failure", and by now it may have gone again
            if is_there(files, path):
                return
            if attempt == MKDIR_ATTEMPTS - 1:
                raise
        else:
            return


def remove_file(connection: Connection, key: str) -> None:
    """Remove an object and the directories above it as far as that leaves them empty."""
    try:
        connection.files.rm_file(connection.path(key))
    except ABSENT:
        raise
    except OSError:
        if connection.files.info(connection.path(key))["type"] != "directory":
            raise
    with suppress(OSError):
        for directory in walk_parents(key):
            connection.files.rmdir(connection.path(directory))


def is_there(files: FileSystem, path: str) -> bool:
    """Return whether something has this path."""
    try:
        files.info(path)
    except ABSENT as error:
        if has_failed(error):
            raise
        return False
    return True
