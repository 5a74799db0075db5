"""Runs several processes of a simulation one call to the store at a time, in an order a seed gives.

Each process is a thread that stops before every call until the scheduler lets it go on; never do
two run at once, so that a seed gives the same run every time.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress

from backupcore.driver import Buffer, Driver, ObjectInfo, Role
from backupcore.driver.layer import Layer
from backupcore.errors import ObjectExists, Unavailable
from backupcore.runtime import Process
from tests.driver.fake_clock import FakeClock

STEPS_MAX = 20_000
STEP_S_MAX = 8.0


class Death(BaseException):
    """The process was killed."""


class Actor:
    """A process: a name, what it does, and how it ended.

    is_gone: whether others take it for ended; a zombie is, and runs on. at: the call it waits to
    do, such as `put backups/…`.
    """

    def __init__(self, pid: int, work: Callable[[Actor], None]) -> None:
        self.process = Process("simulated", "boot", pid, "1", "scope")
        self.work = work
        self.thread = threading.Thread()
        self.go = threading.Semaphore(0)
        self.is_killed = self.is_gone = self.is_done = False
        self.error: BaseException | None = None
        self.at = ""


class Scheduler:
    """Chooses who does the next call; all chance of a run comes from it."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.clock = FakeClock()
        self.actors: list[Actor] = []
        self.late: list[Callable[[], None]] = []
        self.change_share = self.chance.choice([0.03, 0.1, 0.3])
        self.kill_share = self.chance.choice([0.0, 0.0, 0.01])
        self.zombie_share = self.chance.choice([0.0, 0.0, 0.03])
        self.lost_share = self.chance.choice([0.0, 0.0, 0.05])
        self._back = threading.Semaphore(0)
        self._weights: list[float] = []

    def add(self, work: Callable[[Actor], None]) -> Actor:
        """Add a process; it starts when it is first chosen."""
        actor = Actor(len(self.actors) + 1, work)
        self.actors.append(actor)
        actor.thread = threading.Thread(target=self._live, args=(actor,), daemon=True)
        actor.thread.start()
        return actor

    def lead(self, actor: Actor, until: str | None = None) -> None:
        """Let one process alone run until it is about to do a call, or to its end."""
        for _ in range(STEPS_MAX):
            if actor.is_done or (until is not None and actor.at.startswith(until)):
                return
            self.step(actor)
        raise AssertionError(f"it never comes to {until}")

    def run(self) -> None:
        """Let all processes run to their ends. Raises what one raised beyond being killed."""
        for _ in range(STEPS_MAX):
            living = [actor for actor in self.actors if not actor.is_done]
            if not living:
                break
            self._step_any(living)
        else:
            raise AssertionError("the processes never end")
        for actor in self.actors:
            actor.thread.join()
        for apply in self.late:
            apply()
        self.late.clear()
        for actor in self.actors:
            if actor.error is not None:
                raise actor.error

    def wait_turn(self, actor: Actor, call: str) -> None:
        """Stop before a call until the process is chosen again. Raises: Death."""
        actor.at = call
        self._back.release()
        actor.go.acquire()
        if actor.is_killed:
            raise Death

    def is_gone(self, process: Process) -> bool:
        """Return whether a process is taken for ended."""
        return any(actor.process == process and actor.is_gone for actor in self.actors)

    def _step_any(self, living: list[Actor]) -> None:
        chance = self.chance
        if not self._weights or chance.random() < self.change_share:
            self._weights = [chance.choice([0.001, 0.3, 1.0, 5.0]) for _ in self.actors]
        weights = [self._weights[self.actors.index(actor)] for actor in living]
        (actor,) = chance.choices(living, weights)
        self.clock.time_s += chance.random() * STEP_S_MAX
        if chance.random() < self.kill_share:
            actor.is_killed = actor.is_gone = True
        elif chance.random() < self.zombie_share:
            actor.is_gone = True
        if self.late and chance.random() < 0.05:
            self.late.pop(chance.randrange(len(self.late)))()
        self.step(actor)

    def step(self, actor: Actor) -> None:
        """Let a process do its next call."""
        actor.go.release()
        self._back.acquire()

    def _live(self, actor: Actor) -> None:
        actor.go.acquire()
        try:
            if not actor.is_killed:
                actor.work(actor)
        except Death:
            pass
        except BaseException as error:  # noqa: BLE001 - raised again by `run`
            actor.error = error
        finally:
            actor.is_done = True
            self._back.release()


class Scheduled(Layer):
    """The store as one process sees it: every call waits for its turn, listings come in pages."""

    def __init__(self, below: Driver, scheduler: Scheduler, actor: Actor) -> None:
        super().__init__(below)
        self._scheduler = scheduler
        self._actor = actor

    def put(
        self,
        key: str,
        parts: Sequence[Buffer],
        *,
        if_absent: bool = False,
        role: Role = Role.DATA,
    ) -> None:
        """Put; the put of a process that is killed meanwhile may come late."""

        def apply() -> None:
            with suppress(ObjectExists):
                self.below.put(key, parts, if_absent=if_absent, role=role)

        try:
            self._scheduler.wait_turn(self._actor, f"put {key}")
        except Death:
            if self._scheduler.chance.random() < 0.5:
                self._scheduler.late.append(apply)
            raise
        self.below.put(key, parts, if_absent=if_absent, role=role)
        if self._scheduler.chance.random() < self._scheduler.lost_share:
            raise Unavailable("reply lost")

    def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        """Get."""
        self._scheduler.wait_turn(self._actor, f"get {key}")
        return self.below.get(key, offset, length)

    def get_into(self, key: str, offset: int, buffer: Buffer) -> int:
        """Get."""
        self._scheduler.wait_turn(self._actor, f"get {key}")
        return self.below.get_into(key, offset, buffer)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """List a few names at a time; others may change what follows."""
        last, page = "", self._scheduler.chance.choice([1, 3, 1000])
        while True:
            self._scheduler.wait_turn(self._actor, f"list {prefix}")
            left = [info for info in self.below.list(prefix) if info.key > last]
            yield from left[:page]
            if len(left) <= page:
                return
            last = left[page - 1].key

    def delete(self, keys: Iterable[str]) -> None:
        """Delete one by one."""
        for key in keys:
            self._scheduler.wait_turn(self._actor, f"delete {key}")
            self.below.delete([key])
