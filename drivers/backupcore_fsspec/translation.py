"""What the errors of any file system of fsspec mean to a backup.

They are known by what they are, by the number of the kernel or the status of the web server that
they carry, or by the name of their class: nothing is imported for it that is not there anyway.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager

from backupcore.driver.http import status_error
from backupcore.errors import AccessDenied, BackupError, StoreError, StoreFull, Unavailable

__all__ = ["ABSENT", "ANSWERS", "PastEnd", "has_failed", "is_past_end", "translated"]

ABSENT = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
ANSWERS = (*ABSENT, FileExistsError)  # left to the caller, who knows what was asked

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_DENIED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ELOOP})
_FINAL = frozenset({errno.EIO, errno.EINVAL, errno.ENAMETOOLONG, errno.ENOTEMPTY, errno.EXDEV})
_DENIED_NAMES = frozenset(
    {
        "AuthenticationException",
        "BadHostKeyException",
        "ClientAuthenticationError",
        "DefaultCredentialsError",
        "LogonFailure",
        "NoCredentialsError",
        "PartialCredentialsError",
        "PasswordRequiredException",
        "PermissionError",
        "RefreshError",
    }
)
_LATER_NAMES = frozenset(
    {
        "ClientConnectionError",
        "ClientPayloadError",
        "ConnectionError",
        "HTTPClientError",
        "SSHException",
        "ServiceRequestError",
        "ServiceResponseError",
        "TransportError",
    }
)
# SFTP has one word for no room, no quota and all else; these are paramiko's texts for it.
_FAILURES = frozenset({"Failure", "Operation unsupported", "Bad message"})
# After a refused key paramiko goes on to read its file as keys of other kinds, and tells that.
_SSH_DENIED = re.compile(r"\bkey\b|known_hosts")
_STATUS_NAMES = ("status", "status_code", "code")
_ABSENT_STATUS = frozenset({404, 410})


class PastEnd(ValueError):
    """An offset is past the end of an object; our own finding, which passes as it is."""


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn what a file system raises into the StoreError it means; `ANSWERS` pass as they are.

    An absence that was caused by a failure is that failure: one could not look.
    """
    try:
        yield
    except (BackupError, PastEnd):
        raise
    except ANSWERS as error:
        if not has_failed(error):
            raise
        raise _meaning(what, error.__cause__ or error) from error
    except Exception as error:
        raise _meaning(what, error) from error


def has_failed(error: OSError) -> bool:
    """Return whether an absence is only how a file system calls that it could not look."""
    cause = error.__cause__
    if not isinstance(cause, Exception) or isinstance(cause, (*ANSWERS, KeyError, IndexError)):
        return False
    return _status(cause) not in _ABSENT_STATUS and isinstance(
        _meaning("", cause), AccessDenied | Unavailable
    )


def is_past_end(error: Exception) -> bool:
    """Return whether a store refused a range because it begins at the end or after it."""
    return _status(error) == 416 or (isinstance(error, OSError) and error.errno == errno.EINVAL)


def _meaning(what: str, error: BaseException) -> StoreError:
    text = f"{type(error).__name__}: {error}".rstrip(": ")
    fact = f"{what}: {text}"
    status = _status(error)
    if status is not None:
        return status_error(status, fact, _headers(error))
    kind, advice = _kind(error, {kind.__name__ for kind in type(error).__mro__})
    return kind(f"{fact}: {advice}" if advice else fact)


def _kind(error: BaseException, names: set[str]) -> tuple[type[StoreError], str]:
    """Return what an error without a status means, and what to do.

    names: of its class and the classes above.
    """
    number = error.errno if isinstance(error, OSError) else None
    if number in _FULL:
        return StoreFull, "free some space or raise the limit"
    is_refused_key = "SSHException" in names and _SSH_DENIED.search(str(error))
    if number in _DENIED or names & _DENIED_NAMES or is_refused_key:
        return AccessDenied, "check the credentials, the keys of user and server, and permissions"
    if isinstance(error, OSError) and str(error) in _FAILURES:
        return StoreError, "check room, quota and permissions on the server, and its log"
    is_final = number in _FINAL
    if not is_final and (isinstance(error, OSError | EOFError) or names & _LATER_NAMES):
        return Unavailable, "try again later"
    return StoreError, ""


def _status(error: BaseException) -> int | None:
    """Return the status of a web server that an error carries."""
    for name in _STATUS_NAMES:
        value = getattr(error, name, None)
        text = str(value) if isinstance(value, int | str) else ""
        if text.isdecimal() and 400 <= int(text) <= 599:
            return int(text)
    return None


def _headers(error: BaseException) -> dict[str, str]:
    headers = getattr(error, "headers", None)
    try:
        return {str(name).lower(): str(value) for name, value in headers.items()}  # type: ignore[union-attr]
    except AttributeError:
        return {}
