from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from backupcore.units import KIB, MIB
from benchmarks import loop
from benchmarks.image import is_same


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """Data, chunks of zeros, a hole, data again, and a tail shorter than a chunk."""
    random = np.random.Generator(np.random.PCG64(1))
    path = tmp_path / "image"
    with path.open("wb") as file:
        file.write(random.bytes(MIB + 64 * KIB) + bytes(192 * KIB) + b"text" * 100_000)
        file.seek(5 * MIB)
        file.write(random.bytes(MIB + 17))
    return path


@pytest.mark.parametrize(
    "measure", [loop.read, loop.read_and_name, loop.read_and_compress, loop.backup]
)
def test_loop_tells_how_long_it_took(image: Path, measure: Callable[[Path, int], float]) -> None:
    assert measure(image, 2) > 0


def test_restore_loop_brings_the_image_back(image: Path, tmp_path: Path) -> None:
    frames = loop.make_frames(image, tmp_path / "frames")
    loop.restore(frames, tmp_path / "restored")
    assert is_same(image, tmp_path / "restored")


def test_frames_hold_no_chunk_of_zeros(image: Path, tmp_path: Path) -> None:
    frames = loop.make_frames(image, tmp_path / "frames")
    held = sum(length for frame in frames.frames for _, length in frame.runs)
    text = -(-400_000 // loop.CHUNK) * loop.CHUNK
    assert held == MIB + 64 * KIB + text + MIB + 17
    assert frames.stored_bytes == os.path.getsize(tmp_path / "frames")


def test_error_in_a_thread_is_not_lost(image: Path, tmp_path: Path) -> None:
    frames = loop.make_frames(image, tmp_path / "frames")
    os.truncate(tmp_path / "frames", 1000)
    with pytest.raises(EOFError):
        loop.restore(frames, tmp_path / "restored")


def test_written_files_are_removed(tmp_path: Path) -> None:
    assert loop.write(tmp_path, MIB) > 0
    assert not list(tmp_path.iterdir())
