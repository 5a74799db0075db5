"""Images to measure with, the folder they lie in, and comparing them."""

from __future__ import annotations

import subprocess
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from backupcore.extents import Extents, pack_extents, total_length
from backupcore.testing.filling import mixed_file
from backupcore.testing.image import Kind, write_image
from backupcore.units import KIB, MIB
from backupcore.volume import Volume
from backupcore.volume.file import FileVolume

__all__ = [
    "SEED",
    "copy_image",
    "data_length",
    "given_image",
    "is_same",
    "is_same_extents",
    "work_folder",
    "write_islands",
]

SEED = 1
_PIECE_BYTES = 8 * MIB
_ISLAND_BYTES = MIB


@contextmanager
def work_folder(parent: str | None) -> Iterator[Path]:
    """Yield a folder for work files, removed with all that is in it."""
    with tempfile.TemporaryDirectory(prefix="backupcore-bench.", dir=parent) as folder:
        yield Path(folder).resolve()


def given_image(path: str | None, size_bytes: int, folder: Path) -> Path:
    """Return the image at a path, or make one in a folder from the files of this machine."""
    if path is not None:
        return Path(path).resolve()
    image = folder / "image.img"
    files = (sysconfig.get_path("stdlib"), "/usr")
    write_image(str(image), Kind.OS, size_bytes, SEED, files=files)
    return image


def copy_image(source: Path, target: Path) -> None:
    """Copy an image with its holes."""
    copy = ["cp", "--sparse=auto", "--reflink=auto", "--", str(source), str(target)]
    subprocess.run(copy, check=True)


def write_islands(path: Path, data_bytes: int, *, seed: int, step: int = 1) -> None:
    """Write islands of 1 MiB, evenly spread over a sparse file; every so many of them only."""
    random = np.random.Generator(np.random.PCG64(seed))
    count = max(1, data_bytes // _ISLAND_BYTES)
    distance = path.stat().st_size // count // _ISLAND_BYTES * _ISLAND_BYTES
    with path.open("r+b") as file:
        for island in range(0, count, step):
            file.seek(island * distance)
            file.write(mixed_file(random, _ISLAND_BYTES))


def data_length(path: Path) -> int:
    """Return how many bytes of an image lie in chunks of 64 KiB that are no holes."""
    with FileVolume(str(path)) as volume:
        extents = volume.extents(0, volume.size_bytes)
        return min(volume.size_bytes, total_length(pack_extents(extents, 64 * KIB)))


def is_same(first: Path, second: Path) -> bool:
    """Return whether two files hold the same bytes."""
    if first.stat().st_size != second.stat().st_size:
        return False
    with first.open("rb", buffering=0) as one, second.open("rb", buffering=0) as other:
        while piece := one.read(_PIECE_BYTES):
            if piece != other.read(len(piece)):
                return False
    return True


def is_same_extents(volume: Volume, extents: Extents, stream: Path) -> bool:
    """Return whether a file holds extents of a volume, one after another, and nothing else."""
    with stream.open("rb") as file:
        for offset, length in extents.tolist():
            content = bytearray(length)
            volume.read_into(offset, content)
            if file.read(length) != content:
                return False
        return not file.read(1)
