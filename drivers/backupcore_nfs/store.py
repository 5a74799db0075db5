"""The driver: the POSIX driver's calls below a mount, with what differs over NFS."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import TypeVar

from backupcore.driver import Buffer, Capabilities, ObjectInfo
from backupcore.errors import AccessDenied, Unavailable
from backupcore_nfs.mounting import Mounting
from backupcore_nfs.root import NfsRoot
from backupcore_nfs.table import LIST_LAG_S
from backupcore_posix import PosixDriver
from backupcore_posix.temporary import write_all
from backupcore_posix.translation import MEANING as LOCAL_MEANING
from backupcore_posix.translation import Meaning, translated

__all__ = ["MEANING", "NfsDriver"]

T = TypeVar("T")

# EIO is all of this over NFS: a soft mount's time-out, a lock lost with the connection, a server
# that failed. The next attempt writes another file, so no failed sync is taken for a good one.
MEANING: Meaning = {
    **LOCAL_MEANING,
    **dict.fromkeys(
        (errno.EIO, errno.EREMOTEIO),
        (Unavailable, "the server is away or failed: see its log, or try again later"),
    ),
    **dict.fromkeys(
        (errno.EACCES, errno.EPERM),
        (AccessDenied, "check owner and mode of the directory and how the export maps users"),
    ),
    errno.EKEYEXPIRED: (AccessDenied, "renew the Kerberos ticket"),
    errno.EROFS: (AccessDenied, "the export or the mount is for reading only"),
    errno.ESTALE: (
        Unavailable,
        "it is gone on the server, or the server is away: try again later",
    ),
}


class NfsDriver(PosixDriver):
    """Objects as files on an NFS server.

    mounting: the mount that ends with the driver, None when it is somebody else's.
    """

    capabilities = Capabilities(conditional_put=True, list_lag_s_max=LIST_LAG_S)

    def __init__(self, root: NfsRoot, mounting: Mounting | None = None) -> None:
        super().__init__(root)
        self._address = root.address
        self._mounting = mounting
        self.capabilities = Capabilities(conditional_put=True, list_lag_s_max=root.mount.list_lag_s)

    def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        """Read a range into new bytes."""
        return _repeat(partial(super().get, key, offset, length))

    def get_into(self, key: str, offset: int, buffer: Buffer) -> int:
        """Read a range straight into the caller's buffer."""
        return _repeat(partial(super().get_into, key, offset, buffer))

    def stat(self, key: str) -> ObjectInfo:
        """Return size and time of the last change."""
        return _repeat(partial(super().stat, key))

    def delete(self, keys: Iterable[str]) -> None:
        """Remove files, then the directories they leave empty."""
        chosen = tuple(keys)
        _repeat(partial(super().delete, chosen))

    def close(self) -> None:
        """Let go of the root directory, and unmount what was mounted for it."""
        try:
            super().close()
        finally:
            if self._mounting is not None:
                self._mounting.close()

    def _path(self, key: str) -> str:
        return f"{self._address}/{key}" if key else str(self._address)

    def _translated(self, key: str) -> AbstractContextManager[None]:
        return translated(self._path(key), MEANING)

    def _write_cold(self, descriptor: int, parts: Sequence[Buffer]) -> None:
        """Write through the page cache.

        Past it every write would wait for the server's disk (open(2), O_DIRECT over NFS); so the
        server gathers them and is told once, by the sync, to make them durable.
        """
        write_all(descriptor, parts)


def _repeat(call: Callable[[], T]) -> T:
    """Call again, once, from the root on, when what was used is gone or replaced on the server."""
    try:
        return call()
    except Unavailable as error:
        cause = error.__cause__
        if not isinstance(cause, OSError) or cause.errno != errno.ESTALE:
            raise
    return call()
