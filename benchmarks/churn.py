"""A day of churn: what the second backup stores, beside the least a bare loop could.

    python -m benchmarks.churn [--image PATH | --size 4GiB] [--share 0.025] [--json OUT]
        [--chunk-size 16KiB,32KiB,64KiB,128KiB] [--level=-1,1,2,3]

Day 1 is backed up in full; then a share of its 4 KiB blocks changes and day 2 is backed up. The
bare loop compresses the changed chunks of the same size in frames of 1 MiB and keeps no map.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

import numpy as np
import zstandard

from backupcore.chunk.digest import nonzero_chunks
from backupcore.extents import pack_extents
from backupcore.model import ByteArray
from backupcore.testing.image import churn
from backupcore.units import MIB, format_bytes, parse_bytes
from backupcore.volume.file import FileVolume
from benchmarks.image import copy_image, given_image, is_same, work_folder
from benchmarks.measure import (
    format_rate,
    median_run,
    new_parser,
    print_table,
    settle,
    write_json,
)
from benchmarks.path import Run, run

__all__ = ["Bare", "Day", "changed_chunks", "main"]

FRAME = MIB
_PIECE_BYTES = 8 * MIB
_VOLUME = "--volume-id=churned"
_SEED = 2


@dataclass(frozen=True, slots=True)
class Bare:
    """What the changed chunks hold, and what is left of that when it is compressed."""

    changed_bytes: int
    stored_bytes: int


@dataclass(frozen=True, slots=True)
class Day:
    """One way to cut and compress: three operations, and the bare loop beside the second.

    rounds: seconds of each operation in every round.
    """

    chunk_size_bytes: int
    level: int
    full: Run
    incremental: Run
    restore: Run
    bare: Bare
    rounds: dict[str, list[float]]

    @property
    def ratio(self) -> float:
        """What the second backup stores, maps included, to what the bare loop keeps."""
        return self.incremental.stored_bytes / max(1, self.bare.stored_bytes)


def changed_chunks(before: Path, after: Path, chunk_size_bytes: int) -> Iterator[bytes]:
    """Yield the chunks that differ and are not zero now; both images have one size."""
    with FileVolume(str(before)) as old, FileVolume(str(after)) as new:
        extents = pack_extents(new.extents(0, new.size_bytes), chunk_size_bytes)
        for offset, length in extents.tolist():
            end = min(offset + length, new.size_bytes)
            for start in range(offset, end, _PIECE_BYTES):
                size_bytes = min(_PIECE_BYTES, end - start)
                was, now = _read(old, start, size_bytes), _read(new, start, size_bytes)
                yield from _differing(was, now, chunk_size_bytes)


def _read(volume: FileVolume, offset: int, length: int) -> ByteArray:
    buffer = np.empty(length, np.uint8)
    volume.read_into(offset, buffer.data)
    return buffer


def _differing(was: ByteArray, now: ByteArray, chunk_size_bytes: int) -> Iterator[bytes]:
    differs = nonzero_chunks(was ^ now, chunk_size_bytes) & nonzero_chunks(now, chunk_size_bytes)
    for position in np.flatnonzero(differs).tolist():
        start = position * chunk_size_bytes
        yield now[start : start + chunk_size_bytes].tobytes()


def compress_chunks(chunks: Iterator[bytes], level: int) -> Bare:
    """Compress chunks in frames of 1 MiB and count."""
    encoder = zstandard.ZstdCompressor(level=level)
    frame = bytearray()
    changed_bytes = stored_bytes = 0
    for chunk in chunks:
        changed_bytes += len(chunk)
        frame += chunk
        if len(frame) >= FRAME:
            stored_bytes += len(encoder.compress(frame))
            frame = bytearray()
    return Bare(changed_bytes, stored_bytes + (len(encoder.compress(frame)) if frame else 0))


class _Images:
    """The image of two days, and a folder for repositories."""

    def __init__(self, image: Path, folder: Path, share: float) -> None:
        self.first, self.second = image, folder / "day2.img"
        copy_image(image, self.second)
        self.churn = churn(str(self.second), share=share, seed=_SEED)
        self._repository = folder / "repository"
        self._target = folder / "restored.img"

    def measure(self, chunk_size_bytes: int, level: int, rounds: int) -> Day:
        """Run full, incremental and restore so many times; keep the median of each."""
        done = [self._round(chunk_size_bytes, level) for _ in range(rounds)]
        full, incremental, restore = (median_run(runs) for runs in zip(*done, strict=True))
        names = ("full", "day 2", "restore")
        rounds_s = {
            name: [run.duration_s for run in runs]
            for name, runs in zip(names, zip(*done, strict=True), strict=True)
        }
        chunks = changed_chunks(self.first, self.second, chunk_size_bytes)
        bare = compress_chunks(chunks, level)
        return Day(chunk_size_bytes, level, full, incremental, restore, bare, rounds_s)

    def _round(self, chunk_size_bytes: int, level: int) -> tuple[Run, Run, Run]:
        shutil.rmtree(self._repository, ignore_errors=True)
        self._repository.mkdir()
        self._target.unlink(missing_ok=True)
        options = [_VOLUME, f"--chunk-size={chunk_size_bytes}", f"--level={level}"]
        settle()
        full = run("backup", self.first, self._repository, "--create", *options)
        settle()
        incremental = run("backup", self.second, self._repository, *options)
        settle()
        restore = run("restore", self._repository, self._target)
        if not is_same(self.second, self._target):
            raise SystemExit("the restored image differs from the source")
        return full, incremental, restore


def _row(day: Day) -> dict[str, str]:
    full, incremental = day.full, day.incremental
    return {
        "chunk": format_bytes(day.chunk_size_bytes),
        "level": str(day.level),
        "full s": f"{full.duration_s:.2f}",
        "rate": format_rate(full.read_bytes, full.duration_s),
        "stored": format_bytes(full.stored_bytes),
        "day 2 s": f"{incremental.duration_s:.2f}",
        "data": format_bytes(incremental.data_bytes),
        "maps": format_bytes(incremental.map_bytes),
        "bare": format_bytes(day.bare.stored_bytes),
        "ratio": f"{day.ratio:.3f}",
        "restore s": f"{day.restore.duration_s:.2f}",
    }


def _sizes(text: str) -> list[int]:
    return [parse_bytes(part) for part in text.split(",")]


def _levels(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = new_parser("churn", __doc__)
    parser.add_argument("--share", type=float, default=0.025, help="of blocks that change (0.025)")
    parser.add_argument("--chunk-size", type=_sizes, default=[64 << 10], metavar="SIZE,…")
    parser.add_argument("--level", type=_levels, default=[1], metavar="LEVEL,…")
    given = parser.parse_args(arguments)
    with work_folder(given.folder) as folder:
        image = given_image(given.image, given.size, folder)
        images = _Images(image, folder, given.share)
        days = [
            images.measure(chunk_size_bytes, level, given.rounds)
            for chunk_size_bytes, level in product(given.chunk_size, given.level)
        ]
        changed = str(images.churn)
    print_table(f"A day of churn: {changed}", [_row(day) for day in days])
    rows = [{**asdict(day), "ratio": day.ratio} for day in days]
    seconds = {
        f"{format_bytes(day.chunk_size_bytes)}, level {day.level}: {name}": values
        for day in days
        for name, values in day.rounds.items()
    }
    results = {"share": given.share, "churn": changed, "days": rows, "seconds": seconds}
    write_json(given.json, results)


if __name__ == "__main__":
    main()
