"""What is known of the protocols of fsspec: how an object is stored whole, and what is promised.

fsspec promises little for all of its file systems together, so a protocol is written to only when
it stands here, because its way of replacing a file was looked into. The others can be read.
"""
# ruff: noqa: D102 - fsspec's documents say what its calls do

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import IO, Protocol, TypeAlias

from backupcore.driver import Capabilities

__all__ = ["FACTS", "READ_ONLY", "REFUSED", "Facts", "FileSystem", "Info", "Manner"]

Info: TypeAlias = dict[str, object]

UNKNOWN_LAG_S = 86_400.0  # caches stand before many web servers


class FileSystem(Protocol):
    """The calls of `fsspec.AbstractFileSystem` that are used.

    All but paths go by name: file systems put arguments of their own between them.
    """

    def ls(self, path: str, *, detail: bool) -> list[Info]: ...
    def info(self, path: str) -> Info: ...
    def cat_file(self, path: str, **bounds: int) -> bytes: ...
    def pipe_file(self, path: str, value: bytes, **options: str) -> object: ...
    def open(self, path: str, mode: str) -> AbstractContextManager[IO[bytes]]: ...
    def mv(self, old: str, new: str) -> object: ...
    def rm_file(self, path: str) -> object: ...
    def mkdir(self, path: str, *, create_parents: bool) -> object: ...
    def makedirs(self, path: str, *, exist_ok: bool) -> object: ...
    def rmdir(self, path: str) -> object: ...


class Manner(StrEnum):
    """How an object gets into a store whole or not at all."""

    RENAME = "rename"
    CALL = "one call"
    NEVER = "never"


def _mv(files: FileSystem, old: str, new: str) -> None:
    files.mv(old, new)


def _replace(files: FileSystem, old: str, new: str) -> None:
    # `mv` copies when it cannot rename, and a reader would meet half of the copy
    os.replace(old, new)


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a protocol.

    rename: gives a file another name, atomically also when the name is taken.
    is_shared: several threads may use one file system at once.
    has_bucket: the first part of the path is made by an administrator and must be there.
    takes_cache_option: its constructor knows `use_listings_cache`.
    """

    manner: Manner
    rename: Callable[[FileSystem, str, str], None] = _mv
    is_shared: bool = True
    has_bucket: bool = False
    takes_cache_option: bool = False

    @property
    def capabilities(self) -> Capabilities:
        """What a store of this protocol promises: nothing that fsspec does not."""
        is_written = self.manner is not Manner.NEVER
        return Capabilities(
            conditional_put=False,
            list_lag_s_max=0.0 if is_written else UNKNOWN_LAG_S,
            range_get=is_written,
        )


_BUCKET = Facts(Manner.CALL, has_bucket=True, takes_cache_option=True)
# paramiko's client loses answers when two threads wait for one
_SSH = Facts(Manner.RENAME, is_shared=False)
_LOCAL = Facts(Manner.RENAME, rename=_replace)

READ_ONLY = Facts(Manner.NEVER, is_shared=False)
FACTS = {
    "memory": Facts(Manner.CALL),
    **dict.fromkeys(("file", "local"), _LOCAL),
    **dict.fromkeys(("sftp", "ssh"), _SSH),
    **dict.fromkeys(("abfs", "az", "gcs", "gs", "oci", "oss", "s3", "s3a"), _BUCKET),
}
REFUSED = {
    "ftp": "its file system takes a failed listing for an empty directory: mount the server",
}


def walk_parents(key: str) -> Iterator[str]:
    """Yield the directories above a key, the nearest first."""
    while "/" in key:
        key = key.rpartition("/")[0]
        yield key
