"""The n-th call to the store goes wrong, for every n and in every way: nothing else may.

Each case either completes correctly or raises one error of the right class; what was listed before
restores bit by bit; nothing half visible is listed; the next backup works.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest

from backupcore.driver import Driver
from backupcore.errors import BackupError, Damaged, StoreError, StoreFull, Unavailable
from backupcore.operation.delete import delete
from backupcore.operation.verify import Depth, verify
from backupcore.repository import Repository
from backupcore.testing.fault import Action, FaultyDriver, Rule
from backupcore.volume.memory import MemoryVolume
from tests.operation.scene import INLINE, Scene, back_up, chunks, restored, same

FIRST = bytes(chunks(1, 2, None, 3, 3, 4, *range(10, 20)))
SECOND = bytes(chunks(1, 5, 6, 3, None, 4, *range(10, 20)))
THIRD = bytes(chunks(7, 5, 6, 3, None, None, *range(10, 18)))


@dataclass(frozen=True)
class Before:
    """A store with two backups; every run works on a copy of it."""

    scene: Scene
    first: str
    second: str

    @property
    def held(self) -> dict[str, bytes]:
        return {self.first: FIRST, self.second: SECOND}


@pytest.fixture(scope="module")
def before() -> Before:
    scene = Scene()
    with scene.open() as repository:
        first = back_up(repository, MemoryVolume(FIRST))
        second = back_up(repository, MemoryVolume(SECOND))
    return Before(scene, first.id, second.id)


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, "backupcore")  # thousands of retries are not worth their text


Work = Callable[[Repository, Before], dict[str, bytes]]


def full(repository: Repository, before: Before) -> dict[str, bytes]:
    done = back_up(repository, MemoryVolume(THIRD), base=None)
    return {**before.held, done.id: THIRD}


def incremental(repository: Repository, before: Before) -> dict[str, bytes]:
    done = back_up(repository, MemoryVolume(THIRD))
    assert done.is_incremental
    return {**before.held, done.id: THIRD}


def restoring(repository: Repository, before: Before) -> dict[str, bytes]:
    assert same(restored(repository, before.second), SECOND)
    return before.held


def deleting(repository: Repository, before: Before) -> dict[str, bytes]:
    delete(repository, before.first)
    return {before.second: SECOND}


def verifying(repository: Repository, before: Before) -> dict[str, bytes]:
    found = verify(repository, depth=Depth.DATA, tuning=INLINE)
    assert (found.losses, found.backup_count) == ((), 2)
    return before.held


WORKS: list[Work] = [full, incremental, restoring, deleting, verifying]


def call_count(before: Before, work: Work) -> int:
    faulty = FaultyDriver(before.scene.copy().driver)
    scene = before.scene.copy()
    faulty.below = scene.driver
    with scene.open(driver=faulty) as repository:
        work(repository, before)
    return faulty.call_count


def run(
    before: Before, work: Work, fault: Callable[[Driver], FaultyDriver]
) -> tuple[Scene, dict[str, bytes] | BackupError]:
    """Do work on a copy of the store through a fault; return what is left and what came of it."""
    scene = before.scene.copy()
    with scene.open(driver=fault(scene.driver)) as repository:
        try:
            return scene, work(repository, before)
        except BackupError as error:
            return scene, error


def hit_by(rule: Rule) -> Callable[[Driver], FaultyDriver]:
    return lambda below: FaultyDriver(below, rule)


def ending(after: int, error: BackupError, *, is_done: bool) -> Callable[[Driver], FaultyDriver]:
    return lambda below: Ending(below, after, error, is_done=is_done)


def check_afterwards(
    before: Before, work: Work, scene: Scene, outcome: dict[str, bytes] | BackupError
) -> None:
    """Check what is listed and restored, and that the next backup works."""
    expected = outcome if isinstance(outcome, dict) else before.held
    if work is deleting and isinstance(outcome, BackupError):
        with scene.open() as repository:
            listed = {done.id for done in repository.backups()}
        expected = {key: held for key, held in before.held.items() if key in listed}
        assert before.second in expected
    scene.check(expected)
    with scene.open() as repository:
        after = back_up(repository, MemoryVolume(THIRD))
        assert same(restored(repository, after.id), THIRD)


@pytest.mark.parametrize("work", WORKS)
@pytest.mark.parametrize("action", [Action.FAIL_BEFORE, Action.FAIL_AFTER])
def test_one_call_that_is_unavailable_or_loses_its_reply_changes_nothing(
    before: Before, work: Work, action: Action
) -> None:
    for nth in range(1, call_count(before, work) + 1):
        rule = Rule("*", action, nth=nth)
        scene, outcome = run(before, work, hit_by(rule))
        assert isinstance(outcome, dict), (nth, outcome)
        check_afterwards(before, work, scene, outcome)
        assert scene.listed("sessions/") == [], nth


CLASSES: dict[Action, tuple[type[BackupError], ...]] = {
    Action.FULL: (StoreFull,),
    Action.SHORT: (StoreError, Damaged),
    Action.VANISH: (StoreError, Damaged),
    Action.CORRUPT: (Damaged,),
}
OPERATIONS = {Action.FULL: "put", Action.VANISH: "get", Action.CORRUPT: "get"}


@pytest.mark.parametrize("work", WORKS)
@pytest.mark.parametrize("action", list(CLASSES))
def test_one_call_that_goes_wrong_ends_in_one_clear_error_or_not_at_all(
    before: Before, work: Work, action: Action
) -> None:
    for nth in range(1, call_count(before, work) + 1):
        rule = Rule(OPERATIONS.get(action, "*"), action, nth=nth)
        try:
            scene, outcome = run(before, work, hit_by(rule))
        except AssertionError:
            assert (work, action) in HONEST
            continue
        if isinstance(outcome, BackupError):
            assert isinstance(outcome, CLASSES[action]), (nth, outcome)
        check_afterwards(before, work, scene, outcome)


HONEST = {
    (verifying, Action.VANISH),  # a loss is what it is there to report
    (verifying, Action.CORRUPT),
    (verifying, Action.SHORT),
}


class Ending(FaultyDriver):
    """Does the first calls, then none: every later one finds the store gone, or full."""

    def __init__(self, below: Driver, after: int, error: BackupError, *, is_done: bool) -> None:
        super().__init__(below)
        self._after = after
        self._error = error
        self._is_done = is_done

    def _begin(self, operation: str, keys: Sequence[str]) -> Action | None:
        super()._begin(operation, keys)
        if self.call_count <= self._after:
            return None
        if isinstance(self._error, StoreFull):
            return Action.FULL if operation == "put" else None
        if self._is_done and self.call_count == self._after + 1:
            return Action.FAIL_AFTER
        raise self._error


@pytest.mark.parametrize("work", WORKS)
@pytest.mark.parametrize("is_done", [False, True], ids=["not done", "reply lost"])
def test_a_store_that_goes_away_for_good_is_said_to_be_unavailable(
    before: Before, work: Work, is_done: bool
) -> None:
    for after in range(call_count(before, work)):
        scene, outcome = run(before, work, ending(after, Unavailable("gone"), is_done=is_done))
        if isinstance(outcome, BackupError):
            assert isinstance(outcome, Unavailable), (after, outcome)
        if is_done and work in (full, incremental) and isinstance(outcome, BackupError):
            outcome = whatever_was_committed(before, scene, outcome)
        check_afterwards(before, work, scene, outcome)


def whatever_was_committed(
    before: Before, scene: Scene, error: BackupError
) -> dict[str, bytes] | BackupError:
    """Return what is held when the manifest's own reply was the last that was lost."""
    with scene.open() as repository:
        fresh = [done.id for done in repository.backups() if done.id not in before.held]
    return {**before.held, **dict.fromkeys(fresh, THIRD)} if fresh else error


@pytest.mark.parametrize("work", WORKS)
def test_a_store_that_is_full_is_said_to_be_full(before: Before, work: Work) -> None:
    for after in range(call_count(before, work)):
        scene, outcome = run(before, work, ending(after, StoreFull("full"), is_done=False))
        if isinstance(outcome, BackupError):
            assert isinstance(outcome, StoreFull), (after, outcome)
        check_afterwards(before, work, scene, outcome)


@pytest.mark.parametrize("work", [restoring, verifying])
def test_a_full_store_is_restored_from_and_verified(before: Before, work: Work) -> None:
    _, outcome = run(before, work, lambda below: FaultyDriver(below, full_after_bytes=0))
    assert isinstance(outcome, dict)
