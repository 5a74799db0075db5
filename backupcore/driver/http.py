"""What the answers of a web server mean to a backup, for drivers of stores that speak HTTP."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import NamedTuple

from backupcore.errors import AccessDenied, StoreError, StoreFull, Unavailable
from backupcore.runtime import SystemClock

__all__ = [
    "ServedRange",
    "check_content_range",
    "check_nothing_served",
    "range_header",
    "retry_after_s",
    "status_error",
]

_LATER = frozenset({408, 409, 425, 429, 498})
_NEVER = frozenset({501, 505})  # of 5xx, which gateways have more of than the standard
_DENIED = frozenset({401, 403, 407})
_FULL = frozenset({413, 507})
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


def status_error(status: int, fact: str, headers: Mapping[str, str]) -> StoreError:
    """Return the error that a status means.

    fact: the object, the store and what it answered. headers: of the answer, names in lower case.
    Source: RFC 9110 §15, RFC 6585; 498 is Swift's rate limit, 507 its full disk, 413 its quota.
    """
    if status in _LATER or (status >= 500 and status not in _NEVER | _FULL):
        return Unavailable(f"{fact}: try again later", retry_after_s=retry_after_s(headers))
    if status in _DENIED:
        return AccessDenied(f"{fact}: check the credentials and what they may do")
    if status in _FULL:
        return StoreFull(f"{fact}: free some space or raise the quota")
    return StoreError(fact)


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Return how long the server asks to wait, in seconds, or None when it does not say.

    A date is compared with the server's own clock. Source: RFC 9110 §10.2.3.
    """
    asked = headers.get("retry-after", "").strip()
    if asked.isascii() and asked.isdigit():
        return float(asked)
    until = _date(asked)
    if until is None:
        return None
    now = _date(headers.get("date", "")) or SystemClock().now()
    return max(0.0, (until - now).total_seconds())


def _date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def range_header(offset: int, length: int | None) -> str:
    """Return the value of `Range` for at least one byte. Source: RFC 9110 §14.2."""
    return f"bytes={offset}-{'' if length is None else offset + length - 1}"


class ServedRange(NamedTuple):
    """How many bytes an answer holds, and whether they are the whole object."""

    size_bytes: int
    is_whole: bool


def check_content_range(
    given: str | None, offset: int, length: int | None, what: str
) -> ServedRange:
    """Return what is served when it is the range asked for, or ends with the object.

    given: the answer's `Content-Range`. Raises: Unavailable when it is another or none.
    """
    found = _CONTENT_RANGE.fullmatch(given or "")
    if found:
        first, last = int(found[1]), int(found[2])
        is_at_end = found[3] != "*" and last == int(found[3]) - 1
        ends_right = is_at_end if length is None else last == offset + length - 1 or is_at_end
        if first == offset and ends_right and (length is None or last < offset + length):
            return ServedRange(last - first + 1, first == 0 and is_at_end)
    asked = range_header(offset, length)
    raise Unavailable(f"{what}: asked for {asked}, served {given or 'something else'}")


def check_nothing_served(offset: int, length: int | None, size_bytes: int, what: str) -> None:
    """Check that a range for which a store gave nothing has no bytes.

    Raises: ValueError when it starts past the end; Unavailable when there are bytes now.
    """
    if offset > size_bytes:
        raise ValueError(f"{what}: offset {offset} is past the end, size {size_bytes}")
    if length != 0 and offset < size_bytes:
        raise Unavailable(f"{what}: no range from {offset} of {size_bytes} bytes: replaced now")
