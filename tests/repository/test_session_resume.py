"""Sessions that ended too early: who takes them up, what is sent again, and zombie twins."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from backupcore.driver import Driver
from backupcore.errors import SessionFenced, Stopped
from backupcore.model import Backup
from backupcore.operation.backup import backup
from backupcore.repository.control import Lease
from backupcore.repository.key import DATA, pack_reference
from backupcore.repository.manifest import State
from backupcore.repository.pack import DataFooter, read_footer
from backupcore.runtime import Process
from backupcore.testing.fault import Action, FaultyDriver, Rule
from backupcore.volume.memory import MemoryVolume
from tests.operation.scene import (
    CHUNK,
    ELSEWHERE,
    INLINE,
    Scene,
    back_up,
    chunks,
    noise,
    restored,
    same,
)
from tests.operation.volumes import WatchedVolume, nth_time

CONTENT = bytes(chunks(*range(50), None, *range(60, 80)))
CHUNK_COUNT = 70
# no process has this number: it is beyond what the kernel gives out
GONE = replace(Process.current(), pid=(1 << 22) + 1, started="1")


class Death(BaseException):
    """The process is gone; nothing of it runs any more."""


class Dying(FaultyDriver):
    """Does so many calls, then dies at each."""

    def __init__(self, below: Driver, after: int) -> None:
        super().__init__(below)
        self._after = after

    def _begin(self, operation: str, keys: Sequence[str]) -> Action | None:
        if self.call_count >= self._after:
            raise Death
        return super()._begin(operation, keys)


def crash(scene: Scene, after: int, process: Process = GONE, content: bytes = CONTENT) -> bool:
    """Back up as a process that dies after so many calls; return whether it did."""
    driver = Dying(scene.driver, after)
    with scene.open(driver=driver, process=process) as repository:
        try:
            back_up(repository, MemoryVolume(content))
        except Death:
            return True
    return False


def leases(scene: Scene) -> list[Lease]:
    return [Lease.open(scene.driver.get(key), key) for key in scene.listed("sessions/")]


def stored_chunks(scene: Scene) -> int:
    """Return how many chunks lie in all data packs, as their footers say."""
    count = 0
    for info in scene.driver.list(f"{DATA.folder}/"):
        assert pack_reference(info.key)
        footer = read_footer(scene.driver, info.key, info.size_bytes)  # type: ignore[arg-type]
        count += len(DataFooter.parse(footer).cells)
    return count


def every_crash() -> Iterator[Scene]:
    """Yield a scene for each number of calls after which a backup may die, lease put."""
    after = 1
    while True:
        scene = Scene(after)
        if not crash(scene, after):
            return
        after += 1
        if scene.listed("sessions/"):
            yield scene


def test_a_crash_lists_nothing_and_the_next_backup_is_whole() -> None:
    for scene in every_crash():
        with scene.open() as repository:
            committed = [done.id for done in repository.backups()]
            done = back_up(repository, MemoryVolume(CONTENT))
        scene.check({**dict.fromkeys(committed, CONTENT), done.id: CONTENT})
        assert scene.listed("sessions/") == []


def test_a_session_of_a_process_that_is_gone_is_taken_up_under_the_same_id() -> None:
    for scene in every_crash():
        (lease, *_) = leases(scene)
        with scene.open() as repository:
            if list(repository.backups()):
                continue
            done = back_up(repository, MemoryVolume(CONTENT))
        assert lease.register is not None
        assert done.id == lease.register.backup_id


def test_no_chunk_is_sent_twice() -> None:
    for scene in every_crash():
        with scene.open() as repository:
            before = stored_chunks(scene)
            done = back_up(repository, MemoryVolume(CONTENT))
        assert (stored_chunks(scene), before + done.sums.chunk_count) == (CHUNK_COUNT,) * 2


@pytest.mark.parametrize("is_incremental", [False, True])
def test_a_volume_that_changed_before_it_was_taken_up_comes_back_changed(
    is_incremental: bool,
) -> None:
    for after in range(6, 40, 3):
        scene, content = Scene(), bytearray(CONTENT)
        if is_incremental:
            with scene.open() as repository:
                back_up(repository, MemoryVolume(bytes(chunks(*range(25)))))
        crash(scene, after)
        content[10 * CHUNK : 11 * CHUNK] = bytes(CHUNK)
        content[30 * CHUNK : 40 * CHUNK] = noise(99, 10 * CHUNK)
        content += noise(3, 100)
        with scene.open() as repository:
            done = back_up(repository, MemoryVolume(content))
            assert same(restored(repository, done.id), content)
        scene.check_sound()


def test_a_session_taken_up_again_and_again_ends_whole() -> None:
    scene = Scene()
    for after in (8, 9, 10, 12, 14):
        crash(scene, after)
    with scene.open() as repository:
        done = back_up(repository, MemoryVolume(CONTENT))
    scene.check({done.id: CONTENT})
    assert stored_chunks(scene) == CHUNK_COUNT


def test_a_damaged_pack_of_the_session_is_sent_again() -> None:
    scene = Scene()
    crash(scene, 9)
    key = scene.listed("data/")[0]
    data, modified = scene.store.objects[key]
    scene.store.objects[key] = (data[:-200] + bytes(200), modified)
    with scene.open() as repository:
        done = back_up(repository, MemoryVolume(CONTENT))
        assert same(restored(repository, done.id), CONTENT)


LIVING = {"elsewhere": ELSEWHERE, "still running": Process.current()}


@pytest.mark.parametrize("process", LIVING.values(), ids=LIVING.keys())
def test_a_session_whose_process_may_live_is_left_alone(process: Process) -> None:
    scene = Scene()
    crash(scene, 9, process)
    (lease,) = leases(scene)
    with scene.open() as repository:
        done = back_up(repository, MemoryVolume(CONTENT))
    assert lease.register is not None
    assert done.id != lease.register.backup_id
    assert [left.session_id for left in leases(scene)] == [lease.session_id]


def test_a_session_of_another_volume_is_left_alone() -> None:
    scene = Scene()
    crash(scene, 9)
    with scene.open() as repository:
        back_up(repository, MemoryVolume(CONTENT, name="other"))
    assert len(leases(scene)) == 1


def test_a_session_of_another_chunk_size_is_left_alone() -> None:
    scene = Scene()
    crash(scene, 9)
    scene.config = replace(scene.config, grid=replace(scene.config.grid, chunk_size_bytes=8192))
    with scene.open() as repository:
        done = back_up(repository, MemoryVolume(CONTENT))
        assert same(restored(repository, done.id), CONTENT)
    assert len(leases(scene)) == 1


def test_an_asked_for_id_takes_up_its_own_session_only() -> None:
    scene = Scene()
    crash(scene, 9)
    (lease,) = leases(scene)
    assert lease.register is not None
    with scene.open() as repository:
        other = back_up(
            repository, MemoryVolume(CONTENT), backup_id="00000000-0000-4000-8000-000000000000"
        )
        own = back_up(repository, MemoryVolume(CONTENT), backup_id=lease.register.backup_id)
    assert (other.sums.chunk_count, own.id) == (CHUNK_COUNT, lease.register.backup_id)
    assert leases(scene) == []


def test_a_retry_by_id_gives_up_on_whoever_is_at_it_elsewhere() -> None:
    scene, retried = Scene(), list[Backup]()

    def retry() -> None:
        (lease,) = leases(scene)
        assert lease.register is not None
        with scene.open() as repository:
            volume = MemoryVolume(CONTENT)
            retried.append(back_up(repository, volume, backup_id=lease.register.backup_id))

    rule = Rule("put", Action.CALL, key="data/*", callback=retry)
    with scene.open(rule, process=ELSEWHERE) as repository, pytest.raises(SessionFenced):
        back_up(repository, MemoryVolume(CONTENT))
    scene.check({done.id: CONTENT for done in retried})
    assert [key[-1] for key in scene.listed("backups/")] == ["0", "1"]


def test_a_session_that_was_given_up_on_is_not_taken_up() -> None:
    scene = Scene()
    crash(scene, 9)
    (lease,) = leases(scene)
    assert lease.register is not None
    with scene.open() as repository:
        repository.registers.put(lease.register, State.ABORTED, "f" * 32, {})
        done = back_up(repository, MemoryVolume(CONTENT))
    assert (done.id != lease.register.backup_id, leases(scene)) == (True, [])


class Flag:
    """A stop flag that is set by hand."""

    def __init__(self) -> None:
        self.is_raised = False

    def set(self) -> None:
        self.is_raised = True

    def is_set(self) -> bool:
        return self.is_raised

    def wait(self, timeout: float | None = None) -> bool:
        return self.is_raised


def test_a_stopped_backup_is_taken_up_by_the_same_process() -> None:
    scene, flag = Scene(), Flag()
    volume = WatchedVolume(bytearray(CONTENT), nth_time(3, flag.set))
    with scene.open() as repository:
        with pytest.raises(Stopped):
            backup(volume, repository, tuning=INLINE, stop=flag)
        before = stored_chunks(scene)
        done = back_up(repository, MemoryVolume(CONTENT))
    assert before > 0
    assert done.sums.chunk_count == CHUNK_COUNT - before
    scene.check({done.id: CONTENT})


def test_nothing_is_put_after_a_stop_but_the_lease() -> None:
    scene, flag = Scene(), Flag()
    put: list[str] = []

    def stop() -> None:
        flag.is_raised = True
        put.extend(scene.listed("data/"))

    volume = WatchedVolume(bytearray(CONTENT), nth_time(3, stop))
    with scene.open() as repository, pytest.raises(Stopped):
        backup(volume, repository, tuning=INLINE, stop=flag)
    assert scene.listed("data/") == put
    assert scene.listed("map/") == []


def run_twins(nth: int, second_content: bytes) -> tuple[Scene, Backup | None, list[Backup]]:
    """Let a zombie go on after its session was taken up and committed at its n-th call."""
    scene, resumed = Scene(nth), list[Backup]()

    def take_up() -> None:
        with scene.open() as repository:
            resumed.append(back_up(repository, MemoryVolume(second_content)))

    rule = Rule("*", Action.CALL, nth=nth, callback=take_up)
    with scene.open(rule, process=GONE) as repository:
        try:
            return scene, back_up(repository, MemoryVolume(CONTENT)), resumed
        except SessionFenced:
            return scene, None, resumed


@pytest.mark.parametrize("is_changed", [False, True])
def test_of_two_twins_one_manifest_wins_and_nothing_is_damaged(is_changed: bool) -> None:
    second = noise(5, CHUNK) + CONTENT[CHUNK:] if is_changed else CONTENT
    for nth in range(1, 40):
        scene, zombie, resumed = run_twins(nth, second)
        expected: dict[str, bytes] = {done.id: second for done in resumed}
        if zombie is not None and zombie.id not in expected:
            expected[zombie.id] = CONTENT
        scene.check(expected)
        scene.check_sound()


@pytest.mark.parametrize("process", LIVING.values(), ids=LIVING.keys())
def test_two_backups_of_one_volume_at_once_both_commit(process: Process) -> None:
    other = noise(5, CHUNK) + CONTENT[CHUNK:]
    for nth in range(1, 40, 2):
        scene, ids = Scene(nth), dict[str, bytes]()

        def beside(scene: Scene = scene, ids: dict[str, bytes] = ids) -> None:
            with scene.open() as repository:
                ids[back_up(repository, MemoryVolume(other)).id] = other

        rule = Rule("*", Action.CALL, nth=nth, callback=beside)
        with scene.open(rule, process=process) as repository:
            ids[back_up(repository, MemoryVolume(CONTENT)).id] = CONTENT
        scene.check(ids)
        assert scene.listed("sessions/") == []
