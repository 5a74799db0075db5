"""Registers: write-once decisions, whatever replies are lost and whoever else decides."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest

from backupcore.driver import Capabilities
from backupcore.driver.memory import MemoryDriver
from backupcore.errors import BackupMissing, ManifestDamaged, Refused, SessionFenced, Unavailable
from backupcore.model import BackupId
from backupcore.operation.delete import delete
from backupcore.repository import Repository
from backupcore.repository.control import Lease
from backupcore.repository.key import RegisterName
from backupcore.repository.manifest import Register, State
from backupcore.repository.register import History
from backupcore.testing.fault import Action, FaultyDriver, Rule
from backupcore.volume.memory import MemoryVolume
from tests.operation.scene import Recording, Scene, back_up, chunks, restored, same
from tests.operation.volumes import WatchedVolume, nth_time

TAG = "ab" * 16
ID = BackupId("11111111-1111-4111-8111-111111111111")
SESSION, OTHER = "c" * 32, "d" * 32
CONTENT = bytes(chunks(1, 2, 3))


def name(number: int) -> RegisterName:
    return RegisterName(TAG, ID, number)


def put(repository: Repository, number: int, state: State) -> Register:
    return repository.registers.put(name(number), state, SESSION, {})[1]


def states(scene: Scene, backup_id: str = ID) -> list[State]:
    """Return what every register of a backup says, lowest first."""
    found = []
    for key in scene.listed("backups/"):
        parsed = RegisterName.parse(key)
        if parsed is not None and parsed.backup_id == backup_id:
            found.append(Register.open(scene.driver.get(key), parsed).state)
    return found


def history(repository: Repository) -> History:
    return repository.registers.history(TAG, ID)


def test_the_first_decision_stands() -> None:
    scene = Scene()
    with scene.open() as repository:
        assert put(repository, 0, State.ABORTED).state is State.ABORTED
        is_mine, found = repository.registers.put(name(0), State.DELETED, OTHER, {})
    assert (is_mine, found.state, found.decision.session_id) == (False, State.ABORTED, SESSION)


@pytest.mark.parametrize("action", [Action.FAIL_BEFORE, Action.FAIL_AFTER])
@pytest.mark.parametrize("is_conditional", [True, False])
def test_a_put_whose_reply_is_lost_is_known_to_be_ones_own(
    action: Action, is_conditional: bool
) -> None:
    scene = Scene()
    below = MemoryDriver(scene.store, capabilities=Capabilities(conditional_put=is_conditional))
    faulty = FaultyDriver(below, Rule("put", action, key="backups/*"))
    with scene.open(driver=faulty) as repository:
        is_mine, found = repository.registers.put(name(0), State.DELETED, SESSION, {})
    assert (is_mine, found.state) == (True, State.DELETED)


def test_a_put_that_was_not_applied_is_repeated() -> None:
    scene = Scene()
    recording = Recording(scene.driver, Rule("put", Action.FAIL_BEFORE, key="backups/*"))
    with scene.open(driver=recording) as repository:
        put(repository, 0, State.ABORTED)
    assert recording.folders("put") == [("put", "backups")] * 2


def test_a_put_that_was_applied_is_not_repeated() -> None:
    scene = Scene()
    recording = Recording(scene.driver, Rule("put", Action.FAIL_AFTER, key="backups/*"))
    with scene.open(driver=recording) as repository:
        put(repository, 0, State.ABORTED)
    assert recording.folders("put") == [("put", "backups")]


def test_the_loser_of_a_lost_reply_is_told_who_won() -> None:
    scene = Scene()

    def decide() -> None:
        with scene.open() as repository:
            repository.registers.put(name(0), State.ABORTED, OTHER, {})

    rule = Rule("put", Action.FAIL_AFTER, key="backups/*", callback=decide)
    with scene.open(rule) as repository:
        is_mine, found = repository.registers.put(name(0), State.DELETED, SESSION, {})
    assert (is_mine, found.decision.session_id) == (False, OTHER)


def test_a_register_that_can_never_be_put_is_unavailable() -> None:
    scene = Scene()
    rule = Rule("put", Action.FAIL_BEFORE, key="backups/*", nth=0)
    with scene.open(rule) as repository, pytest.raises(Unavailable):
        put(repository, 0, State.ABORTED)
    assert states(scene) == []


def test_a_manifest_that_is_too_long_is_refused() -> None:
    scene = Scene()
    with scene.open() as repository, pytest.raises(Refused, match="shorten"):
        repository.registers.put(name(0), State.MANIFEST, SESSION, {"name": "n" * 5000})


def test_deleting_what_was_never_heard_of_leaves_no_way_to_commit_it() -> None:
    scene = Scene()
    with scene.open() as repository:
        repository.registers.delete(history(repository))
    assert states(scene) == [State.ABORTED, State.DELETED]


def test_deleting_twice_adds_nothing() -> None:
    scene = Scene()
    with scene.open() as repository:
        repository.registers.delete(history(repository))
        repository.registers.delete(history(repository))
    assert states(scene) == [State.ABORTED, State.DELETED]


def test_deleting_an_aborted_attempt_takes_the_next_register() -> None:
    scene = Scene()
    with scene.open() as repository:
        put(repository, 0, State.ABORTED)
        repository.registers.delete(history(repository))
    assert states(scene) == [State.ABORTED, State.DELETED]


def test_a_backup_that_was_deleted_while_it_ran_is_refused() -> None:
    scene = Scene()

    def delete_it() -> None:
        with scene.open() as repository:
            (lease,) = repository_leases(repository)
            tag, backup_id = lease
            repository.registers.delete(repository.registers.history(tag, backup_id))

    volume = WatchedVolume(bytearray(CONTENT), nth_time(1, delete_it))
    with scene.open() as repository, pytest.raises(SessionFenced):
        back_up(repository, volume)
    scene.check({})
    assert states(scene, deleted_id(scene)) == [State.ABORTED, State.DELETED]


def repository_leases(repository: Repository) -> list[tuple[str, BackupId]]:
    found = []
    for info in repository.driver.list("sessions/"):
        register = Lease.open(repository.driver.get(info.key), info.key).register
        assert register is not None
        found.append((register.volume_tag, register.backup_id))
    return found


def deleted_id(scene: Scene) -> str:
    return scene.listed("backups/")[0].split("/")[2]


def test_a_deleted_backup_cannot_be_made_again() -> None:
    scene = Scene()
    with scene.open() as repository:
        done = back_up(repository, MemoryVolume(CONTENT))
        delete(repository, done.id)
        with pytest.raises(Refused, match="final"):
            back_up(repository, MemoryVolume(CONTENT), backup_id=done.id)


def test_a_retry_of_an_aborted_attempt_commits_at_the_next_register() -> None:
    scene = Scene()
    backup_id = str(ID)

    def abort() -> None:
        with scene.open() as repository:
            ((tag, running),) = repository_leases(repository)
            repository.registers.put(RegisterName(tag, running, 0), State.ABORTED, OTHER, {})

    volume = WatchedVolume(bytearray(CONTENT), nth_time(1, abort))
    with scene.open() as repository:
        with pytest.raises(SessionFenced):
            back_up(repository, volume, backup_id=backup_id)
        done = back_up(repository, MemoryVolume(CONTENT), backup_id=backup_id)
    assert states(scene) == [State.ABORTED, State.MANIFEST]
    scene.check({done.id: CONTENT})


def test_a_retry_reuses_no_pack_of_the_aborted_attempt() -> None:
    scene = Scene()

    def abort() -> None:
        with scene.open() as repository:
            ((tag, running),) = repository_leases(repository)
            repository.registers.put(RegisterName(tag, running, 0), State.ABORTED, OTHER, {})

    with scene.open() as repository:
        with pytest.raises(SessionFenced):
            back_up(repository, WatchedVolume(bytearray(CONTENT), nth_time(1, abort)))
        done = back_up(repository, MemoryVolume(CONTENT))
    assert done.new_bytes == len(CONTENT)


def test_an_aborted_register_does_not_hide_a_manifest() -> None:
    scene = Scene()
    with scene.open() as repository:
        done = back_up(repository, MemoryVolume(CONTENT))
        after = repository.history(done.id).next
        repository.registers.put(after, State.ABORTED, OTHER, {})
    scene.check({done.id: CONTENT})


def test_deleting_goes_above_an_aborted_register() -> None:
    scene = Scene()
    with scene.open() as repository:
        done = back_up(repository, MemoryVolume(CONTENT))
        after = repository.history(done.id).next
        repository.registers.put(after, State.ABORTED, OTHER, {})
        delete(repository, done.id)
    assert states(scene, done.id) == [State.MANIFEST, State.ABORTED, State.DELETED]


def test_every_register_below_a_new_one_was_read_before() -> None:
    scene = Scene()
    with scene.open() as repository:
        done = back_up(repository, MemoryVolume(CONTENT))
    recording = Recording(scene.driver)
    with scene.open(driver=recording) as repository:
        delete(repository, done.id)
    calls = [call for call in recording.calls if call[1].startswith("backups/")]
    put_at = next(at for at, (verb, _) in enumerate(calls) if verb == "put")
    lowest = calls[put_at][1].replace("0000000001", "0000000000")
    assert ("get", lowest) in calls[:put_at]


def race_with_delete(scene: Scene, backup_id: str) -> None:
    with scene.open() as repository:
        delete(repository, backup_id)


def race_with_abort(scene: Scene, backup_id: str) -> None:
    with scene.open() as repository:
        after = repository.history(backup_id).next
        repository.registers.put(after, State.ABORTED, OTHER, {})


@pytest.mark.parametrize("race", [race_with_delete, race_with_abort])
@pytest.mark.parametrize("nth", [1, 2, 3])
def test_a_deletion_that_races_ends_deleted(race: Callable[[Scene, str], None], nth: int) -> None:
    scene = Scene()
    with scene.open() as repository:
        done = back_up(repository, MemoryVolume(CONTENT))
    rule = Rule("*", Action.CALL, key="backups/*", nth=nth, callback=lambda: race(scene, done.id))
    with scene.open(rule) as repository, contextlib.suppress(BackupMissing):
        delete(repository, done.id)
    found = states(scene, done.id)
    assert (found[0], found[-1]) == (State.MANIFEST, State.DELETED)
    assert found.count(State.DELETED) == 1


def test_a_register_under_a_wrong_name_is_damaged() -> None:
    scene = Scene()
    with scene.open() as repository:
        put(repository, 0, State.ABORTED)
        scene.driver.put(name(1).key, [scene.driver.get(name(0).key)])
        with pytest.raises(ManifestDamaged, match="another name"):
            repository.registers.read(name(1))


def test_a_register_that_vanishes_after_it_was_listed_is_damaged() -> None:
    scene = Scene()
    with scene.open() as repository:
        done = back_up(repository, MemoryVolume(CONTENT))
    rule = Rule("get", Action.VANISH, key="backups/*", nth=0)
    with scene.open(rule) as repository, pytest.raises(ManifestDamaged, match="list again"):
        repository.find_backup(done.id)


def test_the_lists_of_two_volumes_do_not_mix() -> None:
    scene = Scene()
    with scene.open() as repository:
        mine = back_up(repository, MemoryVolume(CONTENT, name="mine"))
        other = back_up(repository, MemoryVolume(CONTENT, name="other"))
        assert [done.id for done in repository.backups("mine")] == [mine.id]
        assert [done.id for done in repository.backups("other")] == [other.id]
        assert [done.id for done in repository.backups()] == [mine.id, other.id]


def test_backups_are_listed_oldest_first_and_the_last_is_the_base() -> None:
    scene = Scene()
    with scene.open() as repository:
        ids = [back_up(repository, MemoryVolume(chunks(number))).id for number in range(5)]
        assert [done.id for done in repository.backups()] == ids
        last = back_up(repository, MemoryVolume(chunks(9)))
        assert (last.base_id, same(restored(repository, last.id), chunks(9))) == (ids[-1], True)


def test_a_clock_that_went_back_changes_what_is_the_base_and_nothing_else() -> None:
    scene = Scene()
    with scene.open() as repository:
        first = back_up(repository, MemoryVolume(CONTENT))
        scene.clock.time_s -= 86_400
        second = back_up(repository, MemoryVolume(CONTENT))
        third = back_up(repository, MemoryVolume(CONTENT))
    assert third.base_id == first.id
    scene.check(dict.fromkeys([first.id, second.id, third.id], CONTENT))
