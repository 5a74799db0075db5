"""One run of the simulation: a store with some backups, and processes that all work at it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from backupcore.config import Dedup, Tuning
from backupcore.driver.memory import MemoryDriver
from backupcore.driver.pace import Retrying
from backupcore.errors import BackupError
from backupcore.model import Grid
from backupcore.operation.backup import BackupRequest, backup
from backupcore.operation.delete import delete
from backupcore.repository import Repository
from backupcore.repository.cache import Cache
from backupcore.runtime import Runtime
from backupcore.volume.memory import MemoryVolume
from tests.operation.scene import CHUNK, ELSEWHERE, Scene, noise, restored
from tests.simulation.prune import Habits, condemn_unreferenced, referenced_packs, sweep
from tests.simulation.scheduler import Actor, Scheduled, Scheduler

CHUNKS = {seed: noise(seed, CHUNK) for seed in range(6)}
CELL_COUNT = 6
TUNING = replace(Tuning.inline(), slab_size_bytes=3 * CHUNK, pack_size_bytes=3 * CHUNK)
VOLUMES = ("one", "two")


class World:
    """A store, what every backup in it must hold, and the processes to come.

    contents: what a volume held, by the name that its backup was given. shared: the cache of all
    processes; with it, backups look for chunks in the whole domain.
    """

    @classmethod
    def empty(cls) -> World:
        """Return a world without backups and processes, for those who lead their own."""
        world = cls(0, Habits(), is_empty=True)
        world.scheduler.kill_share = world.scheduler.zombie_share = 0.0
        world.scheduler.lost_share = 0.0
        return world

    def __init__(
        self, seed: int, habits: Habits, *, is_empty: bool = False, shared: Path | None = None
    ) -> None:
        self.shared = shared
        self.scheduler = Scheduler(seed)
        self.chance = self.scheduler.chance
        self.habits = habits
        self.scene = Scene(seed, grid=Grid(CHUNK, CHUNK))
        self.scene.clock = self.scheduler.clock  # type: ignore[assignment]
        self.contents: dict[str, bytes] = {}
        self.committed: dict[str, str] = {}
        self.deleted = set[str]()
        if not is_empty:
            self._populate()

    def _populate(self) -> None:
        with self.open() as repository:
            for _ in range(self.chance.randint(1, 2)):
                self._back_up(repository, "one", "latest")
        for work in self._cast():
            self.scheduler.add(work)

    def open(self, actor: Actor | None = None) -> Repository:
        """Open the repository, as one of the processes or from outside the simulation."""
        driver = MemoryDriver(self.scene.store, clock=self.scheduler.clock)
        if actor is None:
            return self.scene.open(driver=driver, process=ELSEWHERE)
        runtime = Runtime(
            clock=self.scheduler.clock,
            random_bytes=self.scene.chance.randbytes,
            process=actor.process,
        )
        scheduled = Scheduled(driver, self.scheduler, actor)
        retrying = Retrying(scheduled, runtime=runtime)
        cache = None
        if self.shared is not None:
            repository_id = self.scene.config.repository_id
            cache = Cache(self.shared, repository_id, random_bytes=self.scene.chance.randbytes)
        return Repository(retrying, self.scene.config, runtime=runtime, cache=cache, url="world")

    def run(self) -> None:
        """Run to the end, clean up as a last prune does, and check after both."""
        self.scheduler.run()
        with self.open() as repository:
            condemn_unreferenced(repository)
            sweep(repository, lambda: None, self.habits)
            self.check()
            left = {*self.scene.listed("data/"), *self.scene.listed("map/")}
            assert left == referenced_packs(repository), "garbage is left"

    def check(self) -> None:
        """Check that every backup there is holds what its volume held."""
        with self.open() as repository:
            for done in list(repository.backups()):
                content = restored(repository, done.id)
                assert content == self.contents[done.name], f"{done.id} has other bytes"
            listed = {done.id for done in repository.backups()}
        assert self.committed.keys() - self.deleted <= listed, "a committed backup is gone"

    def _cast(self) -> list[Callable[[Actor], None]]:
        """Return what two to four processes do; one writes and one prunes at least."""
        others = self.chance.choices(
            [self.write, self.write, self.prune, self.delete, self.read], k=2
        )
        return [self.write, self.prune, *others[: self.chance.randint(0, 2)]]

    def write(self, actor: Actor) -> None:
        """Back volumes up, one after another."""
        with self.open(actor) as repository:
            for _ in range(self.chance.randint(1, 2)):
                volume = self.chance.choice(VOLUMES[:1] * 3 + VOLUMES[1:])
                base = self.chance.choice(["latest", "latest", None])
                with suppress(BackupError):
                    self._back_up(repository, volume, base)

    def read(self, actor: Actor) -> None:
        """Restore a backup: it may fail when it is deleted meanwhile, it is never wrong."""
        with self.open(actor) as repository, suppress(BackupError):
            for done in list(repository.backups())[:1]:
                assert restored(repository, done.id) == self.contents[done.name], "wrong bytes"

    def delete(self, actor: Actor) -> None:
        """Delete backups, whichever there are."""
        with self.open(actor) as repository:
            for _ in range(self.chance.randint(1, 2)):
                with suppress(BackupError):
                    listed = [done.id for done in repository.backups()]
                    if listed:
                        chosen = self.chance.choice(listed)
                        self.deleted.add(chosen)
                        delete(repository, chosen)

    def prune(self, actor: Actor) -> None:
        """Condemn and sweep, with deletions before, between and after."""
        with self.open(actor) as repository:
            for step in self.chance.choice(["dcs", "cdsdcs", "cds", "csdcs", "ccddss"]):
                if step == "d":
                    self.delete(actor)
                with suppress(BackupError):
                    if step == "c":
                        condemn_unreferenced(repository)
                    elif step == "s":
                        patience = self.chance.choice([0, 1, 3, 30])
                        sweep(repository, self.check, replace(self.habits, patience=patience))

    def _back_up(self, repository: Repository, volume: str, base: str | None) -> None:
        cells = self.chance.choices([None, 0, 1, 2, 3, 4, 5], k=CELL_COUNT)
        content = b"".join(bytes(CHUNK) if seed is None else CHUNKS[seed] for seed in cells)
        name = f"{len(self.contents)}"
        self.contents[name] = content
        done = backup(
            MemoryVolume(content, name=volume),
            repository,
            base=base,
            request=BackupRequest(name=name, dedup=Dedup.DOMAIN if self.shared else Dedup.BASE),
            tuning=TUNING,
        )
        self.committed[done.id] = done.name
