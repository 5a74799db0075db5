"""Our providers keep every promise, on every kind of folder; volumes from them are volumes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from backupcore.provider import Access, Provider, Volume
from backupcore.provider.registry import open_provider
from backupcore.testing.promise import Outcome
from backupcore.testing.provider import ProviderConformance, run_promises
from backupcore.testing.volume import ReadOnlyVolumeConformance, WritableVolumeConformance
from tests.provider.conftest import names
from tests.volume.block.conftest import Bay

CONTENT = os.urandom(100_000) + bytes(100_000) + os.urandom(100_001)


def open_directory(folder: Path, snapshots: str = "auto") -> Provider:
    options = {"path": str(folder), "snapshots": snapshots}
    return open_provider("directory", name="local", options=options)


class DirectoryConformance(ProviderConformance):
    @pytest.fixture
    def provider(self, folder: Path) -> Iterator[Provider]:
        with open_directory(folder) as provider:
            yield provider

    @pytest.fixture
    def second_provider(self, folder: Path) -> Iterator[Provider]:
        with open_directory(folder) as provider:
            yield provider


@pytest.mark.usefixtures("no_sharing")
class TestDirectoryThatCopies(DirectoryConformance):
    pass


class TestDirectoryThatSharesBlocks(DirectoryConformance):
    @pytest.fixture
    def folder(self, shared_folder: Path) -> Path:
        return shared_folder


class TestDevices(ProviderConformance):
    place = "db"

    @pytest.fixture
    def path(self, bay: Bay) -> str:
        return bay.make(bytes(1 << 20))

    @pytest.fixture
    def provider(self, path: str) -> Iterator[Provider]:
        options = {"devices": [{"name": "db", "path": path}]}
        with open_provider("devices", name="disks", options=options) as provider:
            yield provider

    second_provider = provider


class TestVolumeOfADirectory(WritableVolumeConformance):
    @pytest.fixture
    def content(self) -> bytes:
        return CONTENT

    @pytest.fixture
    def volume(self, fast_folder: Path, content: bytes) -> Iterator[Volume]:
        (fast_folder / "disk").write_bytes(content)
        with open_directory(fast_folder) as provider, provider.open("disk", Access.WRITE) as volume:
            yield volume


class TestSnapshotOfADirectory(ReadOnlyVolumeConformance):
    @pytest.fixture
    def content(self) -> bytes:
        return CONTENT

    @pytest.fixture
    def volume(self, fast_folder: Path, content: bytes) -> Iterator[Volume]:
        (fast_folder / "disk").write_bytes(content)
        with open_directory(fast_folder) as provider:
            taken = provider.snapshot("disk", "one")
            with provider.open_snapshot(taken) as volume:
                yield volume


def test_operators_run_the_promises_without_pytest_and_nothing_is_left(folder: Path) -> None:
    results = list(run_promises(lambda: open_directory(folder)))
    assert {result.outcome for result in results} == {Outcome.KEPT, Outcome.NOT_CLAIMED}
    assert [result.name for result in results if result.outcome is Outcome.NOT_CLAIMED] == [
        "says_that_it_makes_and_deletes_nothing"
    ]
    assert names(folder) == [".snapshots"]
    assert names(folder / ".snapshots") == []


def test_operators_may_give_the_place_of_a_volume_to_overwrite(bay: Bay) -> None:
    options = {"devices": [{"name": "db", "path": bay.make(bytes(1 << 20))}]}
    results = run_promises(lambda: open_provider("devices", name="d", options=options), place="db")
    kept = [result.name for result in results if result.outcome is Outcome.KEPT]
    assert "keeps_what_was_written" in kept
