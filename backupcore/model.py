"""The vocabulary: identities, the grid, and the values that cross floors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NewType, TypeAlias

import numpy as np
import numpy.typing as npt

from backupcore.errors import Refused
from backupcore.units import KIB, MIB

__all__ = [
    "FRAME_SIZE_BYTES_MAX",
    "SIZE_BYTES_MAX",
    "Backup",
    "BackupId",
    "Buffer",
    "ByteArray",
    "Grid",
    "Hint",
    "Ids",
    "PackId",
    "Progress",
    "ProgressCallback",
    "Sums",
]

Buffer: TypeAlias = bytes | bytearray | memoryview
ByteArray: TypeAlias = npt.NDArray[np.uint8]
Ids: TypeAlias = npt.NDArray[np.uint8]  # uint8[n, 32], one chunk id a row

BackupId = NewType("BackupId", str)
PackId = NewType("PackId", str)

FRAME_SIZE_BYTES_MAX = 4 * MIB
SIZE_BYTES_MAX = 1 << 62  # offsets and sums of them stay inside int64


@dataclass(frozen=True, slots=True)
class Grid:
    """How a volume is cut: chunks are identified, frames are compressed."""

    chunk_size_bytes: int = 32 * KIB
    frame_size_bytes: int = MIB

    def __post_init__(self) -> None:
        """Check the limits of the format. Raises: Refused."""
        chunk, frame = self.chunk_size_bytes, self.frame_size_bytes
        if not 4 * KIB <= chunk <= MIB or chunk & (chunk - 1):
            raise Refused(f"chunk size {chunk}: must be a power of two from 4 KiB to 1 MiB")
        if not chunk <= frame <= FRAME_SIZE_BYTES_MAX or frame % chunk or frame // chunk > 256:
            raise Refused(
                f"frame size {frame}: must be a multiple of the chunk size {chunk}, "
                "at most 4 MiB and 256 chunks"
            )

    def cell_count(self, size_bytes: int) -> int:
        """Return how many cells a volume of that size has."""
        return -(-size_bytes // self.chunk_size_bytes)


class Hint(StrEnum):
    """What became of a list of changed extents."""

    USED = "used"
    # a sample of what it left out had changed, or the base's map is damaged: everything was read
    REFUTED = "refuted"


@dataclass(frozen=True, slots=True)
class Sums:
    """What one backup cost. Bytes are plain unless they are called stored.

    read_bytes: taken from the volume. zero_bytes: of the volume that are zeros or holes.
    new_bytes, chunk_count: plain bytes and number of chunks stored anew. stored_bytes: of all
    objects put, maps included. object_count: data packs put.
    """

    read_bytes: int = 0
    zero_bytes: int = 0
    new_bytes: int = 0
    stored_bytes: int = 0
    chunk_count: int = 0
    object_count: int = 0
    duration_ms: int = 0

    @property
    def duration_s(self) -> float:
        """How long it took, in seconds."""
        return self.duration_ms / 1000


@dataclass(frozen=True, slots=True)
class Backup:
    """One committed backup, as its manifest tells it."""

    id: BackupId
    volume_id: str
    size_bytes: int
    sector_size_bytes: int
    name: str
    description: str
    labels: Mapping[str, str]
    started_at: datetime
    committed_at: datetime
    base_id: BackupId | None
    generation: str | None
    domain_id: str
    grid: Grid
    sums: Sums
    data_bytes: int  # plain bytes of the cells that are not zero
    live_bytes: int  # stored bytes those cells refer to
    hint: Hint | None = None  # None when no list of changed extents was given

    @property
    def is_incremental(self) -> bool:
        """Whether unchanged chunks were taken from a base; the backup is whole all the same."""
        return self.base_id is not None

    @property
    def new_bytes(self) -> int:
        """Plain bytes stored anew by this backup."""
        return self.sums.new_bytes


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an operation is; every count only grows.

    done_bytes of total_bytes: of the volume, holes included. read_bytes: taken from the edge it
    reads. new_bytes: plain bytes stored or written anew. stored_bytes: put to or got from the
    store.
    """

    done_bytes: int
    total_bytes: int
    read_bytes: int = 0
    new_bytes: int = 0
    stored_bytes: int = 0
    phase: str = ""


ProgressCallback: TypeAlias = Callable[[Progress], None]
