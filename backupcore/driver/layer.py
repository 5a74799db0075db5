"""Layers: drivers around a driver, with the same contract, each adding one thing.

Checked     no refused key passes          ReadOnly    no change passes
Counted     calls and bytes, for reports   Throttled   bytes a second, up and down
Retrying    repeats what was unavailable

Layers hand payloads on as they are; none copies or joins them. `Throttled` around `Retrying`
charges an object once, `Retrying` around `Throttled` charges every attempt.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import NoReturn

from backupcore import errors
from backupcore.driver import (
    Buffer,
    Driver,
    ObjectInfo,
    Role,
    check_key,
    check_prefix,
    is_key,
    parts_size_bytes,
)
from backupcore.driver.pace import Retrying, RetryPolicy, Throttled
from backupcore.driver.relay import Layer

__all__ = [
    "Checked",
    "Counted",
    "Layer",
    "OperationCount",
    "ReadOnly",
    "RetryPolicy",
    "Retrying",
    "Throttled",
]


class Checked(Layer):
    """Lets no key pass that `check_key` refuses, and lists none: it is not ours."""

    def put(
        self,
        key: str,
        parts: Sequence[Buffer],
        *,
        if_absent: bool = False,
        role: Role = Role.DATA,
    ) -> None:
        """Put a checked key."""
        self.below.put(check_key(key), parts, if_absent=if_absent, role=role)

    def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        """Get a checked key."""
        return self.below.get(check_key(key), offset, length)

    def get_into(self, key: str, offset: int, buffer: Buffer) -> int:
        """Get a checked key into the caller's buffer."""
        return self.below.get_into(check_key(key), offset, buffer)

    def stat(self, key: str) -> ObjectInfo:
        """Ask for a checked key."""
        return self.below.stat(check_key(key))

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """List what has the name of an object."""
        return (info for info in self.below.list(check_prefix(prefix)) if is_key(info.key))

    def delete(self, keys: Iterable[str]) -> None:
        """Delete checked keys; none is deleted when one is refused."""
        self.below.delete([check_key(key) for key in keys])


class ReadOnly(Layer):
    """Refuses every change."""

    def put(
        self,
        key: str,
        parts: Sequence[Buffer],
        *,
        if_absent: bool = False,
        role: Role = Role.DATA,
    ) -> NoReturn:
        """Refuse. Raises: ReadOnly."""
        raise errors.ReadOnly(f"{key}: not stored: the store is opened for reading only")

    def delete(self, keys: Iterable[str]) -> NoReturn:
        """Refuse. Raises: ReadOnly."""
        raise errors.ReadOnly("nothing deleted: the store is opened for reading only")


@dataclass(frozen=True, slots=True)
class OperationCount:
    """How often an operation was called, how often it raised, and the payload it moved."""

    call_count: int = 0
    error_count: int = 0
    size_bytes: int = 0


class Counted(Layer):
    """Counts calls, errors and payload bytes of each operation."""

    def __init__(self, below: Driver) -> None:
        super().__init__(below)
        self._lock = threading.Lock()
        self._counts: dict[str, OperationCount] = {}

    def report(self) -> Mapping[str, OperationCount]:
        """Return what was counted until now, by operation; `get_into` counts as `get`."""
        with self._lock:
            return dict(self._counts)

    def put(
        self,
        key: str,
        parts: Sequence[Buffer],
        *,
        if_absent: bool = False,
        role: Role = Role.DATA,
    ) -> None:
        """Put and count."""
        with self._counting("put"):
            self.below.put(key, parts, if_absent=if_absent, role=role)
        self._add("put", size_bytes=parts_size_bytes(parts))

    def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        """Get and count."""
        with self._counting("get"):
            data = self.below.get(key, offset, length)
        self._add("get", size_bytes=len(data))
        return data

    def get_into(self, key: str, offset: int, buffer: Buffer) -> int:
        """Get and count."""
        with self._counting("get"):
            length = self.below.get_into(key, offset, buffer)
        self._add("get", size_bytes=length)
        return length

    def stat(self, key: str) -> ObjectInfo:
        """Ask and count."""
        with self._counting("stat"):
            return self.below.stat(key)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """List and count one call."""
        with self._counting("list"):
            yield from self.below.list(prefix)

    def delete(self, keys: Iterable[str]) -> None:
        """Delete and count one call."""
        with self._counting("delete"):
            self.below.delete(keys)

    @contextmanager
    def _counting(self, operation: str) -> Iterator[None]:
        self._add(operation, call_count=1)
        try:
            yield
        except Exception:
            self._add(operation, error_count=1)
            raise

    def _add(
        self, operation: str, *, call_count: int = 0, error_count: int = 0, size_bytes: int = 0
    ) -> None:
        with self._lock:
            count = self._counts.get(operation, OperationCount())
            self._counts[operation] = replace(
                count,
                call_count=count.call_count + call_count,
                error_count=count.error_count + error_count,
                size_bytes=count.size_bytes + size_bytes,
            )
