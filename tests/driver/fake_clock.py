from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

from backupcore.runtime import Clock


class FakeClock(Clock):
    """A clock that only moves when somebody sleeps; keeps what was slept."""

    def __init__(self) -> None:
        self.time_s = 1_000.0
        self.sleeps: list[float] = []
        self._lock = threading.Lock()

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.time_s)

    def monotonic(self) -> float:
        return self.time_s

    def sleep(self, wait_s: float) -> None:
        with self._lock:
            self.time_s += wait_s
            self.sleeps.append(wait_s)
