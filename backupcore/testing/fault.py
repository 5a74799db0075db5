"""A driver that fails where a test wants it to.

    faulty = FaultyDriver(MemoryDriver(), Rule("put", Action.FAIL_AFTER, key="data/*", nth=3))

fails the third put of a data pack after it was done: its reply is lost. A test that shall hold
wherever the failure hits runs once without rules, reads `faulty.call_count` and then runs once
for every n with `Rule("*", action, nth=n)`.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from itertools import islice

from backupcore.driver import Buffer, Driver, ObjectInfo, Role, parts_size_bytes
from backupcore.driver.layer import Layer
from backupcore.errors import ObjectMissing, StoreError, StoreFull, Unavailable

__all__ = ["Action", "FaultyDriver", "Rule"]


class Action(StrEnum):
    """What happens to a call that a rule hits."""

    FAIL_BEFORE = "fail before"  # nothing is done; Unavailable
    FAIL_AFTER = "fail after"  # all is done, the reply is lost; Unavailable
    SHORT = (
        "short"  # put: nothing, StoreError; get: half, no error; list, delete: half, Unavailable
    )
    CORRUPT = "corrupt"  # get: the byte in the middle has one bit flipped
    FULL = "full"  # put: StoreFull
    VANISH = "vanish"  # get, stat: ObjectMissing
    CALL = "call"  # only the rule's callback


@dataclass(frozen=True, slots=True)
class Rule:
    """Which calls are hit, and by what.

    operation: put, get (get_into too), stat, list, delete, or * for any. key: a glob; of a
    deletion any key may match, of a listing its prefix. nth: the how manyth matching call, from
    1 on; 0 is every one. callback: called first, in the caller's thread, to wait or to exit.
    """

    operation: str
    action: Action
    key: str = "*"
    nth: int = 1
    callback: Callable[[], object] | None = None


class FaultyDriver(Layer):
    """Hands every call on, but for those its rules hit; counts all of them.

    full_after_bytes: from which sum of stored bytes on puts raise StoreFull; deletes still work.
    """

    def __init__(self, below: Driver, *rules: Rule, full_after_bytes: int | None = None) -> None:
        super().__init__(below)
        self.rules = list(rules)
        self.full_after_bytes = full_after_bytes
        self.counts: Counter[str] = Counter()
        self._stored_bytes = 0
        self._hits: Counter[int] = Counter()
        self._lock = threading.Lock()

    @property
    def call_count(self) -> int:
        """How many calls there were until now."""
        with self._lock:
            return self.counts.total()

    def put(
        self,
        key: str,
        parts: Sequence[Buffer],
        *,
        if_absent: bool = False,
        role: Role = Role.DATA,
    ) -> None:
        """Put, unless a rule hits or the store is full."""
        action = self._begin("put", [key])
        if action is Action.SHORT:
            raise StoreError(f"{key}: only a part was stored, the store dropped it")
        if action is Action.FULL or not self._has_room(parts_size_bytes(parts)):
            raise StoreFull(f"{key}: the store is full")
        self.below.put(key, parts, if_absent=if_absent, role=role)
        _end(action, key)

    def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        """Get, unless a rule hits."""
        action = self._begin("get", [key])
        data = bytearray(self.below.get(key, offset, length))
        _spoil(action, data, len(data))
        _end(action, key)
        return bytes(data[: len(data) // 2] if action is Action.SHORT else data)

    def get_into(self, key: str, offset: int, buffer: Buffer) -> int:
        """Get, unless a rule hits."""
        action = self._begin("get", [key])
        length = self.below.get_into(key, offset, buffer)
        _spoil(action, memoryview(buffer).cast("B"), length)
        _end(action, key)
        return length // 2 if action is Action.SHORT else length

    def stat(self, key: str) -> ObjectInfo:
        """Ask, unless a rule hits."""
        action = self._begin("stat", [key])
        info = self.below.stat(key)
        _end(action, key)
        return info

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """List, unless a rule hits; a failure comes when the listing is read."""
        action = self._begin("list", [prefix])
        infos = list(self.below.list(prefix))
        yield from islice(infos, _share(action, len(infos)))
        _end(action, prefix, is_halved=True)

    def delete(self, keys: Iterable[str]) -> None:
        """Delete, unless a rule hits."""
        chosen = list(keys)
        action = self._begin("delete", chosen)
        self.below.delete(chosen[: _share(action, len(chosen))])
        _end(action, "delete", is_halved=True)

    def _begin(self, operation: str, keys: Sequence[str]) -> Action | None:
        """Count the call, run callbacks, fail when it shall fail before; return the action."""
        with self._lock:
            self.counts[operation] += 1
            rule = self._hit(operation, keys)
        if rule is None:
            return None
        if rule.callback is not None:
            rule.callback()
        if rule.action is Action.FAIL_BEFORE:
            raise Unavailable(f"{operation}: failed before it was done, as the test wants it")
        if rule.action is Action.VANISH:
            raise ObjectMissing(f"{operation}: vanished, as the test wants it")
        return rule.action

    def _hit(self, operation: str, keys: Sequence[str]) -> Rule | None:
        """Return the first rule that hits; every rule counts the calls that match it."""
        found: list[Rule] = []
        for index, rule in enumerate(self.rules):
            is_meant = rule.operation in ("*", operation)
            if not is_meant or not any(fnmatchcase(key, rule.key) for key in keys):
                continue
            self._hits[index] += 1
            if rule.nth in (0, self._hits[index]):
                found.append(rule)
        return found[0] if found else None

    def _has_room(self, size_bytes: int) -> bool:
        with self._lock:
            total = self._stored_bytes + size_bytes
            if self.full_after_bytes is not None and total > self.full_after_bytes:
                return False
            self._stored_bytes = total
            return True


def _share(action: Action | None, count: int) -> int:
    return count // 2 if action is Action.SHORT else count


def _spoil(action: Action | None, data: bytearray | memoryview, length: int) -> None:
    if action is Action.CORRUPT and length:
        data[length // 2] ^= 0x10


def _end(action: Action | None, name: str, *, is_halved: bool = False) -> None:
    if is_halved and action is Action.SHORT:
        raise Unavailable(f"{name}: broke in the middle, as the test wants it")
    if action is Action.FAIL_AFTER:
        raise Unavailable(f"{name}: the reply was lost, as the test wants it")
