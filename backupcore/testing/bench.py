"""What a promise of a driver is, and the bench it is tried on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from backupcore.driver import Buffer, Driver
from backupcore.testing.promise import Broken, Promise, make_promise
from backupcore.units import MIB

__all__ = [
    "Bench",
    "conditional_put",
    "pattern",
    "promise",
    "raising",
    "range_get",
    "same",
    "size_max",
    "strong_list",
    "strong_list_of_two",
    "two_connections",
]

TRIED_SIZE_BYTES_MAX = 64 * MIB


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


def promise(
    *needs: Callable[[Bench], str],
) -> Callable[[Callable[[Bench], None]], Promise[Bench]]:
    """Make a promise of a function; `needs` say what has to be claimed for it."""
    return lambda check: make_promise(check, *needs)


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
