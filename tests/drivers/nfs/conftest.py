from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from backupcore_nfs import NfsDriver
from tests.drivers.nfs.machine import EXPORT_URL, FakeMachine, opened


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that stands for the mounted export."""
    # memory where there is some: syncing thousands of small files to a disk takes long
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=place) as name:
        yield Path(name).resolve()


@pytest.fixture
def machine(folder: Path) -> FakeMachine:
    """A machine on which the folder is a mount of server:/export/backups."""
    machine = FakeMachine()
    machine.show(folder)
    return machine


@pytest.fixture
def driver(folder: Path, machine: FakeMachine) -> Iterator[NfsDriver]:
    with opened(f"{EXPORT_URL}?mount={folder}", machine) as driver:
        yield driver
