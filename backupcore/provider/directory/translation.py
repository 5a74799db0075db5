"""What the kernel's error numbers mean to who asked for a volume."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from backupcore.errors import BackupError, NotFound, Refused, TargetError

__all__ = ["translated"]

_LINK = "is a symbolic link, which is not followed: put there what it points to"
_MEANING: dict[int, tuple[type[BackupError], str]] = {
    errno.ENOENT: (NotFound, "does not exist: list what there is, and see that it is mounted"),
    errno.ELOOP: (Refused, _LINK),
    errno.ENOTDIR: (
        Refused,
        "it or what it lies in is no directory, or a link, which is not followed",
    ),
    errno.EISDIR: (Refused, "is a directory: a volume is a regular file"),
    errno.ENXIO: (Refused, "is a pipe or a socket: a volume is a regular file"),
    errno.ENAMETOOLONG: (Refused, "is too long a name here: shorten it"),
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), (TargetError, "no room: make some")),
    errno.EFBIG: (TargetError, "cannot be so large on this file system: choose another folder"),
}
_NOT_ALLOWED = frozenset((errno.EACCES, errno.EPERM, errno.EROFS))


@contextmanager
def translated(path: str, failure: type[BackupError]) -> Iterator[None]:
    """Turn an OSError into what it means, naming the path; `failure` when it means nothing else."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if meaning := _MEANING.get(error.errno or 0):
            kind, text = meaning
            raise kind(f"{path}: {text} ({reason})") from error
        advice = ": check owner, mode and mount" if error.errno in _NOT_ALLOWED else ""
        raise failure(f"{path}: {reason}{advice}") from error
