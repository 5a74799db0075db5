"""Volumes of any size made from a seed, for tests and benchmarks (scheme `synthetic`).

A volume is cut into equal slots with one data extent each, somewhere in its slot; the rest is
holes. Every 4 KiB block of data follows from the seed, its position and its extent's version: how
often the extent changed up to the asked generation. Runs of 64 KiB are random or compress to half.

    synthetic:?size=100TiB&seed=7&data=1GiB&extents=10000&generation=3&changed=0.01

Nothing is kept but 4 MiB of noise; a window costs what its extents cost.
Source: SplitMix64 (Steele, Lea and Flood, OOPSLA 2014) for all draws.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from backupcore.errors import ReadOnly, Refused
from backupcore.extents import Extents, clip_extents, empty_extents, melt_extents
from backupcore.model import Buffer
from backupcore.units import GIB, format_bytes, parse_bytes
from backupcore.volume import SIZE_BYTES_MAX, Access, Url, Volume, hookimpl

__all__ = ["SyntheticSpec", "SyntheticVolume", "backupcore_open_volume"]

BLOCK_SIZE_BYTES = 4096
_BATCH_BLOCK_COUNT = 32  # 128 KiB stays in a core's cache for all passes
_RUN_BLOCK_COUNT = 16
_NOISE_ROW_COUNT = 1024
_ONE = 1 << 32  # fixed point for shares, so that all machines agree
_GENERATION_MAX = (1 << 31) - 1

_U64: TypeAlias = npt.NDArray[np.uint64]

# One stream of draws for each question.
_LENGTH, _START, _PHASE, _BLOCK, _KIND = range(5)


@dataclass(frozen=True, slots=True)
class SyntheticSpec:
    """What a synthetic volume is made of.

    data_bytes: bytes in data extents, in whole blocks; the volume's size makes all of it data.
    extent_count: data extents, spread evenly; neighbours may touch.
    changed: share of the extents whose content changes from one generation to the next.
    """

    size_bytes: int
    seed: int = 0
    data_bytes: int = GIB
    extent_count: int = 1000
    generation: int = 0
    changed: float = 0.0

    def __post_init__(self) -> None:
        """Raise Refused naming the first value that makes no volume."""
        wrong = {
            "size": not 0 < self.size_bytes <= SIZE_BYTES_MAX,
            "seed": not 0 <= self.seed < 1 << 64,
            "data": self.data_bytes < 0,
            "extents": self.extent_count < 1,
            "generation": not 0 <= self.generation <= _GENERATION_MAX,
            "changed": not 0.0 <= self.changed <= 1.0,
        }
        for option, is_wrong in wrong.items():
            if is_wrong:
                raise Refused(f"synthetic: {option} is out of bounds: see docs/guide/volumes.md")


@hookimpl
def backupcore_open_volume(url: Url, options: Mapping[str, str], access: Access) -> Volume:
    """Return the volume that a URL's options describe; only `size` is needed."""
    url.take_options("size", "seed", "data", "extents", "generation", "changed")
    if access is not Access.READ:
        raise ReadOnly(f"{url}: synthetic volumes can only be read")
    if "size" not in options:
        raise Refused(f"{url}: has no size: write synthetic:?size=1TiB")
    try:
        size_bytes = parse_bytes(options["size"])
        data_bytes = parse_bytes(options["data"]) if "data" in options else GIB
        spec = SyntheticSpec(
            size_bytes=size_bytes,
            seed=int(options.get("seed", "0")),
            data_bytes=data_bytes,
            extent_count=int(options.get("extents", "1000")),
            generation=int(options.get("generation", "0")),
            changed=float(options.get("changed", "0")),
        )
    except ValueError as error:
        raise Refused(f"{url}: an option is no number: {error}") from error
    return SyntheticVolume(spec)


