"""The same promises while volumes share chunks through a dedup index that all processes keep.

The index is as old as whoever wrote it last; deletions and prunes go on beside those who read it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from backupcore.repository.index import DomainIndex
from tests.simulation.test_simulation import LOSS, RIGHT, run
from tests.simulation.world import World

pytestmark = pytest.mark.no_cover  # a search of what others cover; being traced takes twice as long

PART_COUNT = 3
SEED_COUNT = 90
MANY = 6_000
MUTANT_SEEDS = range(180, 600)  # 200 is the first that finds it


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("ERROR", "backupcore")


def broken_promise(
    seeds: Iterable[int], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> str | None:
    """Return the first seed that breaks a promise, and how; None when none does."""
    for seed in seeds:
        try:
            run(World(seed, RIGHT, shared=folder / str(seed)), monkeypatch)
        except Exception as error:  # noqa: BLE001 - whatever it is, the seed must be told
            return f"seed {seed}: {error!r}"
    return None


@pytest.mark.parametrize("part", range(PART_COUNT))
def test_no_backup_loses_a_byte(part: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seeds = range(part, SEED_COUNT, PART_COUNT)
    assert broken_promise(seeds, tmp_path, monkeypatch) is None


@pytest.mark.long
@pytest.mark.parametrize("part", range(PART_COUNT))
def test_no_backup_loses_a_byte_in_many_runs(
    part: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds = range(SEED_COUNT + part, MANY, PART_COUNT)
    assert broken_promise(seeds, tmp_path, monkeypatch) is None


def test_a_seed_gives_the_same_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stores = []
    for name in ("one", "two"):
        world = World(11, RIGHT, shared=tmp_path / name)
        run(world, monkeypatch)
        stores.append({key: data for key, (data, _) in world.scene.store.objects.items()})
    assert stores[0] == stores[1]


def test_an_index_that_believes_what_it_knew_before_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_usable(self: DomainIndex, pack: bytes) -> bool:
        return pack not in self._condemned

    monkeypatch.setattr(DomainIndex, "_is_usable", is_usable)
    assert re.search(LOSS, broken_promise(MUTANT_SEEDS, tmp_path, monkeypatch) or "none")
