"""What a record names is looked at in the store, and only that; nothing is ever changed."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from backupcore.chunk.digest import digest
from backupcore.errors import ManifestDamaged, MapDamaged, PackDamaged, Stopped, Unavailable
from backupcore.model import Progress
from backupcore.operation.delete import delete
from backupcore.record import Facts, Reason, RecordRefused, check_against_store, make_record
from backupcore.repository.manifest import State
from backupcore.testing.fault import Action, FaultyDriver, Rule
from backupcore.volume.memory import MemoryVolume
from tests.operation.scene import CHUNK, INLINE, THREADS, Scene
from tests.record.case import Case, make_case
from tests.record.world import Tripwire


def test_the_facts_are_those_of_the_manifest(case: Case) -> None:
    facts = case.accept()
    assert facts == Facts(case.backup, case.record.claim.register)
    assert facts.backup.size_bytes == 40 * CHUNK
    assert facts.backup.volume_id == "volume"


def test_only_the_manifest_and_its_packs_are_touched_by_exact_name(case: Case) -> None:
    wire = Tripwire(case.scene.driver, case.prefixes)
    with case.scene.open(driver=wire) as repository:
        check_against_store(case.record, repository, tuning=INLINE)
    register = case.record.claim.register
    touched = {key for _, key in wire.calls}
    assert touched == case.keys | {register.key, replace(register, number=1).key}
    assert {operation for operation, _ in wire.calls} == {"get", "stat"}


def test_every_pack_of_a_tall_map_is_looked_at_once(tall: Case) -> None:
    wire = Tripwire(tall.scene.driver, tall.prefixes)
    with tall.scene.open(driver=wire) as repository:
        check_against_store(tall.record, repository, tuning=INLINE)
    looked = [key for operation, key in wire.calls if operation == "stat"]
    assert sorted(looked) == sorted(tall.keys)


def test_leaves_below_a_node_are_not_read(tall: Case) -> None:
    wire = Tripwire(tall.scene.driver, tall.prefixes)
    with tall.scene.open(driver=wire) as repository:
        check_against_store(tall.record, repository, tuning=INLINE)
    gets = [key for operation, key in wire.calls if operation == "get" and key in tall.keys]
    assert len(gets) == len(tall.keys) + 1  # the last bytes of each, and one node


def test_what_was_looked_at_long_ago_is_looked_at_again_rather_than_remembered(
    tall: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backupcore.record.store._PACKS_KEPT_MAX", 1)
    assert tall.accept().backup == tall.backup


def test_threads_look_at_the_same(tall: Case) -> None:
    with tall.scene.open(driver=Tripwire(tall.scene.driver, tall.prefixes)) as opened_:
        assert check_against_store(tall.record, opened_, tuning=THREADS).backup == tall.backup
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("record")]


def test_a_backup_of_zeros_has_no_packs_to_look_at() -> None:
    case = make_case(MemoryVolume(bytearray(8 * CHUNK)))
    assert case.keys == set()
    assert case.accept().backup == case.backup


def test_progress_grows_to_the_size_of_the_volume(tall: Case) -> None:
    told: list[Progress] = []
    with tall.scene.open() as repository:
        check_against_store(tall.record, repository, tuning=INLINE, progress=told.append)
    done = [progress.done_bytes for progress in told]
    assert done == sorted(done)
    assert (told[-1].done_bytes, told[-1].total_bytes) == (tall.backup.size_bytes,) * 2


def test_a_stop_is_heard(tall: Case) -> None:
    stop = threading.Event()
    stop.set()
    with tall.scene.open() as repository, pytest.raises(Stopped):
        check_against_store(tall.record, repository, tuning=INLINE, stop=stop)


def test_a_copy_of_the_repository_is_as_good(case: Case) -> None:
    case.scene = case.scene.copy()
    assert case.accept().backup == case.backup


def test_a_genuine_record_of_another_repository_is_refused_before_the_store_is_asked(
    case: Case,
) -> None:
    elsewhere = Scene(seed=8)
    wire = Tripwire(elsewhere.driver, [])
    with (
        elsewhere.open(driver=wire) as repository,
        pytest.raises(RecordRefused, match="unknown repository") as found,
    ):
        check_against_store(case.record, repository)
    assert found.value.reason is Reason.OTHER_REPOSITORY
    assert wire.calls == []


def test_a_deleted_backup_does_not_come_back(case: Case) -> None:
    with case.scene.open() as repository:
        delete(repository, case.backup.id)
    registers = case.prefixes[:1]
    assert case.refused(prefixes=registers) is Reason.DELETED


def test_a_backup_deleted_while_its_packs_are_looked_at_does_not_come_back(case: Case) -> None:
    def delete_it() -> None:
        with case.scene.open() as repository:
            delete(repository, case.backup.id)

    data = next(key for key in case.keys if key.startswith("data/"))
    rule = Rule("stat", Action.CALL, key=data, callback=delete_it)
    with (
        case.scene.open(driver=FaultyDriver(case.scene.driver, rule)) as repository,
        pytest.raises(RecordRefused) as found,
    ):
        check_against_store(case.record, repository, tuning=INLINE)
    assert found.value.reason is Reason.DELETED


def test_a_record_that_is_replayed_says_the_same_and_nothing_after_the_deletion(case: Case) -> None:
    text = case.text
    assert case.accept(text) == case.accept(text)
    with case.scene.open() as repository:
        delete(repository, case.backup.id)
    assert case.refused(text) is Reason.DELETED


def test_a_backup_written_anew_asks_for_a_new_record(case: Case) -> None:
    name = replace(case.record.claim.register, number=1)
    with case.scene.open() as repository:
        manifest = repository.manifest(case.backup.id)
        facts = manifest.header(repository.domain().id_key)
        repository.registers.put(name, State.MANIFEST, "0" * 32, facts)
    assert case.refused() is Reason.CHANGED
    with case.scene.open() as repository:
        case.record = make_record(repository, case.backup)
    assert case.accept().register == name


def test_a_later_attempt_that_was_given_up_changes_nothing(case: Case) -> None:
    name = replace(case.record.claim.register, number=1)
    with case.scene.open() as repository:
        repository.registers.put(name, State.ABORTED, "0" * 32, {})
    assert case.accept().backup == case.backup


def test_an_endless_row_of_attempts_is_not_followed(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backupcore.record.store._LATER_REGISTERS_MAX", 3)
    with case.scene.open() as repository:
        for number in range(1, 5):
            name = replace(case.record.claim.register, number=number)
            repository.registers.put(name, State.ABORTED, "0" * 32, {})
    assert case.refused() is Reason.CHANGED


def test_a_manifest_that_is_not_there_is_refused(case: Case) -> None:
    del case.scene.store.objects[case.record.claim.register.key]
    assert case.refused() is Reason.MISSING


@pytest.mark.parametrize("change", [b"", b"x", b"x" * 5000])
def test_a_manifest_with_other_bytes_is_refused(case: Case, change: bytes) -> None:
    key = case.record.claim.register.key
    content, moment = case.scene.store.objects[key]
    case.scene.store.objects[key] = (content + change if change else content[:-1], moment)
    assert case.refused() is Reason.CHANGED


def test_a_huge_object_in_place_of_a_manifest_is_not_read_whole(case: Case) -> None:
    key = case.record.claim.register.key
    read_bytes: list[int] = []

    class Counting(Tripwire):
        def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
            found = super().get(key, offset, length)
            read_bytes.append(len(found))
            return found

    case.scene.store.objects[key] = (bytes(1 << 20), case.scene.clock.now())
    with (
        case.scene.open(driver=Counting(case.scene.driver, [key])) as repository,
        pytest.raises(RecordRefused),
    ):
        check_against_store(case.record, repository)
    assert read_bytes == [4096]


def test_the_claims_of_another_backup_are_refused(case: Case) -> None:
    with case.scene.open() as repository:
        [other, *_] = [found for found in repository.backups() if found.id != case.backup.id]
        claim = make_record(repository, other).claim
    assert case.refused(case.forge(manifest_digest=claim.manifest_digest.hex())) is Reason.CHANGED
    assert case.refused(case.forge(manifest_length=4000)) is Reason.CHANGED


def test_a_claim_about_what_is_no_manifest_is_refused(case: Case) -> None:
    name = replace(case.record.claim.register, number=1)
    with case.scene.open() as repository:
        repository.registers.put(name, State.ABORTED, "0" * 32, {})
    content, _ = case.scene.store.objects[name.key]
    lie = case.forge(
        register=1, manifest_digest=digest(content).hex(), manifest_length=len(content)
    )
    assert case.refused(lie) is Reason.CHANGED


def test_a_manifest_brought_from_another_repository_is_refused(case: Case) -> None:
    case.scene.config = replace(case.scene.config, repository_id="0" * 32)
    assert case.refused(case.forge(repository_id="0" * 32)) is Reason.CHANGED


def test_a_manifest_that_was_exported_damaged_is_damaged(case: Case) -> None:
    key = case.record.claim.register.key
    content, moment = case.scene.store.objects[key]
    flipped = content[:-1] + bytes([content[-1] ^ 1])
    case.scene.store.objects[key] = (flipped, moment)
    with pytest.raises(ManifestDamaged):
        case.accept(case.forge(manifest_digest=digest(flipped).hex()))


def test_every_missing_pack_is_found(case: Case, tall: Case) -> None:
    for one in (case, tall):
        for key in one.keys:
            kept = one.scene.store.objects.pop(key)
            with pytest.raises((PackDamaged, MapDamaged), match=key):
                one.accept()
            one.scene.store.objects[key] = kept
        assert one.accept().backup == one.backup


@pytest.mark.parametrize("change", [-1, -100, 1])
def test_every_pack_of_another_size_is_found(case: Case, tall: Case, change: int) -> None:
    for one in (case, tall):
        for key in one.keys:
            content, moment = one.scene.store.objects[key]
            changed = content[:change] if change < 0 else content + bytes(change)
            one.scene.store.objects[key] = (changed, moment)
            with pytest.raises((PackDamaged, MapDamaged), match=key):
                one.accept()
            one.scene.store.objects[key] = (content, moment)


def test_a_pack_replaced_by_another_object_is_found(tall: Case) -> None:
    register, _ = tall.scene.store.objects[tall.record.claim.register.key]
    key = min(key for key in tall.keys if key.startswith("data/"))
    tall.scene.store.objects[key] = (register, tall.scene.clock.now())
    with pytest.raises(PackDamaged, match="it has 0 sections"):
        tall.accept()


def test_a_store_that_cannot_be_asked_is_no_verdict(case: Case) -> None:
    rule = Rule("get", Action.FAIL_BEFORE, nth=0)
    with pytest.raises(Unavailable):
        case.accept(below=FaultyDriver(case.scene.driver, rule))
