"""Sessions: lease, tombs, renewal, and what becomes of a lease when its work is decided."""

from __future__ import annotations

import pytest

from backupcore.errors import (
    AccessDenied,
    BackupError,
    ObjectMissing,
    ReadOnly,
    SessionFenced,
    StoreFull,
    Unavailable,
)
from backupcore.model import BackupId, PackId
from backupcore.operation.restore import restore
from backupcore.operation.verify import verify
from backupcore.repository import Repository
from backupcore.repository.control import Lease, SessionKind, Tomb
from backupcore.repository.key import LeaseName, RegisterName
from backupcore.repository.manifest import State
from backupcore.repository.session import RENEW_EVERY_S, Session, condemn, read_tombs
from backupcore.testing.fault import Action, FaultyDriver, Rule
from backupcore.volume.memory import MemoryVolume
from tests.operation.scene import INLINE, Recording, Scene, back_up, chunks, restored, same
from tests.operation.volumes import WatchedVolume, nth_time

REGISTER = RegisterName("ab" * 16, BackupId("11111111-1111-4111-8111-111111111111"), 0)
PACK = PackId("data/" + "1" * 32 + "/" + "2" * 32 + "-0000000000")
OTHER_PACK = PackId("map/" + "3" * 32 + "/" + "4" * 32 + "-0000000000")


def open_session(repository: Repository, register: RegisterName | None = REGISTER) -> Session:
    kind = SessionKind.BACKUP if register else SessionKind.RESTORE
    return repository.open_session(
        kind, register, domain_id=repository.config.domain_id, chunk_size_bytes=4096
    )


def renew(scene: Scene, session: Session) -> None:
    scene.clock.sleep(RENEW_EVERY_S)
    session.keep_alive()


def abort_running(scene: Scene) -> None:
    """Decide the registers of all sessions as prune does when it gives up on them."""
    with scene.open() as repository:
        for key in scene.listed("sessions/"):
            register = Lease.open(repository.driver.get(key), key).register
            assert register is not None
            repository.registers.put(register, State.ABORTED, "f" * 32, {})


def counters(scene: Scene) -> list[int]:
    names = [LeaseName.parse(key) for key in scene.listed("sessions/")]
    return [name.counter for name in names if name]


def test_a_backup_puts_its_lease_then_reads_tombs_then_registers_and_maps() -> None:
    scene, volume = Scene(), MemoryVolume(chunks(1, 2))
    with scene.open() as repository:
        back_up(repository, volume)
        condemn(repository.driver, repository.runtime, [PACK])
    recording = Recording(scene.driver)
    with scene.open(driver=recording) as repository:
        back_up(repository, volume)
    calls = recording.folders()
    calls = calls[calls.index(("put", "sessions")) :]
    last_tomb = len(calls) - 1 - calls[::-1].index(("get", "tombs"))
    assert last_tomb < calls.index(("list", "backups")) < calls.index(("get", "backups"))
    assert calls.index(("get", "backups")) < calls.index(("get", "map"))


def test_a_backup_puts_packs_then_its_register_then_removes_its_lease() -> None:
    scene = Scene()
    recording = Recording(scene.driver)
    with scene.open(driver=recording) as repository:
        back_up(repository, MemoryVolume(chunks(1, 2)))
    assert recording.folders("put", "delete") == [
        ("put", "sessions"),
        ("put", "data"),
        ("put", "map"),
        ("put", "backups"),
        ("delete", "sessions"),
    ]


def test_a_restore_puts_its_lease_before_it_reads_a_register() -> None:
    scene = Scene()
    with scene.open() as repository:
        done = back_up(repository, MemoryVolume(chunks(1, 2)))
    recording = Recording(scene.driver)
    with scene.open(driver=recording) as repository:
        restore(repository, done.id, MemoryVolume(8192), tuning=INLINE)
    calls = recording.folders()
    assert calls.index(("put", "sessions")) < calls.index(("list", "backups"))


@pytest.mark.parametrize("verb", ["restore", "verify"])
def test_a_session_that_only_reads_leaves_no_lease(verb: str) -> None:
    scene = Scene()
    with scene.open() as repository:
        done = back_up(repository, MemoryVolume(chunks(1, 2)))
        if verb == "restore":
            restore(repository, done.id, MemoryVolume(8192), tuning=INLINE)
        else:
            verify(repository, tuning=INLINE)
    assert scene.listed("sessions/") == []


