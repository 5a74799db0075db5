"""Folders on real file systems: one that shares blocks, one without much room."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from backupcore.provider import Provider
from backupcore.provider.directory import DirectoryProvider
from tests.volume.block.conftest import Bay, missing

MAKERS = {
    "xfs": ("mkfs.xfs", "xfsprogs", ["-q", "-m", "reflink=1"]),
    "btrfs": ("mkfs.btrfs", "btrfs-progs", ["-q"]),
}


def call(*command: str) -> None:
    """Run a program; skip the test when the machine does not let it."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode:
        pytest.skip(f"{' '.join(command[:2])}: {done.stderr.strip()}: run as root of the machine")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "volumes"
    folder.mkdir()
    return folder


@pytest.fixture
def fast_folder() -> Iterator[Path]:
    """A folder in memory where there is some, for tests that make many volumes durable."""
    shared = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=shared) as folder:
        yield Path(folder)


@pytest.fixture
def provider(folder: Path) -> Iterator[DirectoryProvider]:
    with DirectoryProvider("local", str(folder)) as provider:
        yield provider


@pytest.fixture
def bay(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bay]:
    """Where loop devices are made."""
    if reason := missing(str(tmp_path_factory.getbasetemp())):
        pytest.skip(reason)
    bay = Bay(tmp_path)
    yield bay
    bay.clear()


@pytest.fixture(scope="session", params=MAKERS)
def shared_disk(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """Where a file system that can share blocks is mounted."""
    program, package, options = MAKERS[request.param]
    if reason := missing(str(tmp_path_factory.getbasetemp())):
        pytest.skip(reason)
    if not shutil.which(program):
        pytest.skip(f"needs {program}: apt-get install {package}")
    place = tmp_path_factory.mktemp(request.param)
    (point := place / "disk").mkdir()
    with (place / "image").open("wb") as image:
        image.truncate(512 << 20)
    bay = Bay(place)
    try:
        device = bay.attach(place / "image")
        call(program, *options, device)
        call("mount", device, str(point))
        bay.mounts.append(str(point))
        yield point
    finally:
        bay.clear()


@pytest.fixture
def shared_folder(shared_disk: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A folder on a file system that can share blocks."""
    folder = shared_disk / str(abs(hash(request.node.nodeid)))
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def small_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder with room for 256 KiB and six files."""
    if os.geteuid():
        pytest.skip("needs root to mount: sudo .venv/bin/pytest tests/provider")
    (point := tmp_path / "small").mkdir()
    call("mount", "-t", "tmpfs", "-o", "size=256k,nr_inodes=8", "tmpfs", str(point))
    yield point
    subprocess.run(["umount", str(point)], check=True, timeout=60)


@pytest.fixture
def no_sharing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that cannot share blocks, whatever the temporary folder lies on."""
    monkeypatch.setattr("backupcore.provider.directory.share_blocks", lambda source, target: False)


def names(folder: Path) -> list[str]:
    """Return what lies in a folder, hidden names too."""
    return sorted(os.listdir(folder))


def content_of(provider: Provider, place: str) -> bytes:
    """Return all bytes of a volume."""
    with provider.open(place) as volume:
        buffer = bytearray(volume.size_bytes)
        volume.read_into(0, buffer)
        return bytes(buffer)


def content_of_snapshot(provider: Provider, place: str) -> bytes:
    """Return all bytes of a snapshot."""
    with provider.open_snapshot(place) as volume:
        buffer = bytearray(volume.size_bytes)
        volume.read_into(0, buffer)
        return bytes(buffer)