class SyntheticVolume(Volume):
    """A volume that computes its bytes."""

    def __init__(self, spec: SyntheticSpec) -> None:
        self.spec = spec
        self.size_bytes = spec.size_bytes
        self.name = f"synthetic volume of {format_bytes(spec.size_bytes)}, seed {spec.seed}"
        self.identity = (
            f"synthetic:{spec.size_bytes}:{spec.seed}:{spec.data_bytes}:{spec.extent_count}"
        )
        block_count = -(-spec.size_bytes // BLOCK_SIZE_BYTES)
        self._is_full = spec.data_bytes >= spec.size_bytes
        data_block_count = min(-(-spec.data_bytes // BLOCK_SIZE_BYTES), block_count)
        self._slot_count = min(spec.extent_count, data_block_count)
        self._slot_blocks = block_count // max(1, self._slot_count)
        self._mean_blocks = data_block_count // max(1, self._slot_count)
        self._share = round(spec.changed * _ONE)
        self._keys = _mix(np.arange(5, dtype=np.uint64) + _mix(np.array([spec.seed], np.uint64)))
        # random_raw is the one stream NumPy promises never to change.
        noise = np.random.PCG64(spec.seed).random_raw(_NOISE_ROW_COUNT * BLOCK_SIZE_BYTES // 8)
        self._noise: _U64 = noise.astype("<u8").reshape(_NOISE_ROW_COUNT, -1)

    def extents(self, offset: int, length: int) -> Extents:
        """Return the data extents of a window; costs what lies in the window."""
        self.check_read(offset, length)
        _, rows = self._slots_of(offset, length)
        return melt_extents(clip_extents(rows, offset, length))

    def changed_extents(self, since_generation: int, offset: int, length: int) -> Extents:
        """Return the extents of a window whose content differs from another generation's."""
        slots, rows = self._slots_of(offset, length)
        differs = self._versions(slots, since_generation) != self._versions(
            slots, self.spec.generation
        )
        return melt_extents(clip_extents(rows[differs], offset, length))

    def read_into(self, offset: int, buffer: Buffer) -> None:
        """Fill the whole buffer with the bytes from an offset on."""
        target = np.frombuffer(memoryview(buffer).cast("B"), np.uint8)
        rows = self.extents(offset, len(target)).tolist()
        if rows != [[offset, len(target)]]:
            target[:] = 0
        for start, length in rows:
            self._compute(start, target[start - offset : start - offset + length])

    def _compute(self, offset: int, target: npt.NDArray[np.uint8]) -> None:
        """Fill an array with bytes of one data extent."""
        end = offset + len(target)
        step = _BATCH_BLOCK_COUNT * BLOCK_SIZE_BYTES
        for batch in range(offset // step * step, end, step):
            first, last = max(offset, batch), min(end, batch + step)
            blocks = np.arange(
                first // BLOCK_SIZE_BYTES, -(-last // BLOCK_SIZE_BYTES), dtype=np.uint64
            )
            skip = first % BLOCK_SIZE_BYTES
            content = self._content(blocks).view(np.uint8).reshape(-1)
            target[first - offset : last - offset] = content[skip : skip + last - first]

    def _content(self, blocks: _U64) -> _U64:
        """Return uint64[n, 512]: the bytes of blocks given by their numbers."""
        slots = np.minimum(blocks // np.uint64(self._slot_blocks), np.uint64(self._slot_count - 1))
        key = _mix(self._draw(_BLOCK, blocks) + self._versions(slots, self.spec.generation))
        content: _U64 = np.take(self._noise, key % np.uint64(_NOISE_ROW_COUNT), axis=0)
        content ^= key.astype("<u8")[:, np.newaxis]
        is_random = self._draw(_KIND, blocks // np.uint64(_RUN_BLOCK_COUNT)) & np.uint64(1)
        content &= np.where(is_random, _ALL_BITS, _HALF_BITS)[:, np.newaxis]
        return content

    def _slots_of(self, offset: int, length: int) -> tuple[_U64, Extents]:
        """Return the slots that touch a window and the data extent of each."""
        if not self._slot_count or not length:
            return np.empty(0, np.uint64), empty_extents()
        slot_size_bytes = self._slot_blocks * BLOCK_SIZE_BYTES
        last_slot = self._slot_count - 1
        slots = np.arange(
            min(offset // slot_size_bytes, last_slot),
            min((offset + length - 1) // slot_size_bytes, last_slot) + 1,
            dtype=np.uint64,
        )
        lengths = self._lengths(slots)
        room = (self._slot_blocks - lengths).astype(np.uint64)
        starts = slots.astype(np.int64) * self._slot_blocks
        starts += (self._draw(_START, slots) % (room + np.uint64(1))).astype(np.int64)
        rows = np.stack((starts, lengths), axis=1) * BLOCK_SIZE_BYTES
        if self._is_full and slots[-1] == last_slot:
            rows[-1, 1] = self.size_bytes - rows[-1, 0]
        return slots, clip_extents(rows, 0, self.size_bytes)

    def _lengths(self, slots: _U64) -> npt.NDArray[np.int64]:
        """Return int64[n]: blocks of data in each slot; a pair of slots has twice the mean."""
        spread = min(self._mean_blocks - 1, self._slot_blocks - self._mean_blocks)
        pairs = self._draw(_LENGTH, slots // np.uint64(2)) % np.uint64(spread + 1)
        surplus = pairs.astype(np.int64) * np.where(slots % np.uint64(2), -1, 1)
        surplus[slots == self._slot_count - 1] *= self._slot_count % 2 == 0
        return self._mean_blocks + surplus

    def _versions(self, slots: _U64, generation: int) -> _U64:
        """Return uint64[n]: how often each slot changed up to a generation."""
        phase = self._draw(_PHASE, slots) >> np.uint64(32)
        return (phase + np.uint64(generation * self._share)) >> np.uint64(32)

    def _draw(self, stream: int, numbers: _U64) -> _U64:
        return _mix(numbers * _GOLDEN + self._keys[stream])


_ALL_BITS = np.uint64((1 << 64) - 1)
_HALF_BITS = np.uint64(0x0F0F0F0F0F0F0F0F)
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _mix(numbers: _U64) -> _U64:
    """Return the finaliser of SplitMix64 for each number."""
    mixed = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
