"""What the tests of the way back share: a backup with noise, zeros and a short last cell."""

from __future__ import annotations

import pytest

from backupcore.volume.memory import MemoryVolume
from tests.operation.scene import CHUNK, LEAF_LENGTH, Scene, back_up, noise

TAIL = 100
SIZE = 2 * LEAF_LENGTH + TAIL


@pytest.fixture(scope="module")
def content() -> bytes:
    """Return noise at the begin, around the first leaf's end and in the tail, else zeros."""
    content = bytearray(SIZE)
    content[: 5 * CHUNK] = noise(1, 5 * CHUNK)
    content[LEAF_LENGTH - 3 * CHUNK + 7 : LEAF_LENGTH + 2 * CHUNK + 9] = noise(2, 5 * CHUNK + 2)
    content[-60:] = noise(3, 60)
    return bytes(content)


@pytest.fixture
def scene(content: bytes) -> Scene:
    scene = Scene()
    with scene.open() as repository:
        back_up(repository, MemoryVolume(content))
    return scene