def test_a_session_knows_what_all_tombs_name() -> None:
    scene = Scene()
    with scene.open() as repository:
        condemn(repository.driver, repository.runtime, [PACK])
        condemn(repository.driver, repository.runtime, [OTHER_PACK])
        assert open_session(repository).condemned == {PACK, OTHER_PACK}


def test_a_tomb_replaced_while_it_is_read_is_not_missed() -> None:
    scene = Scene()
    with scene.open() as repository:
        old = condemn(repository.driver, repository.runtime, [PACK, OTHER_PACK])
    young = Tomb(old.tomb_id, 1, frozenset([PACK]))

    def replace_tomb() -> None:
        scene.driver.put(young.name.key, young.seal())
        scene.driver.delete([old.name.key])

    faulty = FaultyDriver(
        scene.driver, Rule("get", Action.CALL, key="tombs/*", callback=replace_tomb)
    )
    assert read_tombs(faulty, scene.clock) == {PACK}


def test_a_lease_is_renewed_only_when_it_is_time() -> None:
    scene = Scene()
    with scene.open() as repository:
        session = open_session(repository)
        scene.clock.sleep(RENEW_EVERY_S - 1)
        session.keep_alive()
    assert counters(scene) == [0]


def test_renewal_puts_the_next_counter_before_it_removes_the_last() -> None:
    scene = Scene()
    recording = Recording(scene.driver)
    with scene.open(driver=recording) as repository:
        session = open_session(repository)
        recording.calls.clear()
        renew(scene, session)
    assert [(verb, key[-1]) for verb, key in recording.calls if verb != "get"] == [
        ("put", "1"),
        ("delete", "0"),
    ]


def test_renewal_never_removes_a_higher_counter() -> None:
    scene = Scene()
    with scene.open() as repository:
        session = open_session(repository)
        scene.driver.put(LeaseName(session.id, 7).key, [b"a twin's"])
        renew(scene, session)
        renew(scene, session)
    assert counters(scene) == [2, 7]


def test_a_twin_that_was_first_with_a_counter_has_taken_the_session_over() -> None:
    scene = Scene()
    with scene.open() as repository:
        session = open_session(repository)
        scene.driver.put(LeaseName(session.id, 1).key, [b"a twin's"])
        with pytest.raises(SessionFenced, match="taken over"):
            renew(scene, session)
        session.pause()
    assert counters(scene) == [0, 1]


def test_a_twin_that_is_done_already_has_taken_the_session_over() -> None:
    scene = Scene()
    with scene.open(Rule("get", Action.VANISH, key="sessions/*")) as repository:
        session = open_session(repository)
        scene.driver.put(LeaseName(session.id, 1).key, [b"a twin's, removed meanwhile"])
        with pytest.raises(SessionFenced):
            renew(scene, session)


@pytest.mark.parametrize("action", [Action.FAIL_BEFORE, Action.FAIL_AFTER])
def test_a_lease_whose_put_fails_at_first_is_put_all_the_same(action: Action) -> None:
    scene = Scene()
    with scene.open(Rule("put", action, key="sessions/*")) as repository:
        open_session(repository)
    assert counters(scene) == [0]


def test_a_short_outage_of_the_store_fails_no_renewal() -> None:
    scene = Scene()
    rules = [Rule("put", Action.FAIL_BEFORE, key="sessions/*", nth=nth) for nth in (2, 3, 4)]
    with scene.open(*rules) as repository:
        session = open_session(repository)
        renew(scene, session)
    assert counters(scene) == [1]


def test_a_lost_commit_leaves_no_lease() -> None:
    scene = Scene()
    volume = WatchedVolume(chunks(1, 2), nth_time(1, lambda: abort_running(scene)))
    with scene.open() as repository, pytest.raises(SessionFenced, match="aborted"):
        back_up(repository, volume)
    assert scene.listed("sessions/") == []


def test_a_lost_commit_touches_no_pack() -> None:
    scene = Scene()
    volume = WatchedVolume(chunks(1, 2), nth_time(1, lambda: abort_running(scene)))
    recording = Recording(scene.driver)
    with scene.open(driver=recording) as repository, pytest.raises(SessionFenced):
        back_up(repository, volume)
    put = [key for verb, key in recording.calls if verb == "put" and key[:4] in ("data", "map/")]
    assert put == scene.listed("data/") + scene.listed("map/")


