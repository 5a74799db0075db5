"""A backup to files is killed before any of its calls: the next one goes on where it was."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from backupcore.operation.verify import Depth, verify
from backupcore.repository import create_repository, open_repository
from backupcore.volume import open_volume
from tests.operation.scene import CHUNK, GRID, INLINE, back_up, chunks, noise, restored, same
from tests.simulation.crash_nursery import KILLED

TOP = Path(__file__).resolve().parents[2]
FIRST = bytes(chunks(*range(20), None, *range(30, 40)))
SECOND = bytes(chunks(*range(100, 130), 3, 3, *range(30, 38)))
CHANGED_COUNT = 39  # chunks of the second that the first does not have in the same place


class Nursery:
    """Children that are killed; one line out and one line in for each."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.simulation.crash_nursery"],
            cwd=TOP, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def run(self, url: Path, volume_path: Path, nth: int) -> int:
        """Return how a child ended that backs up and is killed before its n-th call."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order = {"url": str(url), "volume_path": str(volume_path), "nth": nth}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate()


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    nursery = Nursery()
    yield nursery
    nursery.close()


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    """Return a folder with a repository of one backup and a volume that changed since."""
    volume = tmp_path / "volume"
    volume.write_bytes(FIRST)
    with (
        create_repository(str(tmp_path / "store"), grid=GRID) as repository,
        open_volume(str(volume)) as source,
    ):
        back_up(repository, source)
    volume.write_bytes(SECOND)
    return tmp_path


def kill_at(nursery: Nursery, prepared: Path, nth: int) -> Path | None:
    """Return a copy of the store in which a backup was killed; None when it had finished."""
    store = prepared / f"store-{nth}"
    shutil.copytree(prepared / "store", store)
    status = nursery.run(store, prepared / "volume", nth)
    assert status in (0, KILLED)
    return store if status == KILLED else None


def check_taken_up(store: Path, volume: Path, content: bytes) -> int:
    """Check what a crash left and that the next backup is whole; return what that one sent."""
    with open_repository(str(store)) as repository, open_volume(str(volume)) as source:
        before = {done.id: done.name for done in repository.backups()}
        for backup_id in before:
            assert restored(repository, backup_id) in (FIRST, SECOND)
        done = back_up(repository, source)
        assert same(restored(repository, done.id), content)
        assert len(list(repository.backups())) == len(before) + 1
        assert list(repository.driver.list("sessions/")) == []
        assert verify(repository, depth=Depth.DATA, tuning=INLINE).is_sound
        return done.sums.chunk_count


def test_a_backup_killed_before_any_call_is_taken_up_where_it_was(
    nursery: Nursery, prepared: Path
) -> None:
    sent, nth = [], 1
    while (store := kill_at(nursery, prepared, nth)) is not None:
        sent.append(check_taken_up(store, prepared / "volume", SECOND))
        shutil.rmtree(store)
        nth += 1
    assert nth > 15
    assert sent == sorted(sent, reverse=True)
    assert (sent[0], sent[-1]) == (CHANGED_COUNT, 0)


@pytest.mark.parametrize("nth", [12, 15])
def test_a_killed_backup_of_a_volume_that_changes_again_comes_back_as_it_is_then(
    nursery: Nursery, prepared: Path, nth: int
) -> None:
    store = kill_at(nursery, prepared, nth)
    assert store is not None
    third = SECOND[: 5 * CHUNK] + noise(500, 3 * CHUNK) + SECOND[8 * CHUNK : 30 * CHUNK + 77]
    (prepared / "volume").write_bytes(third)
    check_taken_up(store, prepared / "volume", third)


def test_a_backup_killed_again_and_again_is_taken_up(nursery: Nursery, prepared: Path) -> None:
    store = prepared / "store"
    for nth in (14, 15, 16, 18):
        assert nursery.run(store, prepared / "volume", nth) == KILLED
    check_taken_up(store, prepared / "volume", SECOND)
