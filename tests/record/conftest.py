"""Two stores: one whose map is a leaf, one whose map has a node."""

from __future__ import annotations

import pytest

from backupcore.volume.memory import MemoryVolume
from tests.operation.scene import CHUNK, LEAF_LENGTH, noise
from tests.operation.volumes import SparseVolume
from tests.record.case import Case, make_case


@pytest.fixture
def case() -> Case:
    first = MemoryVolume(bytearray(noise(1, 40 * CHUNK)))
    second = MemoryVolume(bytearray(noise(1, 20 * CHUNK) + noise(2, 20 * CHUNK)))
    first.identity = second.identity = "volume"
    return make_case(first, again=second)


@pytest.fixture
def tall() -> Case:
    cells = {cell: noise(cell, CHUNK) for cell in (0, 1, 1024, 5000, 9 * 1024)}
    return make_case(SparseVolume(10 * LEAF_LENGTH, cells))