def test_a_running_session_notices_that_it_was_given_up_on() -> None:
    scene = Scene()

    def give_up() -> None:
        abort_running(scene)
        scene.clock.sleep(RENEW_EVERY_S)

    volume = WatchedVolume(chunks(*range(64)), nth_time(2, give_up))
    with scene.open() as repository, pytest.raises(SessionFenced, match="aborted"):
        back_up(repository, volume)
    assert not any(key.startswith("map/") for key in scene.listed())


def test_a_fenced_session_leaves_no_lease() -> None:
    scene = Scene()
    with scene.open() as repository:
        session = open_session(repository)
        abort_running(scene)
        with pytest.raises(SessionFenced):
            renew(scene, session)
        session.pause()
    assert scene.listed("sessions/") == []


def test_a_lease_that_cannot_be_removed_does_not_undo_the_backup() -> None:
    scene, volume = Scene(), MemoryVolume(chunks(1, 2))
    with scene.open(Rule("delete", Action.FAIL_BEFORE, key="sessions/*", nth=0)) as repository:
        done = back_up(repository, volume)
    scene.check({done.id: bytes(volume.content)})


def test_the_lease_of_a_decided_session_is_removed_by_the_next_backup() -> None:
    scene, volume = Scene(), MemoryVolume(chunks(1, 2))
    with scene.open(Rule("delete", Action.FAIL_BEFORE, key="sessions/*", nth=0)) as repository:
        back_up(repository, volume)
    with scene.open() as repository:
        back_up(repository, volume)
    assert scene.listed("sessions/") == []


def test_a_damaged_register_of_a_session_that_left_its_lease_stops_no_full_backup() -> None:
    scene, volume = Scene(), MemoryVolume(chunks(1, 2))
    with scene.open(Rule("delete", Action.FAIL_BEFORE, key="sessions/*", nth=0)) as repository:
        back_up(repository, volume)
    scene.driver.put(scene.listed("backups/")[0], [b"rubbish"])
    with scene.open() as repository:
        done = back_up(repository, volume, base=None)
        assert same(restored(repository, done.id), volume.content)


READING_REFUSALS: list[BackupError] = [
    StoreFull("full"),
    AccessDenied("denied"),
    ReadOnly("reading only"),
]


class Refusing(FaultyDriver):
    """Fails every put with one error."""

    def __init__(self, scene: Scene, error: BackupError) -> None:
        super().__init__(scene.driver)
        self._error = error

    def put(self, *given: object, **named: object) -> None:
        raise self._error


@pytest.mark.parametrize("error", READING_REFUSALS, ids=lambda error: type(error).__name__)
def test_a_store_that_takes_no_lease_is_restored_from(error: BackupError) -> None:
    scene, volume = Scene(), MemoryVolume(chunks(1, 2))
    with scene.open() as repository:
        done = back_up(repository, volume)
    with scene.open(driver=Refusing(scene, error)) as repository:
        assert same(restored(repository, done.id), volume.content)


@pytest.mark.parametrize("error", READING_REFUSALS, ids=lambda error: type(error).__name__)
def test_a_store_that_takes_no_renewal_is_restored_from(error: BackupError) -> None:
    scene = Scene()
    with scene.open() as repository:
        session = open_session(repository, None)
        repository.driver.below = Refusing(scene, error)  # type: ignore[attr-defined]
        renew(scene, session)
        renew(scene, session)


@pytest.mark.parametrize("error", READING_REFUSALS, ids=lambda error: type(error).__name__)
def test_a_backup_needs_its_lease(error: BackupError) -> None:
    scene = Scene()
    with scene.open(driver=Refusing(scene, error)) as repository, pytest.raises(type(error)):
        back_up(repository, MemoryVolume(chunks(1, 2)))


def test_a_lease_for_nothing_is_not_put_when_the_store_is_away() -> None:
    scene = Scene()
    rule = Rule("*", Action.FAIL_BEFORE, nth=0)
    with scene.open(rule) as repository, pytest.raises(Unavailable):
        open_session(repository)


def test_a_session_that_decides_a_register_is_not_closed() -> None:
    scene = Scene()
    with scene.open() as repository, pytest.raises(AssertionError, match="commit or pause"):
        open_session(repository).close()


def test_a_session_that_decides_nothing_has_no_register() -> None:
    scene = Scene()
    with scene.open() as repository, pytest.raises(AssertionError, match="decides no register"):
        _ = open_session(repository, None).register


def test_a_paused_restore_leaves_no_lease() -> None:
    scene = Scene()
    with scene.open() as repository:
        open_session(repository, None).pause()
    with pytest.raises(ObjectMissing):
        scene.driver.stat("sessions/none")
    assert scene.listed("sessions/") == []
