"""The driver `memory:`: objects in a dict, for tests, examples and simulations.

`memory:name` opens the objects of that name within this process, `memory:` a store of its own.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from backupcore.driver import (
    Buffer,
    Capabilities,
    Driver,
    ObjectInfo,
    Role,
    Url,
    check_key,
    check_prefix,
    hookimpl,
)
from backupcore.errors import ObjectExists, ObjectMissing
from backupcore.runtime import Clock, SystemClock

__all__ = ["MemoryDriver", "MemoryStore", "backupcore_open_driver"]


@dataclass(slots=True)
class MemoryStore:
    """What drivers on the same memory share: objects with the time of their put, and a lock."""

    objects: dict[str, tuple[bytes, datetime]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)


class MemoryDriver(Driver):
    """Objects of a `MemoryStore`; two drivers on one store see the same."""

    def __init__(
        self,
        store: MemoryStore | None = None,
        *,
        clock: Clock | None = None,
        capabilities: Capabilities | None = None,
    ) -> None:
        self.store = store or MemoryStore()
        self.capabilities = capabilities or Capabilities(conditional_put=True)
        self._clock = clock or SystemClock()

    def put(
        self,
        key: str,
        parts: Sequence[Buffer],
        *,
        if_absent: bool = False,
        role: Role = Role.DATA,
    ) -> None:
        """Keep a copy of the joined parts."""
        stored = (b"".join(parts), self._clock.now())
        with self.store.lock:
            if if_absent and key in self.store.objects:
                raise ObjectExists(f"{key}: exists")
            self.store.objects[check_key(key)] = stored

    def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        """Return bytes of an object."""
        return bytes(self._view(key, offset, length))

    def get_into(self, key: str, offset: int, buffer: Buffer) -> int:
        """Copy bytes of an object into the buffer, once."""
        target = memoryview(buffer).cast("B")
        source = self._view(key, offset, len(target))
        target[: len(source)] = source
        return len(source)

    def stat(self, key: str) -> ObjectInfo:
        """Return size and time of the put."""
        content, modified = self._find(key)
        return ObjectInfo(key, len(content), modified)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield the objects that exist now, sorted by key."""
        check_prefix(prefix)
        with self.store.lock:
            found = [
                ObjectInfo(key, len(content), modified)
                for key, (content, modified) in self.store.objects.items()
                if key.startswith(prefix)
            ]
        yield from sorted(found, key=lambda info: info.key)

    def delete(self, keys: Iterable[str]) -> None:
        """Forget objects."""
        for key in keys:
            with self.store.lock:
                self.store.objects.pop(check_key(key), None)

    def _find(self, key: str) -> tuple[bytes, datetime]:
        with self.store.lock:
            stored = self.store.objects.get(check_key(key))
        if stored is None:
            raise ObjectMissing(f"{key}: no such object in memory")
        return stored

    def _view(self, key: str, offset: int, length: int | None) -> memoryview:
        content, _ = self._find(key)
        if not 0 <= offset <= len(content):
            raise ValueError(f"{key}: offset {offset} is past the end, size {len(content)}")
        end = len(content) if length is None else offset + length
        return memoryview(content)[offset:end]


_shared: dict[str, MemoryStore] = {}
_shared_lock = threading.Lock()


@hookimpl
def backupcore_open_driver(url: Url, options: Mapping[str, str]) -> Driver:
    """Open the named memory of this process, or one of its own without a name."""
    url.take_options()
    name = url.host + url.path
    if not name:
        return MemoryDriver()
    with _shared_lock:
        return MemoryDriver(_shared.setdefault(name, MemoryStore()))
