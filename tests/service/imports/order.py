"""Every order in which a few actors can take their steps: each order is run once.

A step ends where an actor is about to change the catalog or to ask or change the store.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from backupcore.errors import BackupError
from backupcore.job import Engine, JobKind, JobOrder, JobRun, JobView, Perform
from backupcore.service import BackupWish, Service, Settings
from tests.service.scene import ALICE, Gate, Scene, settings

WAIT_S = 20.0
STEP_COUNT_MAX = 100
Work = Callable[[], object]


class Held(Engine):
    """Keeps orders until somebody performs them."""

    def __init__(self, perform: Perform) -> None:
        self._perform = perform
        self.orders: list[JobOrder] = []

    def submit(self, order: JobOrder) -> bool:
        self.orders.append(order)
        return True

    def watch(self, job_id: str) -> JobView | None:
        return None

    def jobs(self) -> list[JobView]:
        return []

    def cancel(self, job_id: str) -> bool:
        """Cancel nothing, as if the job ran in another process."""
        return False

    def perform(self, kind: JobKind, backup_id: str) -> None:
        """Perform the orders of a kind for a backup, which are forgotten."""
        chosen = [one for one in self.orders if (one.kind, one.backup_id) == (kind, backup_id)]
        self.orders = [one for one in self.orders if one not in chosen]
        for order in chosen:
            self.do(order, threading.Event())

    def do(self, order: JobOrder, stop: threading.Event) -> None:
        """Perform an order as a job that is told to stop by a flag."""
        self._perform(order, JobRun(stop, lambda done, total: None))


class Actor(threading.Thread):
    """Works until its next step, and goes on when it is told to."""

    def __init__(self, work: Work) -> None:
        super().__init__(daemon=True)
        self._work = work
        self._may_go, self._has_paused = threading.Semaphore(0), threading.Semaphore(0)
        self.is_done = False
        self.error: BaseException | None = None

    def run(self) -> None:
        self._may_go.acquire()
        try:
            self._work()
        except BackupError:  # what it was refused with the catalog tells
            pass
        except BaseException as error:  # noqa: BLE001 - a thread's root; the test raises it
            self.error = error
        finally:
            self.is_done = True
            self._has_paused.release()

    def pause(self) -> None:
        self._has_paused.release()
        self._may_go.acquire()

    def advance(self) -> None:
        self._may_go.release()
        assert self._has_paused.acquire(timeout=WAIT_S), "an actor waits for another one"
        if self.error is not None:
            raise self.error


def pausing(monkeypatch: pytest.MonkeyPatch, where: object, *names: str) -> None:
    """Let actors pause before they call functions."""
    for name in names:
        original = getattr(where, name)

        def call(*args: Any, original: Callable[..., Any] = original, **options: Any) -> Any:
            actor = threading.current_thread()
            if isinstance(actor, Actor):
                actor.pause()
            return original(*args, **options)

        monkeypatch.setattr(where, name, call)


def run_order(works: Sequence[Work], choices: Sequence[int]) -> list[tuple[int, tuple[int, ...]]]:
    """Run actors to their ends; return who took each step and who could have.

    choices: who takes the first steps, then whoever comes first; who has ended is skipped.
    """
    actors = [Actor(work) for work in works]
    for actor in actors:
        actor.start()
    taken: list[tuple[int, tuple[int, ...]]] = []
    wanted = iter(choices)
    while able := tuple(i for i, actor in enumerate(actors) if not actor.is_done):
        chosen = next((choice for choice in wanted if choice in able), able[0])
        actors[chosen].advance()
        taken.append((chosen, able))
    return taken


def every_order(prepare: Callable[[], Sequence[Work]]) -> Iterator[tuple[int, ...]]:
    """Run and yield every order; the caller looks at the outcome of each before the next."""
    left: list[tuple[int, ...]] = [()]
    while left:
        prefix = left.pop()
        taken = run_order(prepare(), prefix)
        order = tuple(choice for choice, _ in taken)
        for place in range(len(prefix), len(taken)):
            others = (other for other in taken[place][1] if other != order[place])
            left += [(*order[:place], other) for other in others]
        yield order


def some_orders(
    prepare: Callable[[], Sequence[Work]], count: int, seed: int
) -> Iterator[tuple[int, ...]]:
    """Run and yield so many orders drawn at random, where there are too many for all."""
    chance = random.Random(seed)
    for _ in range(count):
        works = prepare()
        taken = run_order(works, [chance.randrange(len(works)) for _ in range(STEP_COUNT_MAX)])
        yield tuple(choice for choice, _ in taken)


class HeldScene(Scene):
    """A scene whose jobs run when they are told to."""

    @property
    def held(self) -> Held:
        engine = self.service.engine
        assert isinstance(engine, Held)
        return engine

    def make(self) -> str:
        """Make a backup of `data` at once and return its id."""
        row = self.service.backups.create(ALICE, BackupWish(volume_id=self.volume.id))
        self.held.perform(JobKind.CREATE, row.id)
        return row.id


def held_scene(folder: Path) -> HeldScene:
    """Start a service whose jobs are held; the caller closes it."""

    def engine(perform: Perform, given: Settings, lane_limits: Mapping[str, int]) -> Held:
        return Held(perform)

    quotas = {"backups": -1, "backup_gigabytes": -1}
    service = Service(settings(folder, quotas=quotas), make_engine=engine)
    service.start()
    return HeldScene(folder, service, Gate())
