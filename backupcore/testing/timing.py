"""How long the calls of a driver took: a layer that measures, and what it measured.

Measured under the load of the promises, some of which call from many threads at once: good to
compare stores from one machine, no measure of what a store can do.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median

from backupcore.driver import Buffer, Driver, ObjectInfo, Role, parts_size_bytes
from backupcore.driver.relay import Layer
from backupcore.runtime import Clock, SystemClock
from backupcore.units import KIB, MIB

__all__ = ["CallTiming", "Timed", "Timings"]

OPERATIONS = ("put", "get", "stat", "list", "delete")
SMALL_BYTES_MAX = 64 * KIB  # what moves no more is all latency
LARGE_BYTES_MIN = MIB  # what moves so much is mostly transfer


@dataclass(frozen=True, slots=True)
class CallTiming:
    """What was measured of the calls of an operation that ended well.

    latency_median_s, latency_max_s: of calls that moved up to 64 KiB or deleted one object; of a
    listing until its first object. rate_bytes_s: of one call at a time, those that moved 1 MiB or
    more. None where there was no such call.
    """

    operation: str
    call_count: int
    size_bytes: int
    latency_median_s: float | None
    latency_max_s: float | None
    rate_bytes_s: float | None


@dataclass(frozen=True, slots=True)
class _Call:
    """One call: how long it took, what it moved, and whether its time is latency."""

    duration_s: float
    size_bytes: int
    is_small: bool


class Timings:
    """Collects the calls of any number of drivers and threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: dict[str, list[_Call]] = defaultdict(list)

    def add(self, operation: str, duration_s: float, size_bytes: int, *, is_small: bool) -> None:
        """Note one call."""
        with self._lock:
            self._calls[operation].append(_Call(duration_s, size_bytes, is_small))

    def report(self) -> list[CallTiming]:
        """Return what was measured until now, an entry an operation that was called."""
        with self._lock:
            found = {name: list(calls) for name, calls in self._calls.items()}
        return [_timing(name, found[name]) for name in OPERATIONS if name in found]


def _timing(operation: str, calls: Sequence[_Call]) -> CallTiming:
    small_s = [call.duration_s for call in calls if call.is_small]
    large = [call for call in calls if call.size_bytes >= LARGE_BYTES_MIN]
    large_s = sum(call.duration_s for call in large)
    return CallTiming(
        operation=operation,
        call_count=len(calls),
        size_bytes=sum(call.size_bytes for call in calls),
        latency_median_s=median(small_s) if small_s else None,
        latency_max_s=max(small_s, default=None),
        rate_bytes_s=sum(call.size_bytes for call in large) / large_s if large_s else None,
    )


class _Watch:
    """What a call tells of itself while its time is taken."""

    def __init__(self) -> None:
        self.size_bytes = 0
        self.is_small = True


class Timed(Layer):
    """Takes the time of each call; `get_into` counts as `get`."""

    def __init__(self, below: Driver, timings: Timings, *, clock: Clock | None = None) -> None:
        super().__init__(below)
        self._timings = timings
        self._clock = clock or SystemClock()

    def put(
        self,
        key: str,
        parts: Sequence[Buffer],
        *,
        if_absent: bool = False,
        role: Role = Role.DATA,
    ) -> None:
        """Put and take the time."""
        with self._timing("put") as watch:
            self.below.put(key, parts, if_absent=if_absent, role=role)
            watch.size_bytes = parts_size_bytes(parts)

    def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        """Get and take the time."""
        with self._timing("get") as watch:
            data = self.below.get(key, offset, length)
            watch.size_bytes = len(data)
        return data

    def get_into(self, key: str, offset: int, buffer: Buffer) -> int:
        """Get and take the time."""
        with self._timing("get") as watch:
            watch.size_bytes = self.below.get_into(key, offset, buffer)
        return watch.size_bytes

    def stat(self, key: str) -> ObjectInfo:
        """Ask and take the time."""
        with self._timing("stat"):
            return self.below.stat(key)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """List and take the time until there is an object, or none."""
        infos = iter(self.below.list(prefix))
        with self._timing("list"):
            first = next(infos, None)
        if first is not None:
            yield first
            yield from infos

    def delete(self, keys: Iterable[str]) -> None:
        """Delete and take the time."""
        chosen = tuple(keys)
        with self._timing("delete") as watch:
            self.below.delete(chosen)
            watch.is_small = len(chosen) == 1

    @contextmanager
    def _timing(self, operation: str) -> Iterator[_Watch]:
        watch = _Watch()
        started_s = self._clock.monotonic()
        yield watch
        duration_s = self._clock.monotonic() - started_s
        is_small = watch.is_small and watch.size_bytes <= SMALL_BYTES_MAX
        self._timings.add(operation, duration_s, watch.size_bytes, is_small=is_small)
