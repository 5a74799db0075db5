"""What a promise of a driver is, and the bench it is tried on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import ModuleType

from backupcore.driver import Buffer, Driver
from backupcore.units import MIB

__all__ = [
    "Bench",
    "Broken",
    "Promise",
    "conditional_put",
    "pattern",
    "promise",
    "promises_of",
    "raising",
    "range_get",
    "same",
    "size_max",
    "strong_list",
    "strong_list_of_two",
    "two_connections",
]

TRIED_SIZE_BYTES_MAX = 64 * MIB


class Broken(AssertionError):
    """A promise was not kept; the message says what was seen."""


@dataclass(slots=True)
class Bench:
    """Where a promise is tried: two connections (perhaps the same), and a prefix of its own."""

    driver: Driver
    second: Driver
    prefix: str
    list_count: int
    keys: list[str] = field(default_factory=list)

    def key(self, name: str) -> str:
        """Return the key of this name below the prefix, to be removed in the end."""
        self.keys.append(self.prefix + name)
        return self.keys[-1]

    def put(self, name: str, content: Buffer) -> str:
        """Store an object and return its key."""
        key = self.key(name)
        self.driver.put(key, [content])
        return key

    def listed(self, prefix: str = "") -> list[str]:
        """Return the names below the prefix, sorted."""
        infos = self.driver.list(self.prefix + prefix)
        return sorted(info.key.removeprefix(self.prefix) for info in infos)

    def remove_all(self) -> None:
        """Remove what the promise stored, also what a slow listing does not show yet."""
        found = {info.key for info in self.second.list(self.prefix)}
        self.second.delete(sorted(found.union(self.keys)))


Check = Callable[[Bench], None]
Claim = Callable[[Bench], str]


@dataclass(frozen=True, slots=True)
class Promise:
    """One promise: its name, why it matters, and how to try it.

    unclaimed: returns what is not claimed, or nothing when the promise is to be tried.
    """

    name: str
    why: str
    check: Check = field(repr=False)
    unclaimed: Claim = field(repr=False)

    def prove(self, bench: Bench) -> None:
        """Try it and clean up. Raises: Broken, or what the driver raised."""
        try:
            self.check(bench)
        finally:
            bench.remove_all()


def promise(unclaimed: Claim = lambda bench: "") -> Callable[[Check], Promise]:
    """Make a promise of a function; `unclaimed` says when it is not to be tried."""

    def make(check: Check) -> Promise:
        why = " ".join((check.__doc__ or "").split())
        return Promise(check.__name__, why, check, unclaimed)

    return make


def promises_of(module: ModuleType) -> list[Promise]:
    """Return the promises of a module in the order they are written."""
    return [thing for thing in vars(module).values() if isinstance(thing, Promise)]


def conditional_put(bench: Bench) -> str:
    """Say that if-absent is not claimed to be atomic."""
    return "" if bench.driver.capabilities.conditional_put else "capability conditional_put"


def strong_list(bench: Bench) -> str:
    """Say that a listing may lag."""
    lag_s = bench.driver.capabilities.list_lag_s_max
    return f"capability list_lag_s_max is {lag_s} s, not 0" if lag_s else ""


def range_get(bench: Bench) -> str:
    """Say that ranges are not claimed to be cheap."""
    return "" if bench.driver.capabilities.range_get else "capability range_get"


def size_max(bench: Bench) -> str:
    """Say that there is no limit of size that can be tried."""
    size_bytes = bench.driver.capabilities.object_size_bytes_max
    is_tried = size_bytes is not None and size_bytes <= TRIED_SIZE_BYTES_MAX
    return "" if is_tried else "capability object_size_bytes_max, up to 64 MiB"


def two_connections(bench: Bench) -> str:
    """Say that there is only one connection."""
    return "second_driver, another connection" if bench.second is bench.driver else ""


def strong_list_of_two(bench: Bench) -> str:
    """Say that a listing may lag, or that there is only one connection."""
    return strong_list(bench) or two_connections(bench)


def pattern(size_bytes: int, seed: str = "") -> bytes:
    """Return bytes without repetition, the same for the same seed."""
    return hashlib.shake_128(seed.encode()).digest(size_bytes)


def same(seen: object, wanted: object, what: str) -> None:
    """Compare. Raises: Broken, saying what was compared."""
    if seen != wanted:
        raise Broken(f"{what}: {_short(seen)} instead of {_short(wanted)}")


def _short(value: object) -> str:
    if isinstance(value, bytes) and len(value) > 32:
        digest = hashlib.blake2b(value, digest_size=4).hexdigest()
        return f"{len(value)} bytes (blake2b {digest}…)"
    text = repr(value)
    return text if len(text) <= 300 else f"{text[:300]}…"


@contextmanager
def raising(kind: type[Exception], what: str) -> Iterator[None]:
    """Expect an error. Raises: Broken when there is none."""
    try:
        yield
    except kind:
        return
    raise Broken(f"{what} raised no {kind.__name__}")
