from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from backupcore.errors import VolumeShrunk
from backupcore.extents import as_extents
from backupcore.testing.volume import WritableVolumeConformance
from backupcore.volume import Volume
from backupcore.volume.memory import MemoryVolume

CONTENT = os.urandom(100_000) + bytes(65_536) + os.urandom(50_001)


class TestMemory(WritableVolumeConformance):
    @pytest.fixture
    def content(self) -> bytes:
        return CONTENT

    @pytest.fixture
    def volume(self, content: bytes) -> Iterator[Volume]:
        with MemoryVolume(content) as volume:
            yield volume


class TestMemoryWithHoles(WritableVolumeConformance):
    @pytest.fixture
    def content(self) -> bytes:
        return CONTENT

    @pytest.fixture
    def volume(self, content: bytes) -> Volume:
        return MemoryVolume(content, holes=as_extents([(100_000, 5), (100_512, 65_024)]))


def test_size_alone_makes_zeros_known_to_be_zero() -> None:
    volume = MemoryVolume(4096)
    assert volume.is_known_zero
    assert volume.content == bytes(4096)


def test_content_given_is_not_known_to_be_zero() -> None:
    assert not MemoryVolume(bytes(4096)).is_known_zero


def test_bytearray_stays_its_owners() -> None:
    content = bytearray(10)
    MemoryVolume(content).write(0, b"x")
    assert content[0] == ord("x")


def test_hole_that_holds_data_is_refused() -> None:
    with pytest.raises(ValueError, match="hole at offset 0 holds data"):
        MemoryVolume(b"abc", holes=as_extents([(0, 2)]))


def test_declared_holes_are_left_out_of_extents() -> None:
    volume = MemoryVolume(1000, holes=as_extents([(100, 800)]))
    assert volume.extents(0, 1000).tolist() == [[0, 100], [900, 100]]


def test_writing_into_a_hole_makes_data() -> None:
    volume = MemoryVolume(1000, holes=as_extents([(0, 1000)]))
    volume.write(500, b"xy")
    assert volume.extents(0, 1000).tolist() == [[500, 2]]


def test_content_cut_off_while_open_has_shrunk() -> None:
    volume = MemoryVolume(1000)
    del volume.content[500:]
    with pytest.raises(VolumeShrunk, match="ends at offset 500"):
        volume.read_into(499, bytearray(2))


def test_finishing_is_noted() -> None:
    volume = MemoryVolume(10)
    volume.finish()
    assert volume.is_finished
