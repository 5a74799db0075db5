from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from backupcore_posix import PosixDriver


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


@pytest.fixture
def driver(root: Path) -> Iterator[PosixDriver]:
    with PosixDriver(str(root)) as driver:
        yield driver
