"""Disk images made from a seed, and a day's worth of changes to them, without root.

    python -m backupcore.testing.image os disk.img --size 4GiB --seed 1 --files /usr/lib
    python -m backupcore.testing.image churn disk.img --share 0.025 --seed 2
    python -m backupcore.testing.image rewrite database.img --page-size 8KiB --seed 2
    python -m backupcore.testing.image clones disk.img --count 10 --share 0.002 --seed 2

`churn` and `rewrite` change an image in place; `clones` writes disk.img.0 and so on beside it.

The same arguments give the same bytes; kind `os` also depends on the files it is filled from.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from backupcore.extents import Extents, pack_extents, single_extent, subtract_extents, total_length
from backupcore.testing.filling import database_pages, mixed_file, random_bytes
from backupcore.units import KIB, MIB, format_bytes, parse_bytes
from backupcore.volume.file import FileVolume

__all__ = ["Churn", "Kind", "churn", "rewrite", "write_clones", "write_image"]

BLOCK_SIZE_BYTES = 4096
CHUNK_SIZE_BYTES = 1 << 16
_PIECE_BYTES = 8 * MIB
# Of an `os` image: how much holds bytes, and how much real files may take.
_FILLED_SHARE = 0.6
_REAL_SHARE = 0.25
EXT4_SIZE_BYTES_MIN = 16 * MIB
_EXT4_FIRST_INODE = 11  # of lost+found; those below are the file system's own


class Kind(StrEnum):
    """What an image looks like."""

    OS = "os"  # a file system with real and made-up files, 60 % full
    RANDOM = "random"  # nothing compresses, nothing repeats
    ZERO = "zero"  # written zeros
    SPARSE = "sparse"  # one hole with islands of data, 1 % in all
    DATABASE = "database"  # pages of 8 KiB: rows, some free
    PAGES = "pages"  # pages of 16 KiB: one half rows, the other does not compress


def write_image(
    path: str, kind: str, size_bytes: int, seed: int, *, files: Sequence[str] = ()
) -> None:
    """Write a new image file, streaming; what was at the path is replaced.

    files: folders that kind `os` takes real files from; the Python library by default.
    """
    random = np.random.Generator(np.random.PCG64(seed))
    with open(path, "wb") as image:
        image.truncate(size_bytes)
    if kind == Kind.OS:
        _write_os(path, size_bytes, random, files or (sysconfig.get_path("stdlib"),))
    elif kind == Kind.SPARSE:
        _write_islands(path, size_bytes, random)
    else:
        pieces = {
            Kind.RANDOM: random_bytes,
            Kind.ZERO: _zeros,
            Kind.DATABASE: database_pages,
            Kind.PAGES: _half_random_pages,
        }
        with open(path, "r+b") as image:
            for offset in range(0, size_bytes, _PIECE_BYTES):
                length = min(_PIECE_BYTES, size_bytes - offset)
                image.write(pieces[Kind(kind)](random, length))


def _zeros(random: np.random.Generator, length: int) -> bytes:
    return bytes(length)


def _half_random_pages(random: np.random.Generator, length: int) -> bytes:
    pages = np.empty((-(-length // (16 * KIB)), 2, 8 * KIB), np.uint8)
    pages[:, 0] = np.frombuffer(database_pages(random, pages.size // 2), np.uint8).reshape(-1, 8192)
    pages[:, 1] = np.frombuffer(random.bytes(pages.size // 2), np.uint8).reshape(-1, 8192)
    return pages.tobytes()[:length]


def _write_islands(path: str, size_bytes: int, random: np.random.Generator) -> None:
    """Write 1 % of the size in runs of up to 1 MiB, evenly spread."""
    wanted = max(BLOCK_SIZE_BYTES, size_bytes // 100)
    count = -(-wanted // MIB)
    with open(path, "r+b") as image:
        for island in range(count):
            length = min(wanted // count, size_bytes)
            slot = size_bytes // count
            offset = island * slot + int(random.integers(0, max(1, slot - length)))
            image.seek(offset // BLOCK_SIZE_BYTES * BLOCK_SIZE_BYTES)
            image.write(mixed_file(random, length))


def _write_os(
    path: str, size_bytes: int, random: np.random.Generator, folders: Sequence[str]
) -> None:
    """Make an ext4 image of real files with the system's tool, then use some of its free space.

    Free space is as full of old bytes as on a used disk. Without the tool all files are laid so.
    """
    room = int(size_bytes * _FILLED_SHARE)
    real = _real_contents(folders, int(size_bytes * _REAL_SHARE))
    tool = shutil.which("mkfs.ext4", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if tool and size_bytes >= EXT4_SIZE_BYTES_MIN:
        folder = os.path.dirname(os.path.abspath(path))
        with tempfile.TemporaryDirectory(prefix=".image.", dir=folder) as stage:
            _stage_files(stage, real)
            _make_ext4(tool, path, stage, str(uuid.UUID(bytes=random.bytes(16))))
        real = iter(())
    with FileVolume(path) as volume:
        data = pack_extents(volume.extents(0, size_bytes), BLOCK_SIZE_BYTES)
        free = subtract_extents(single_extent(0, size_bytes), data)
    with open(path, "r+b") as image:
        _lay_files(image, free, chain(real, _made_contents(random)), room - total_length(data))


def _stage_files(stage: str, contents: Iterator[bytes]) -> None:
    for number, content in enumerate(contents):
        folder = f"{stage}/{number // 200:04}"
        os.makedirs(folder, exist_ok=True)
        with open(f"{folder}/{number:06}", "wb") as file:
            file.write(content)


def _make_ext4(tool: str, path: str, stage: str, name: str) -> None:
    """Make a file system that follows from its files only, whenever it is made."""
    inode_count = _EXT4_FIRST_INODE
    for folder, _, names in os.walk(stage):
        for entry in (folder, *(f"{folder}/{name}" for name in names)):
            os.utime(entry, (0, 0))
            inode_count += 1
    options = f"hash_seed={name},root_owner=0:0,lazy_itable_init=1,nodiscard"
    command = [tool, "-q", "-F", "-b", "4096", "-U", name, "-E", options, "-d", stage, path]
    clock = {"E2FSPROGS_FAKE_TIME": "1", "SOURCE_DATE_EPOCH": "1"}
    environment = {**os.environ, **clock}
    subprocess.run(command, check=True, env=environment)  # noqa: S603 - found by which
    # The time of the last change of an inode is the one thing that cannot be set on a file.
    inodes = range(_EXT4_FIRST_INODE, inode_count)
    lines = "".join(f"set_inode_field <{inode}> ctime @1\n" for inode in inodes)
    command = [os.path.join(os.path.dirname(tool), "debugfs"), "-w", "-f", "-", path]
    subprocess.run(  # noqa: S603 - comes with mkfs.ext4
        command, input=lines.encode(), check=True, env=environment, capture_output=True
    )


def _lay_files(image: BinaryIO, free: Extents, contents: Iterator[bytes], room: int) -> None:
    """Write contents into free extents from block to block, split where one ends."""
    rest = b""
    for offset, length in free.tolist():
        image.seek(offset)
        left = min(length, room)
        room -= left
        while left > 0:
            rest = rest or next(contents)
            piece, rest = rest[:left], rest[left:]
            taken = min(left, _block_end(len(piece)))
            image.write(piece.ljust(taken, b"\0"))
            left -= taken


def _block_end(length: int) -> int:
    return -(-length // BLOCK_SIZE_BYTES) * BLOCK_SIZE_BYTES


def _real_contents(folders: Sequence[str], room: int) -> Iterator[bytes]:
    """Yield what real files hold until a room is full."""
    for path in _real_files(folders):
        with open(path, "rb") as file:
            content = file.read(_PIECE_BYTES)
        room -= _block_end(len(content))
        if room < 0:
            return
        if content:
            yield content


def _made_contents(random: np.random.Generator) -> Iterator[bytes]:
    """Yield contents of made-up files, without end."""
    while True:
        # Sizes of files are log-normal (Downey 2001); these parameters give 100 KiB on average.
        yield mixed_file(random, min(int(random.lognormal(9.5, 2.1)) + 1, _PIECE_BYTES))


def _real_files(folders: Sequence[str]) -> Iterator[str]:
    """Yield files below folders in the order of their names, links left out."""
    for top in folders:
        for folder, subfolders, names in os.walk(top):
            subfolders.sort()
            yield from filter(_is_plain, (os.path.join(folder, name) for name in sorted(names)))


def _is_plain(path: str) -> bool:
    return os.path.isfile(path) and not os.path.islink(path) and os.access(path, os.R_OK)


@dataclass(frozen=True, slots=True)
class Churn:
    """What a churn did: blocks of data there were and changed, and 64 KiB chunks touched."""

    data_block_count: int
    changed_block_count: int
    data_chunk_count: int
    touched_chunk_count: int

    def __str__(self) -> str:
        blocks = self.changed_block_count / max(1, self.data_block_count)
        chunks = self.touched_chunk_count / max(1, self.data_chunk_count)
        return (
            f"{format_bytes(self.changed_block_count * BLOCK_SIZE_BYTES)} changed: "
            f"{blocks:.2%} of the 4 KiB blocks, {chunks:.2%} of the 64 KiB chunks"
        )


def churn(path: str, *, share: float = 0.025, seed: int) -> Churn:
    """Overwrite a share of an image's data in place, clustered as file systems do.

    Runs are 1 to 8 blocks, some much longer; most lie in a few hot regions. Half of them compress.
    """
    random = np.random.Generator(np.random.PCG64(seed))
    with FileVolume(path) as volume:
        data = pack_extents(volume.extents(0, volume.size_bytes), BLOCK_SIZE_BYTES)
        size_bytes = volume.size_bytes
    counts = data[:, 1] // BLOCK_SIZE_BYTES
    is_changed = _pick_blocks(random, int(counts.sum()), share)
    first_blocks = np.repeat(data[:, 0] // BLOCK_SIZE_BYTES - (np.cumsum(counts) - counts), counts)
    changed = (np.arange(len(is_changed)) + first_blocks)[is_changed]
    with open(path, "r+b") as image:
        for start, count in _runs_of(changed):
            offset = start * BLOCK_SIZE_BYTES
            image.seek(offset)
            length = min(count * BLOCK_SIZE_BYTES, size_bytes - offset)
            fill = mixed_file if random.integers(2) else random_bytes
            image.write(fill(random, length))
    touched = np.unique(changed * BLOCK_SIZE_BYTES // CHUNK_SIZE_BYTES)
    return Churn(len(is_changed), len(changed), _chunk_count(data), len(touched))


def rewrite(path: str, *, share: float = 0.025, seed: int, page_size_bytes: int = 8 * KIB) -> int:
    """Write a share of an image's pages anew in random places; return how many.

    page_size_bytes: 8 KiB as kind `database` has, 16 KiB as kind `pages` has. A last part of a
    page stays as it is.
    """
    fill = {8 * KIB: database_pages, 16 * KIB: _half_random_pages}[page_size_bytes]
    random = np.random.Generator(np.random.PCG64(seed))
    page_count = os.stat(path).st_size // page_size_bytes
    picks = random.permutation(page_count)[: round(page_count * share)]
    picks.sort()
    with open(path, "r+b") as image:
        for start in range(0, len(picks), _PIECE_BYTES // page_size_bytes):
            group = picks[start : start + _PIECE_BYTES // page_size_bytes]
            content = memoryview(fill(random, len(group) * page_size_bytes))
            for position, page in enumerate(group.tolist()):
                image.seek(page * page_size_bytes)
                image.write(content[position * page_size_bytes :][:page_size_bytes])
    return len(picks)


def write_clones(path: str, *, count: int = 10, share: float = 0.002, seed: int) -> list[str]:
    """Copy an image so many times, holes included, and churn each copy; return their paths."""
    paths = [f"{path}.{number}" for number in range(count)]
    for number, clone in enumerate(paths):
        _copy(path, clone)
        churn(clone, share=share, seed=seed + number)
    return paths


def _copy(path: str, target: str) -> None:
    with FileVolume(path) as volume, open(path, "rb") as image, open(target, "wb") as clone:
        clone.truncate(volume.size_bytes)
        for start, length in volume.extents(0, volume.size_bytes).tolist():
            done = 0
            while done < length:
                asked = (image.fileno(), clone.fileno(), length - done, start + done, start + done)
                done += os.copy_file_range(*asked)


def _pick_blocks(
    random: np.random.Generator, block_count: int, share: float
) -> npt.NDArray[np.bool_]:
    """Return bool[block_count]: which blocks of the data change."""
    is_changed = np.zeros(block_count, np.bool_)
    left = round(block_count * share)
    hot = random.integers(0, max(1, block_count), max(1, block_count // 25_000))
    while left > 0:
        start = int(random.integers(0, block_count))
        if random.random() < 0.7:
            start = (int(random.choice(hot)) + int(random.exponential(600))) % block_count
        length = int(random.integers(1, 9))
        if random.random() < 0.055:
            length = min(int(random.pareto(1.2) * 40) + 16, 2048)
        run = is_changed[start : start + min(length, left)]
        left -= int(np.count_nonzero(~run))
        run[:] = True
    return is_changed


def _runs_of(blocks: npt.NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Yield (first, count) of runs in sorted numbers, at most a piece long."""
    for run in np.split(blocks, np.flatnonzero(np.diff(blocks) != 1) + 1):
        for start in range(0, len(run), _PIECE_BYTES // BLOCK_SIZE_BYTES):
            yield int(run[start]), len(run[start : start + _PIECE_BYTES // BLOCK_SIZE_BYTES])


def _chunk_count(data: Extents) -> int:
    return total_length(pack_extents(data, CHUNK_SIZE_BYTES)) // CHUNK_SIZE_BYTES


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m backupcore.testing.image", description=__doc__)
    parser.add_argument("kind", choices=[*Kind, "churn", "rewrite", "clones"])
    parser.add_argument("path")
    parser.add_argument("--size", type=parse_bytes, default=parse_bytes("1GiB"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--share", type=float, help="that changes (0.025; of clones 0.002)")
    parser.add_argument("--page-size", type=parse_bytes, default=8 * KIB, help="8KiB or 16KiB")
    parser.add_argument("--count", type=int, default=10, help="of clones (10)")
    parser.add_argument("--files", nargs="+", default=(), metavar="DIR")
    given = parser.parse_args(arguments)
    if given.kind == "churn":
        share = given.share or 0.025
        sys.stdout.write(f"{churn(given.path, share=share, seed=given.seed)}\n")
    elif given.kind == "rewrite":
        page_size_bytes, share = given.page_size, given.share or 0.025
        count = rewrite(given.path, share=share, seed=given.seed, page_size_bytes=page_size_bytes)
        sys.stdout.write(f"{format_bytes(count * page_size_bytes)} of pages written anew\n")
    elif given.kind == "clones":
        share = given.share or 0.002
        for path in write_clones(given.path, count=given.count, share=share, seed=given.seed):
            sys.stdout.write(f"{path}\n")
    else:
        write_image(given.path, given.kind, given.size, given.seed, files=given.files)


if __name__ == "__main__":
    main()
