"""The volume kit, over loop devices of every kind and over files read past the page cache."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from backupcore.testing.volume import ReadOnlyVolumeConformance, WritableVolumeConformance
from backupcore.volume import Access, Volume, open_volume
from tests.volume.block.conftest import CONTENT, Bay


@pytest.fixture
def content() -> bytes:
    return CONTENT


@pytest.fixture
def image(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "disk.img"
    path.write_bytes(content)
    return path


class TestReadDevice(ReadOnlyVolumeConformance):
    @pytest.fixture
    def volume(self, bay: Bay, content: bytes) -> Iterator[Volume]:
        with open_volume(bay.make(content)) as volume:
            yield volume


class TestReadDeviceDirectly(ReadOnlyVolumeConformance):
    @pytest.fixture
    def content(self) -> bytes:
        return CONTENT + b"odd end " * 64

    @pytest.fixture
    def volume(self, bay: Bay, content: bytes) -> Iterator[Volume]:
        with open_volume(bay.make(content), direct="yes") as volume:
            yield volume


class TestReadDeviceOfLargeSectorsDirectly(ReadOnlyVolumeConformance):
    @pytest.fixture
    def volume(self, bay: Bay, content: bytes) -> Iterator[Volume]:
        with open_volume(bay.make(content, sector_size=4096), direct="yes") as volume:
            yield volume


class TestWriteDevice(WritableVolumeConformance):
    @pytest.fixture
    def volume(self, bay: Bay, content: bytes) -> Iterator[Volume]:
        with open_volume(bay.make(content), access=Access.WRITE) as volume:
            yield volume


class TestWriteDeviceOfLargeSectors(WritableVolumeConformance):
    @pytest.fixture
    def volume(self, bay: Bay, content: bytes) -> Iterator[Volume]:
        path = bay.make(content, sector_size=4096)
        with open_volume(path, access=Access.WRITE) as volume:
            yield volume


class TestReadFileDirectly(ReadOnlyVolumeConformance):
    @pytest.fixture
    def content(self) -> bytes:
        return CONTENT + b"end"

    @pytest.fixture
    def volume(self, image: Path) -> Iterator[Volume]:
        with open_volume(str(image), direct="yes") as volume:
            yield volume
