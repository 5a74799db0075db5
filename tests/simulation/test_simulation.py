"""Backups, restores, deletions and prunes at once, call by call in any order: no byte is lost.

A failure names its seed; `run_seed` runs it again, call by call the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import pytest

from backupcore.runtime import Process
from tests.simulation.prune import Habits
from tests.simulation.world import World

pytestmark = pytest.mark.no_cover  # a search of what others cover; being traced takes twice as long

PART_COUNT = 4
SEED_COUNT = 240
MANY = 20_000
RIGHT = Habits()
LOSS = "PackDamaged|MapDamaged|other bytes"


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("ERROR", "backupcore")


def run_seed(seed: int, monkeypatch: pytest.MonkeyPatch, habits: Habits = RIGHT) -> None:
    """Run one simulation. Raises: what breaks a promise."""
    run(World(seed, habits), monkeypatch)


def run(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def is_gone(process: Process) -> bool:
        return world.scheduler.is_gone(process)

    monkeypatch.setattr(Process, "is_gone", is_gone)
    world.run()


def broken_promise(
    seeds: Iterable[int], monkeypatch: pytest.MonkeyPatch, habits: Habits = RIGHT
) -> str | None:
    """Return the first seed that breaks a promise, and how; None when none does."""
    for seed in seeds:
        try:
            run_seed(seed, monkeypatch, habits)
        except Exception as error:  # noqa: BLE001 - whatever it is, the seed must be told
            return f"seed {seed}: {error!r}"
    return None


@pytest.mark.parametrize("part", range(PART_COUNT))
def test_no_backup_loses_a_byte(part: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert broken_promise(range(part, SEED_COUNT, PART_COUNT), monkeypatch) is None


@pytest.mark.long
@pytest.mark.parametrize("part", range(PART_COUNT))
def test_no_backup_loses_a_byte_in_many_runs(part: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert broken_promise(range(SEED_COUNT + part, MANY, PART_COUNT), monkeypatch) is None


def test_a_seed_gives_the_same_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    stores = []
    for _ in range(2):
        world = World(11, RIGHT)
        run(world, monkeypatch)
        stores.append({key: data for key, (data, _) in world.scene.store.objects.items()})
    assert stores[0] == stores[1]


BROKEN = {
    "does not wait for sessions": Habits(waits_for_sessions=False),
    "does not read the registers again": Habits(looks_again=False),
    "gives up on sessions without deciding": Habits(decides_registers=False),
}


@pytest.mark.parametrize("habits", BROKEN.values(), ids=BROKEN.keys())
def test_a_prune_that_leaves_out_a_rule_is_found_out(
    habits: Habits, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert re.search(LOSS, broken_promise(range(400), monkeypatch, habits) or "none")
