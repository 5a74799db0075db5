"""What can be tuned, with defaults that suit most machines."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Literal, TypeAlias

from backupcore.errors import Refused
from backupcore.units import MIB

__all__ = ["AUTO", "Dedup", "Level", "SelfCheck", "Tuning"]

Level: TypeAlias = int | Literal["auto"]
AUTO: Final = "auto"  # the zstd level by which stage of the pipeline waits

THREAD_COUNT_MAX = 256


class Dedup(StrEnum):
    """Where a chunk that is to be stored is looked for first."""

    BASE = "base"  # in the same place of the base, and a little earlier in the volume
    DOMAIN = "domain"  # in every backup of the domain as well


class SelfCheck(StrEnum):
    """Which frames are decoded and compared with their source before they are stored."""

    ALL = "all"
    SAMPLE = "sample"  # one in sixteen
    NONE = "none"


def _cpu_count() -> int:
    return max(1, len(os.sched_getaffinity(0)))


@dataclass(frozen=True, slots=True)
class Tuning:
    """How many threads and how much memory one operation uses.

    workers: threads that hash, compress and decode; with 0 everything runs in the caller, in a
    fixed order. readers: threads that only read and hash the volume, for one that is slow to
    answer; with 0 the workers do. uploaders: packs on their way at once.
    fetchers: threads of a restore or verification that get, decode and write.
    memory_bytes: of slabs and packs together, whatever the volume's size.
    """

    workers: int = field(default_factory=_cpu_count)
    readers: int = 0
    uploaders: int = 4
    fetchers: int = 4
    memory_bytes: int = 192 * MIB
    slab_size_bytes: int = 8 * MIB
    pack_size_bytes: int = 32 * MIB
    self_check: SelfCheck = SelfCheck.ALL

    def __post_init__(self) -> None:
        """Check the limits. Raises: Refused."""
        for name in ("workers", "readers", "uploaders", "fetchers"):
            if not 0 <= getattr(self, name) <= THREAD_COUNT_MAX:
                raise Refused(f"{name}: {getattr(self, name)} threads: 0 to {THREAD_COUNT_MAX}")
        for name, most in (("slab_size_bytes", 256 * MIB), ("pack_size_bytes", 32 * MIB)):
            if not 1 <= getattr(self, name) <= most:
                raise Refused(f"{name}: {getattr(self, name)} bytes: 1 to {most}")
        if self.memory_bytes < 0:
            raise Refused(f"memory_bytes: {self.memory_bytes} bytes: not less than 0")

    @classmethod
    def inline(cls) -> Tuning:
        """Return a tuning that starts no thread."""
        return cls(workers=0, uploaders=0, fetchers=0)
