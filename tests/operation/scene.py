"""A repository in memory whose clock, chance, processes and faults belong to the test."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from backupcore.config import Tuning
from backupcore.driver import Driver, Role
from backupcore.driver.memory import MemoryDriver, MemoryStore
from backupcore.driver.pace import Retrying
from backupcore.model import Backup, Grid
from backupcore.operation.backup import BackupRequest, backup
from backupcore.operation.restore import restore
from backupcore.operation.retrieve.survey import Survey
from backupcore.operation.verify import Depth, verify
from backupcore.repository import Repository
from backupcore.repository.control import Config, Domain
from backupcore.repository.key import CONFIG, DATA, MAP, domain_key, pack_id
from backupcore.runtime import Process, Runtime
from backupcore.testing.fault import Action, FaultyDriver, Rule
from backupcore.units import KIB
from backupcore.volume import Volume
from backupcore.volume.memory import MemoryVolume
from tests.driver.fake_clock import FakeClock

CHUNK = 4 * KIB
GRID = Grid(CHUNK, 4 * CHUNK)
LEAF_LENGTH = CHUNK * 1024
INLINE = replace(Tuning.inline(), slab_size_bytes=16 * CHUNK, pack_size_bytes=64 * KIB)
THREADS = replace(INLINE, workers=3, readers=2, uploaders=3, fetchers=3)
ELSEWHERE = Process("elsewhere", "", 1, "1", "another machine")


class TickingClock(FakeClock):
    """Moves a little with every look at the wall clock, so that no two backups are of one time."""

    def now(self) -> datetime:
        self.time_s += 0.001
        return super().now()


class Scene:
    """What lies in one store, and ways to open it as one of several processes."""

    def __init__(self, seed: int = 0, *, driver: Driver | None = None, grid: Grid = GRID) -> None:
        self.store = MemoryStore()
        self.clock = TickingClock()
        self.chance = random.Random(seed)
        self._driver = driver
        runtime = self.runtime()
        domain = Domain(runtime.new_id(), runtime.random_bytes(32))
        self.config = Config(
            runtime.new_id(), self.clock.now(), domain.domain_id, grid, 1, registry="store"
        )
        self.driver.put(domain_key(domain.domain_id), domain.seal(), role=Role.CONTROL)
        self.driver.put(CONFIG, self.config.seal(), role=Role.CONTROL)

    @property
    def driver(self) -> Driver:
        """The store itself, without any layer."""
        return self._driver or MemoryDriver(self.store)

    def copy(self) -> Scene:
        """Return a scene of its own with the same objects in memory."""
        twin = Scene.__new__(Scene)
        twin.store = MemoryStore(dict(self.store.objects))
        twin.clock, twin._driver, twin.config = TickingClock(), None, self.config
        twin.clock.time_s = self.clock.time_s
        twin.chance = random.Random()
        twin.chance.setstate(self.chance.getstate())
        return twin

    def runtime(self, process: Process | None = None) -> Runtime:
        """Return a runtime of the scene's clock and chance."""
        return Runtime(
            clock=self.clock,
            random_bytes=self.chance.randbytes,
            process=process or Process.current(),
        )

    def open(
        self, *rules: Rule, process: Process | None = None, driver: Driver | None = None
    ) -> Repository:
        """Open the repository as one process does, with faults below its retries."""
        runtime = self.runtime(process)
        below = driver or FaultyDriver(self.driver, *rules)
        return Repository(
            Retrying(below, runtime=runtime), self.config, runtime=runtime, cache=None, url="scene"
        )

    def listed(self, prefix: str = "") -> list[str]:
        """Return what is stored under a prefix."""
        return [info.key for info in self.driver.list(prefix)]

    def check(self, expected: Mapping[str, bytes]) -> None:
        """Check that exactly these backups are listed and that each restores to its bytes."""
        with self.open() as repository:
            assert {done.id for done in repository.backups()} == set(expected)
            for backup_id, content in expected.items():
                assert same(restored(repository, backup_id), content), backup_id

    def check_sound(self) -> None:
        """Check that reading every byte finds nothing lost."""
        with self.open() as repository:
            assert verify(repository, depth=Depth.DATA, tuning=INLINE).losses == ()


def back_up(
    repository: Repository,
    volume: Volume,
    *,
    base: str | None = "latest",
    backup_id: str | None = None,
    tuning: Tuning = INLINE,
) -> Backup:
    """Back up without threads."""
    request = BackupRequest(backup_id=backup_id)
    return backup(volume, repository, base=base, request=request, tuning=tuning)


def restored(repository: Repository, backup_id: str, tuning: Tuning = INLINE) -> bytes:
    """Return the bytes of a whole backup, restored over noise."""
    size = repository.find_backup(backup_id).size_bytes
    target = MemoryVolume(bytearray(b"\xa5" * size))
    restore(repository, backup_id, target, tuning=tuning)
    return bytes(target.content)


def same(first: bytes | bytearray, second: bytes | bytearray) -> bool:
    """Return whether bytes are equal; a plain == would have megabytes explained."""
    return first == second


def noise(seed: int, length: int) -> bytes:
    """Return bytes that do not compress and that no other seed gives."""
    return random.Random(seed).randbytes(length)


def chunks(*seeds: int | None) -> bytearray:
    """Return one chunk of noise for each seed, of zeros for None."""
    parts = (bytes(CHUNK) if seed is None else noise(seed, CHUNK) for seed in seeds)
    return bytearray(b"".join(parts))


def packs_of(repository: Repository, backup_id: str) -> set[str]:
    """Return the keys of every data and map pack that a backup's map reaches."""
    manifest = repository.manifest(backup_id)
    done = manifest.backup

    def lost(error: Exception, offset: int, length: int) -> None:
        raise error

    survey = Survey(repository.tree(manifest), done.grid.chunk_size_bytes, done.size_bytes, lost)
    found = set[str]()
    for item in survey.items(wants_leaf=lambda row: True):
        found.add(pack_id(MAP, bytes(item.row["pack"])))
        if item.leaf is not None:
            found |= {pack_id(DATA, pack) for pack in item.leaf.live().packs.tolist()}
        if item.node is not None:
            found |= {pack_id(DATA, pack) for pack in item.node.packs.tolist()}
    return found


class Recording(FaultyDriver):
    """Writes down every call: its operation and the keys it names, a prefix for a listing."""

    def __init__(self, below: Driver, *rules: Rule) -> None:
        super().__init__(below, *rules)
        self.calls: list[tuple[str, str]] = []

    def _begin(self, operation: str, keys: Sequence[str]) -> Action | None:
        self.calls += [(operation, key) for key in keys]
        return super()._begin(operation, keys)

    def folders(self, *operations: str) -> list[tuple[str, str]]:
        """Return the calls of some operations, or of all, with the first part of each key."""
        return [
            (operation, key.partition("/")[0])
            for operation, key in self.calls
            if not operations or operation in operations
        ]
