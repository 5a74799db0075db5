from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from backupcore.units import KIB, MIB
from benchmarks.image import is_same
from benchmarks.path import Run, run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("path")
    random = np.random.Generator(np.random.PCG64(1))
    (folder / "image").write_bytes(random.bytes(4 * MIB) + bytes(MIB))
    return folder


@pytest.fixture(scope="module")
def full(folder: Path) -> Run:
    """The first backup; tests that restore need it to have been made."""
    ballast = bytearray(b"\1") * (320 * MIB)
    done = run("backup", folder / "image", folder / "repository", "--create", "--threads=1")
    ballast.clear()
    return done


def test_backup_tells_its_bytes(full: Run) -> None:
    assert (full.volume_bytes, full.read_bytes, full.new_bytes) == (5 * MIB, 5 * MIB, 4 * MIB)
    assert full.data_bytes >= 4 * MIB
    assert 0 < full.map_bytes < MIB


def test_backup_tells_its_calls(full: Run) -> None:
    assert full.calls["put"] >= 4  # lease, data pack, map pack, register


def test_process_takes_longer_than_the_operation_in_it(full: Run) -> None:
    assert 0 < full.duration_s < full.process_s


def test_peak_memory_is_not_that_of_who_started_it(full: Run) -> None:
    assert 10 * MIB < full.peak_rss_bytes < 320 * MIB


def test_unchanged_volume_stores_nothing(folder: Path, full: Run) -> None:
    again = run("backup", folder / "image", folder / "repository")
    assert (again.new_bytes, again.data_bytes) == (0, 0)


def test_chunk_size_can_be_chosen(folder: Path) -> None:
    options = ("--create", f"--chunk-size={16 * KIB}", "--level=3")
    assert run("backup", folder / "image", folder / "small", *options).new_bytes == 4 * MIB


def test_restored_image_is_the_source(folder: Path, full: Run) -> None:
    done = run("restore", folder / "repository", folder / "restored")
    assert is_same(folder / "image", folder / "restored")
    assert done.operation == "restore"


def test_equal_target_is_left_alone_in_place(folder: Path, full: Run) -> None:
    run("restore", folder / "repository", folder / "held")
    done = run("restore", folder / "repository", folder / "held", "--in-place")
    assert (done.read_bytes, done.new_bytes) == (0, 0)


def test_extents_are_restored_one_after_another(folder: Path, full: Run) -> None:
    options = ("--stream", f"--extents=10:5,{2 * MIB}:100")
    run("restore", folder / "repository", folder / "parts", *options)
    content = (folder / "image").read_bytes()
    expected = content[10:15] + content[2 * MIB : 2 * MIB + 100]
    assert (folder / "parts").read_bytes() == expected


def test_verification_reads_the_packs(folder: Path, full: Run) -> None:
    assert run("verify", folder / "repository").read_bytes >= full.data_bytes


def test_failed_operation_is_an_error(folder: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        run("restore", folder / "nowhere", folder / "target")
