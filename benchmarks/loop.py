"""Bare loops: the work that nobody can leave out, in the fastest plain way, and nothing more.

Each takes an image and returns seconds. Threads share a list of pieces of 1 MiB; every thread has
its own buffers, which it uses again and again. Holes are not read, as nobody has to.
"""

from __future__ import annotations

import mmap
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, TypeVar

import numpy as np
import zstandard
from blake3 import blake3

from backupcore.extents import as_extents, pack_extents
from backupcore.model import Grid
from backupcore.units import MIB
from backupcore.volume.file import FileVolume

__all__ = [
    "Frames",
    "backup",
    "make_frames",
    "read",
    "read_and_compress",
    "read_and_name",
    "restore",
    "write",
]

CHUNK = Grid().chunk_size_bytes
FRAME = MIB
PACK = 32 * MIB
KEY = bytes(range(32))

T = TypeVar("T")
Piece: TypeAlias = tuple[int, int]  # offset, length


@dataclass(frozen=True, slots=True)
class _Frame:
    """Where a frame lies in the file of frames, and the extents of the image it holds."""

    offset: int
    stored_length: int
    runs: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class Frames:
    """An image compressed into one file of frames: what a restore reads."""

    path: Path
    size_bytes: int
    frames: tuple[_Frame, ...]

    @property
    def stored_bytes(self) -> int:
        """Bytes of all frames."""
        return sum(frame.stored_length for frame in self.frames)


