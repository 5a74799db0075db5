"""A service for each test that asks for one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.scene import Scene, started


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with started(tmp_path) as made:
        yield made
