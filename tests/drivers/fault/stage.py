"""Where faults are played: a real store behind a proxy, a repository in it, a clock of its own.

Whoever waits for the store waits on that clock: no test sleeps, and what was waited is known.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from backupcore import (
    Backup,
    Grid,
    MemoryVolume,
    Repository,
    Runtime,
    Tuning,
    backup,
    create_repository,
    open_repository,
    restore,
)
from backupcore.driver.transfer import Watchdog
from tests.driver.fake_clock import FakeClock
from tests.servers.fault_proxy import FaultProxy, Rule
from tests.servers.swift_server import SwiftServer

__all__ = ["CHUNK", "CONTAINER", "URLS", "Stage", "be_hasty", "noise"]

CHUNK = 4096
GRID = Grid(CHUNK, 4 * CHUNK)
TUNING = replace(Tuning.inline(), slab_size_bytes=8 * CHUNK, pack_size_bytes=8 * CHUNK)
CONTAINER = "faults"
URLS = {
    "swift": "swift://{container}/{prefix}",
    "s3": "s3://{container}/{prefix}?endpoint_url={endpoint}&region=us-east-1&addressing_style=path",
}
HASTE = {
    "swift": "backupcore_swift.connection",
    "s3": "backupcore_s3.client",
}


class WaitingClock(FakeClock):
    """Moves when somebody sleeps, and a little with every look; may act at the first wait."""

    def __init__(self) -> None:
        super().__init__()
        self.at_first_wait: Callable[[], object] | None = None

    def monotonic(self) -> float:
        self.time_s += 1e-6
        return self.time_s

    def sleep(self, wait_s: float) -> None:
        act, self.at_first_wait = self.at_first_wait, None
        if act is not None:
            act()
        super().sleep(wait_s)


class Stage:
    """One kind of store, its server, the proxy before it and a repository in it."""

    def __init__(
        self,
        scheme: str,
        server: SwiftServer,
        proxy: FaultProxy,
        *,
        container: str = CONTAINER,
        prefix: str = "store",
    ) -> None:
        self.scheme = scheme
        self.server = server
        self.proxy = proxy
        self.clock = WaitingClock()
        self.runtime = Runtime(clock=self.clock)
        self.folder = f"{scheme}-{prefix}"
        self.url = self.url_of(container, self.folder)
        self._steady = create_repository(
            self.url, grid=GRID, create_container=True, runtime=self.runtime
        )

    def url_of(self, container: str, folder: str) -> str:
        """Return the URL of a folder in a container, by way of the proxy."""
        return URLS[self.scheme].format(container=container, prefix=folder, endpoint=self.proxy.url)

    @contextmanager
    def spoiled(self, *rules: Rule) -> Iterator[None]:
        """Put rules in force for a while; waits are counted from here on."""
        self.clock.sleeps.clear()
        self.proxy.rules = rules
        try:
            yield
        finally:
            self.proxy.rules = []
            self.clock.at_first_wait = None

    def open(self) -> Repository:
        """Open the repository anew, with connections of its own."""
        return open_repository(self.url, runtime=self.runtime)

    def back_up(self, volume: MemoryVolume, *, tuning: Tuning = TUNING) -> Backup:
        """Back up, incrementally where that is possible."""
        with self._opened() as repository:
            return backup(volume, repository, base="latest", tuning=tuning)

    def restored(self, backup_id: str, size_bytes: int) -> bytes:
        """Return the bytes of a backup, restored over noise."""
        target = MemoryVolume(bytearray(b"\xa5" * size_bytes))
        with self._opened() as repository:
            restore(repository, backup_id, target, tuning=TUNING)
        return bytes(target.content)

    def listed(self, volume: MemoryVolume) -> list[str]:
        """Return the ids of a volume's backups, oldest first."""
        with self._opened() as repository:
            return [done.id for done in repository.backups(volume.identity)]

    def close(self) -> None:
        """Close what stayed open."""
        self._steady.close()

    @contextmanager
    def _opened(self) -> Iterator[Repository]:
        """Give a repository opened anew where faults are played, else always the same."""
        if not self.proxy.rules:
            yield self._steady
            return
        with self.open() as repository:
            yield repository


def be_hasty(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have drivers that are opened from now on wait for a second where they wait for minutes."""
    for constant in ("CONNECT_S_MAX", "READ_S_MAX"):
        monkeypatch.setattr(f"{HASTE[stage.scheme]}.{constant}", 1.0)
    kept = Watchdog.__init__.__kwdefaults__
    assert kept is not None
    monkeypatch.setitem(kept, "window_s", 0.3)


def noise(seed: object, length: int) -> bytes:
    """Return bytes that do not compress and that no other seed gives."""
    return random.Random(str(seed)).randbytes(length)