class _Bench:
    """What one thread works with."""

    def __init__(self, descriptor: int, level: int) -> None:
        self._descriptor = descriptor
        self._read = np.frombuffer(mmap.mmap(-1, FRAME + CHUNK), np.uint8)
        self._gathered = np.frombuffer(mmap.mmap(-1, FRAME), np.uint8)
        self._decoded = memoryview(mmap.mmap(-1, FRAME))
        self._encoder = zstandard.ZstdCompressor(level=level)
        self._decoder = zstandard.ZstdDecompressor()

    def read(self, offset: int, length: int) -> memoryview:
        """Return an extent of the file."""
        view = self._read.data[:length]
        done = 0
        while done < length:
            count = os.preadv(self._descriptor, [view[done:]], offset + done)
            if not count:
                raise EOFError(f"file ends at {offset + done}")
            done += count
        return view

    def nonzero(self, run: memoryview) -> list[int]:
        """Return where in a run the chunks begin that are not zero."""
        whole = len(run) // CHUNK * CHUNK
        is_data = np.frombuffer(run[:whole], np.uint64).reshape(-1, CHUNK // 8).any(axis=1)
        starts: list[int] = (np.flatnonzero(is_data) * CHUNK).tolist()
        if whole < len(run) and np.frombuffer(run[whole:], np.uint8).any():
            starts.append(whole)
        return starts

    def gather(self, run: memoryview, starts: list[int]) -> memoryview:
        """Return chunks of a run as one, without a copy when they are all of it."""
        if len(starts) * CHUNK >= len(run):
            return run
        gathered, filled = self._gathered.data, 0
        for start in starts:
            chunk = run[start : start + CHUNK]
            gathered[filled : filled + len(chunk)] = chunk
            filled += len(chunk)
        return gathered[:filled]

    def compress(self, plain: memoryview) -> bytes:
        """Return a frame."""
        return self._encoder.compress(plain)

    def decode(self, payload: bytes | memoryview, length: int) -> memoryview:
        """Return the plain bytes of a frame."""
        plain = self._decoded[:length]
        with self._decoder.stream_reader(payload) as reader:
            if reader.readinto(plain) != length:
                raise EOFError("frame is too short")
        return plain


def name_chunks(run: memoryview, starts: Iterable[int]) -> list[bytes]:
    """Return the ids of the chunks that begin somewhere in a run."""
    return [blake3(run[start : start + CHUNK], key=KEY).digest() for start in starts]


def read(path: Path, thread_count: int = 2) -> float:
    """Read."""

    def work(bench: _Bench, piece: Piece) -> None:
        bench.read(*piece)

    return _timed(path, thread_count, work)


def read_and_name(path: Path, thread_count: int = 2) -> float:
    """Read, test for zeros and hash every chunk: what an unchanged incremental must do."""

    def work(bench: _Bench, piece: Piece) -> None:
        run = bench.read(*piece)
        name_chunks(run, bench.nonzero(run))

    return _timed(path, thread_count, work)


def read_and_compress(path: Path, thread_count: int = 2, *, level: int = 1) -> float:
    """Read, test for zeros and compress."""

    def work(bench: _Bench, piece: Piece) -> None:
        run = bench.read(*piece)
        if starts := bench.nonzero(run):
            bench.compress(bench.gather(run, starts))

    return _timed(path, thread_count, work, level=level)


def backup(path: Path, thread_count: int = 2, *, level: int = 1) -> float:
    """Do what a full backup must: read, test, hash, compress, decode and hash again."""

    def work(bench: _Bench, piece: Piece) -> None:
        run = bench.read(*piece)
        starts = bench.nonzero(run)
        if not starts:
            return
        names = name_chunks(run, starts)
        plain = bench.gather(run, starts)
        decoded = bench.decode(bench.compress(plain), len(plain))
        if name_chunks(decoded, range(0, len(decoded), CHUNK)) != names:
            raise ValueError(f"frame of the extent {piece} does not decode to its source")

    return _timed(path, thread_count, work, level=level)


def write(folder: Path, size_bytes: int, thread_count: int = 4) -> float:
    """Write so many bytes as durable files of 32 MiB, which are removed: the disk's own part."""
    content = os.urandom(PACK)
    names = iter([folder / f"pack-{number}" for number in range(-(-size_bytes // PACK))])
    lock = threading.Lock()

    def drain() -> None:
        for name in _shared(names, lock):
            with name.open("wb", buffering=0) as file:
                file.write(content)
                os.fsync(file.fileno())

    started_s = time.perf_counter()
    _in_threads(drain, thread_count)
    duration_s = time.perf_counter() - started_s
    for name in folder.glob("pack-*"):
        name.unlink()
    return duration_s


def make_frames(path: Path, frames: Path, *, level: int = 1) -> Frames:
    """Compress an image into a file of frames; not timed."""
    made: list[_Frame] = []
    with _opened(path, os.O_RDONLY) as descriptor, frames.open("wb") as file:
        bench = _Bench(descriptor, level)
        for offset, length in _pieces(path):
            run = bench.read(offset, length)
            if starts := bench.nonzero(run):
                payload = bench.compress(bench.gather(run, starts))
                runs = _runs(offset, length, starts)
                made.append(_Frame(file.tell(), len(payload), runs))
                file.write(payload)
    return Frames(frames, path.stat().st_size, tuple(made))


def restore(source: Frames, target: Path, thread_count: int = 2) -> float:
    """Do what a restore must: read frames, decode, hash, write to their places, make durable."""
    started_s = time.perf_counter()
    frames, lock = iter(source.frames), threading.Lock()
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL
    with _opened(source.path, os.O_RDONLY) as stored, _opened(target, flags) as written:
        os.ftruncate(written, source.size_bytes)

        def drain() -> None:
            bench = _Bench(stored, 1)
            for frame in _shared(frames, lock):
                payload = bench.read(frame.offset, frame.stored_length)
                plain = bench.decode(payload, sum(length for _, length in frame.runs))
                name_chunks(plain, range(0, len(plain), CHUNK))
                _write_runs(written, plain, frame.runs)

        _in_threads(drain, thread_count)
        os.fsync(written)
    return time.perf_counter() - started_s


def _runs(offset: int, length: int, starts: list[int]) -> tuple[Piece, ...]:
    """Return the extents of the image that chunks of a piece cover."""
    rows = [(offset + start, min(CHUNK, length - start)) for start in starts]
    return tuple((int(first), int(size)) for first, size in as_extents(rows))


def _write_runs(descriptor: int, plain: memoryview, runs: tuple[Piece, ...]) -> None:
    done = 0
    for offset, length in runs:
        os.pwrite(descriptor, plain[done : done + length], offset)
        done += length


def _timed(
    path: Path, thread_count: int, work: Callable[[_Bench, Piece], None], *, level: int = 1
) -> float:
    """Return how long threads take to work off all pieces of an image."""
    started_s = time.perf_counter()
    pieces, lock = iter(_pieces(path)), threading.Lock()
    with _opened(path, os.O_RDONLY) as descriptor:

        def drain() -> None:
            bench = _Bench(descriptor, level)
            for piece in _shared(pieces, lock):
                work(bench, piece)

        _in_threads(drain, thread_count)
    return time.perf_counter() - started_s


def _pieces(path: Path) -> list[Piece]:
    """Return pieces of 1 MiB at most that cover all chunks that are no holes."""
    with FileVolume(str(path)) as volume:
        size_bytes = volume.size_bytes
        extents = pack_extents(volume.extents(0, size_bytes), CHUNK)
    return [
        (start, min(FRAME, offset + length - start, size_bytes - start))
        for offset, length in extents.tolist()
        for start in range(offset, offset + length, FRAME)
    ]


@contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    descriptor = os.open(path, flags, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _shared(items: Iterator[T], lock: threading.Lock) -> Iterator[T]:
    """Yield what no other thread has taken yet."""
    while True:
        with lock:
            item = next(items, None)
        if item is None:
            return
        yield item


def _in_threads(drain: Callable[[], None], thread_count: int) -> None:
    with ThreadPoolExecutor(thread_count) as pool:
        for future in [pool.submit(drain) for _ in range(thread_count)]:
            future.result()
