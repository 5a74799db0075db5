"""The driver contract: what a store must promise, in six calls.

A driver keeps immutable objects under keys. It is one class and one hook in a package whose entry
point (group `backupcore.drivers`) is named after its URL scheme; `backupcore.testing.driver` is
the kit that proves it, `docs/guide/write-a-driver.md` the way in.

Keys are lower-case ASCII, slash-separated, without `.` or `..` parts (`check_key`, which
`open_driver` calls before any driver sees a key). No key continues another at a slash: `a` and
`a/b` never exist together. Drivers translate every error of their SDK into `backupcore.errors`,
`raise … from error`.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from backupcore.closing import Closing
from backupcore.errors import InvalidKey
from backupcore.model import Buffer
from backupcore.plugin import hookimpl, hookspec
from backupcore.url import Url

__all__ = [
    "GROUP",
    "Buffer",
    "Capabilities",
    "Driver",
    "ObjectInfo",
    "Role",
    "Url",
    "backupcore_open_driver",
    "check_key",
    "check_prefix",
    "hookimpl",
    "is_key",
    "parts_size_bytes",
]

GROUP = "backupcore.drivers"
KEY_LENGTH_MAX = 512
PART_LENGTH_MAX = 255  # the longest file name of nearly every file system
_PART = rf"[a-z0-9][a-z0-9._-]{{0,{PART_LENGTH_MAX - 1}}}"
_KEY = re.compile(rf"{_PART}(?:/{_PART})*")
_PREFIX = re.compile(rf"(?:{_PART}/)*(?:{_PART})?")


class Role(StrEnum):
    """What an object is for, so that a driver can choose storage class and retention."""

    DATA = "data"
    MAP = "map"
    MANIFEST = "manifest"
    CONTROL = "control"


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a store promises beyond the six calls; the kit tests what is claimed.

    conditional_put: `if_absent` is atomic everywhere: of any number of writers exactly one wins.
    list_lag_s_max: how long a put may be missing from `list`, in seconds; 0 is strong.
    object_size_bytes_max: the largest object, None when there is no limit worth naming.
    range_get: reading a range costs about that range, not the whole object.
    object_lock: objects can be protected from deletion for a time.
    """

    conditional_put: bool = False
    list_lag_s_max: float = 0.0
    object_size_bytes_max: int | None = None
    range_get: bool = True
    object_lock: bool = False


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One stored object: its key, its size and the store's own time of its last change."""

    key: str
    size_bytes: int
    modified: datetime | None = None


class Driver(Closing, ABC):
    """A store of immutable objects. Every call may come from several threads at once."""

    capabilities: Capabilities

    @abstractmethod
    def put(
        self,
        key: str,
        parts: Sequence[Buffer],
        *,
        if_absent: bool = False,
        role: Role = Role.DATA,
    ) -> None:
        """Store the joined parts under a key: whole or not at all, durable on return.

        Without `if_absent` an object of this name is replaced, atomically. With it, an existing
        one is left as it is; a store without `conditional_put` does what it can.
        Raises: ObjectExists (if_absent only), StoreFull, AccessDenied, Unavailable.
        """

    @abstractmethod
    def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        """Return bytes of an object from an offset, to its end when no length is given.

        A range that reaches past the end returns less; an offset past the end (offset > size)
        is an error. Raises: ObjectMissing, ValueError (offset), AccessDenied, Unavailable.
        """

    def get_into(self, key: str, offset: int, buffer: Buffer) -> int:
        """Fill a writable buffer with bytes of an object; return how many there were.

        Raises as `get`. Override it where the SDK can read into memory it is given.
        """
        view = memoryview(buffer).cast("B")
        data = self.get(key, offset, len(view))
        view[: len(data)] = data
        return len(data)

    def stat(self, key: str) -> ObjectInfo:
        """Return what is known of an object. Raises: ObjectMissing, AccessDenied, Unavailable.

        Override it where the store can tell without reading the whole object.
        """
        return ObjectInfo(key, len(self.get(key)))

    @abstractmethod
    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield every object whose key starts with a string, in any order.

        The prefix need not end at a slash. A failure is an exception, never a short list.
        Raises: AccessDenied, Unavailable.
        """

    @abstractmethod
    def delete(self, keys: Iterable[str]) -> None:
        """Remove objects; one that does not exist is fine. Raises: AccessDenied, Unavailable."""

    def close(self) -> None:
        """Release connections; the driver is not used afterwards."""


@hookspec(firstresult=True)
def backupcore_open_driver(url: Url, options: Mapping[str, str]) -> Driver | None:
    """Return the driver for a URL of the scheme this plugin is named after.

    options: the URL's query. Credentials come from the SDK's own chain, never from the URL.
    The first plugin that returns a driver wins; there is one plugin a scheme.
    """
    raise AssertionError("a hook specification is never called")


def is_key(text: str) -> bool:
    """Return whether every driver can hold an object of this name."""
    return len(text) <= KEY_LENGTH_MAX and _KEY.fullmatch(text) is not None


def check_key(key: str) -> str:
    """Return the key; raises InvalidKey unless every driver can hold it."""
    if not is_key(key):
        raise InvalidKey(
            f"object key {key[:80]!r} is refused: keys are slash-separated parts of a-z 0-9 . _ -, "
            f"each starting with a letter or digit and at most {PART_LENGTH_MAX} characters long, "
            f"at most {KEY_LENGTH_MAX} together"
        )
    return key


def check_prefix(prefix: str) -> str:
    """Return the prefix; raises InvalidKey unless some key can start with it."""
    if len(prefix) > KEY_LENGTH_MAX or not _PREFIX.fullmatch(prefix):
        raise InvalidKey(f"prefix {prefix[:80]!r} is refused: no key can start with it")
    return prefix


def parts_size_bytes(parts: Sequence[Buffer]) -> int:
    """Return how many bytes the joined parts have."""
    return sum(memoryview(part).nbytes for part in parts)
