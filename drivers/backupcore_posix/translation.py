"""What the kernel's error numbers mean to a backup."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from backupcore.errors import AccessDenied, StoreError, StoreFull, Unavailable

__all__ = ["translated"]

_MEANING: dict[int, tuple[type[StoreError], str]] = {
    **dict.fromkeys(
        (errno.ENOSPC, errno.EDQUOT, errno.EFBIG), (StoreFull, "free some space or raise the limit")
    ),
    **dict.fromkeys(
        (errno.EACCES, errno.EPERM, errno.EROFS, errno.ELOOP),
        (AccessDenied, "check owner, mode and mount of the directory"),
    ),
    **dict.fromkeys(
        (
            errno.EAGAIN,
            errno.EBUSY,
            errno.ECONNREFUSED,
            errno.ECONNRESET,
            errno.EHOSTDOWN,
            errno.EHOSTUNREACH,
            errno.EINTR,
            errno.EMFILE,
            errno.ENETUNREACH,
            errno.ENFILE,
            errno.ENOBUFS,
            errno.ENOLCK,
            errno.ENOMEM,
            errno.ENOTCONN,
            errno.ESTALE,
            errno.ETIMEDOUT,
        ),
        (Unavailable, "try again later"),
    ),
}


@contextmanager
def translated(path: str) -> Iterator[None]:
    """Turn an OSError into the StoreError it means, naming the path."""
    try:
        yield
    except OSError as error:
        fact = f"{path}: {error.strerror or error}"
        kind, advice = _MEANING.get(error.errno or 0, (StoreError, ""))
        raise kind(f"{fact}: {advice}" if advice else fact) from error
