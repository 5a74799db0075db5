"""A world in which every run is the same: clock, chance, process and volumes of this folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from blake3 import blake3

from backupcore.runtime import Clock, Process, Runtime

CHUNK = 4096
PROCESS = Process("golden", "boot", 4711, "100", "machine/space")


class SteppingClock(Clock):
    """Goes on by one second whenever somebody looks at it."""

    def __init__(self) -> None:
        self._time_s = 0

    def now(self) -> datetime:
        self._time_s += 1
        return datetime(2026, 11, 23, 13, tzinfo=UTC) + timedelta(seconds=self._time_s)

    def monotonic(self) -> float:
        return float(self._time_s)

    def sleep(self, wait_s: float) -> None:
        self._time_s += round(wait_s)


@dataclass(slots=True)
class Chance:
    """Bytes that look random and are the same in every run."""

    seed: str
    count: int = field(default=0)

    def __call__(self, length: int) -> bytes:
        self.count += 1
        return blake3(f"{self.seed} {self.count}".encode()).digest(length)


def fixed_runtime(seed: str = "golden") -> Runtime:
    """Return a runtime without anything of this machine or moment in it."""
    return Runtime(clock=SteppingClock(), random_bytes=Chance(seed), process=PROCESS)


def nonzero_pieces(path: Path) -> dict[int, bytes]:
    """Return what a file holds, but for zeros, in pieces of a chunk by their offsets."""
    result = {}
    with path.open("rb") as file:
        for start, end in _data_extents(file.fileno()):
            for offset in range(start // CHUNK * CHUNK, end, CHUNK):
                piece = os.pread(file.fileno(), CHUNK, offset)
                if any(piece):
                    result[offset] = piece
    return result


def _data_extents(descriptor: int) -> Iterator[tuple[int, int]]:
    end, size = 0, os.fstat(descriptor).st_size
    while end < size:
        try:
            start = os.lseek(descriptor, end, os.SEEK_DATA)
        except OSError:
            return  # only a hole is left
        end = os.lseek(descriptor, start, os.SEEK_HOLE)
        yield start, end
