"""Volumes of a provider are backed up and restored: each backup finds the one before."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from backupcore import (
    Backup,
    BackupRequest,
    Repository,
    Tuning,
    backup,
    create_repository,
    open_repository,
    restore,
)
from backupcore.provider import Access
from backupcore.provider.directory import DirectoryProvider
from tests.provider.conftest import content_of

SIZE_BYTES = 1 << 20


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    create_repository(str(tmp_path / "repository")).close()
    with open_repository(str(tmp_path / "repository")) as repository:
        yield repository


@pytest.fixture
def place(provider: DirectoryProvider) -> str:
    """A volume full of data."""
    place = provider.create("volume-1", SIZE_BYTES)
    with provider.open(place, Access.WRITE) as volume:
        volume.write(0, os.urandom(SIZE_BYTES))
        volume.finish()
    return place


def back_up(
    provider: DirectoryProvider,
    repository: Repository,
    place: str,
    hint: str,
    volume_id: str | None = None,
) -> Backup:
    """Back up a snapshot, and remove it, as a service does."""
    taken = provider.snapshot(place, hint)
    with provider.open_snapshot(taken) as volume:
        request = BackupRequest(volume_id=volume_id)
        done = backup(volume, repository, request=request, tuning=Tuning.inline())
    provider.delete_snapshot(taken)
    return done


def change(provider: DirectoryProvider, place: str) -> None:
    with provider.open(place, Access.WRITE) as volume:
        volume.write(500_000, b"changed")
        volume.finish()


@pytest.mark.parametrize("volume_id", ["7a6a7cb4-3a32-4918-bded-2f4bcb8e005f", None])
def test_a_backup_of_another_snapshot_finds_the_one_before(
    provider: DirectoryProvider, repository: Repository, place: str, volume_id: str | None
) -> None:
    first = back_up(provider, repository, place, "one", volume_id)
    change(provider, place)
    second = back_up(provider, repository, place, "two", volume_id)
    assert second.base_id == first.id
    assert second.sums.new_bytes < SIZE_BYTES // 10


def test_a_backup_of_the_volume_itself_finds_that_of_a_snapshot(
    provider: DirectoryProvider, repository: Repository, place: str
) -> None:
    first = back_up(provider, repository, place, "one")
    with provider.open(place) as volume:
        second = backup(volume, repository, tuning=Tuning.inline())
    assert (second.base_id, second.sums.new_bytes) == (first.id, 0)


def test_a_backup_is_restored_to_a_new_volume(
    provider: DirectoryProvider, repository: Repository, place: str
) -> None:
    done = back_up(provider, repository, place, "one")
    wanted = content_of(provider, place)
    with provider.open(provider.create("volume-2", SIZE_BYTES), Access.WRITE) as target:
        restore(repository, done.id, target, tuning=Tuning.inline())
    assert content_of(provider, "volume-2") == wanted
