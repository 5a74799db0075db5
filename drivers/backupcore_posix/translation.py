"""What the kernel's error numbers mean to a backup."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TypeAlias

from backupcore.errors import AccessDenied, StoreError, StoreFull, Unavailable

__all__ = ["MEANING", "Meaning", "translated"]

Meaning: TypeAlias = Mapping[int, tuple[type[StoreError], str]]

MEANING: Meaning = {
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
def translated(path: str, meaning: Meaning = MEANING) -> Iterator[None]:
    """Turn an OSError into the StoreError it means, naming the path.

    meaning: kind of error and advice of each error number; any other is a plain StoreError.
    """
    try:
        yield
    except OSError as error:
        fact = f"{path}: {error.strerror or error}"
        kind, advice = meaning.get(error.errno or 0, (StoreError, ""))
        raise kind(f"{fact}: {advice}" if advice else fact) from error
