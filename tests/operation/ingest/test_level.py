from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace

import pytest

from backupcore.chunk.frame import FrameEncoder
from backupcore.config import AUTO
from backupcore.driver import Role
from backupcore.driver.memory import MemoryDriver
from backupcore.driver.relay import Layer
from backupcore.model import Buffer
from backupcore.operation.backup import BackupRequest, backup
from backupcore.operation.ingest.level import AUTO_LEVELS, LevelChoice, StoreState
from backupcore.units import MIB
from backupcore.volume.memory import MemoryVolume
from tests.operation.scene import CHUNK, INLINE, Scene, noise, restored, same


def after(choice: LevelChoice, *states: tuple[StoreState, int]) -> int:
    for state, count in states:
        for _ in range(count):
            choice.observe(state)
    return choice.level


def test_a_level_that_was_asked_for_stays() -> None:
    assert after(LevelChoice(7), (StoreState.BEHIND, 100), (StoreState.IDLE, 100)) == 7


def test_the_level_rises_while_packs_pile_up_and_falls_while_none_is_on_its_way() -> None:
    choice = LevelChoice(None)
    assert after(choice) == AUTO_LEVELS[0]
    assert after(choice, (StoreState.BEHIND, 4)) == AUTO_LEVELS[1]
    assert after(choice, (StoreState.BEHIND, 100)) == AUTO_LEVELS[-1]
    assert after(choice, (StoreState.IDLE, 4)) == AUTO_LEVELS[-2]
    assert after(choice, (StoreState.IDLE, 100)) == AUTO_LEVELS[0]


def test_the_level_stays_while_the_store_is_busy_and_keeps_up() -> None:
    choice = LevelChoice(None)
    after(choice, (StoreState.BEHIND, 4))
    steady = ((StoreState.BEHIND, 3), (StoreState.BUSY, 1)) * 10
    assert after(choice, *steady) == AUTO_LEVELS[1]


class Slow(Layer):
    """A store that takes its time over every data pack."""

    def put(
        self,
        key: str,
        parts: Sequence[Buffer],
        *,
        if_absent: bool = False,
        role: Role = Role.DATA,
    ) -> None:
        if role is Role.DATA:
            threading.Event().wait(0.02)
        self.below.put(key, parts, if_absent=if_absent, role=role)


def levels_used(monkeypatch: pytest.MonkeyPatch, *, is_slow: bool) -> set[int]:
    """Back up with the level left open; return the levels that frames were made with."""
    used: set[int] = set()
    plain_init = FrameEncoder.__init__

    def init(self: FrameEncoder, level: int) -> None:
        used.add(level)
        plain_init(self, level)

    monkeypatch.setattr(FrameEncoder, "__init__", init)
    scene = Scene()
    store = MemoryDriver(scene.store)
    tuning = replace(INLINE, workers=2, uploaders=int(is_slow), memory_bytes=MIB)
    content = noise(1, 600 * CHUNK)
    with scene.open(driver=Slow(store) if is_slow else store) as repository:
        request = BackupRequest(level=AUTO)
        done = backup(MemoryVolume(content), repository, request=request, tuning=tuning)
        assert same(restored(repository, done.id), content)
    return used


def test_a_slow_store_makes_compression_try_harder(monkeypatch: pytest.MonkeyPatch) -> None:
    assert max(levels_used(monkeypatch, is_slow=True)) > AUTO_LEVELS[0]


def test_a_quick_store_leaves_compression_at_its_fastest(monkeypatch: pytest.MonkeyPatch) -> None:
    assert levels_used(monkeypatch, is_slow=False) == {AUTO_LEVELS[0]}
