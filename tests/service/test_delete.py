from __future__ import annotations

from typing import Any

import pytest

from backupcore.catalog.row import VolumeRow
from backupcore.catalog.status import BackupMove, BackupStatus, VolumeStatus
from backupcore.operation.backup import backup
from backupcore.operation.delete import delete
from backupcore.repository import open_repository
from backupcore.repository.key import volume_tag
from backupcore.repository.manifest import State
from backupcore.service import BackupWish, Denied, Missing, RestoreWish
from backupcore.service.work import creating, deleting
from backupcore.service.work.reconcile import INCOMPLETE
from tests.service.scene import ADMIN, ALICE, MALLORY, READER, Scene, content, started

MUST_BE = "Invalid backup: Backup status must be available or error"


def twin(scene: Scene, backup_id: str) -> str:
    """Return the id of a second row that names the same stored backup."""
    with scene.service.catalog.writing() as rows:
        row = next(row for row in scene.rows() if row.id == backup_id)
        changed = {name: getattr(row, name) for name in row.__dataclass_fields__}
        rows.add_backup(type(row)(**{**changed, "id": "twin", "is_imported": True}))
    return "twin"


def states(scene: Scene, volume_id: str, stored_id: str) -> list[State]:
    """Return what the registers of a backup decided, in order."""
    with open_repository(str(scene.folder / "store"), read_only=True) as repository:
        tag = volume_tag(volume_id, repository.domain().id_key)
        found = []
        for history in repository.registers.histories(tag):
            if history.backup_id == stored_id:
                state = repository.registers.state(history)
                found += [state.state] if state is not None else []
        return found


def test_a_deleted_backup_is_gone_from_catalog_and_store(scene: Scene) -> None:
    row = scene.create()
    assert scene.delete(row.id) is None
    assert scene.stored() == []
    said = scene.refusal(lambda: scene.service.backups.show(ALICE, row.id), Missing)
    assert said == f"Backup {row.id} could not be found."


def test_a_backup_in_error_can_be_deleted(scene: Scene) -> None:
    row = scene.create()
    scene.service.backups.reset(ADMIN, row.id, "error")
    assert scene.delete(row.id) is None
    assert scene.stored() == []


def test_the_base_of_a_backup_can_be_deleted(scene: Scene) -> None:
    first = scene.create()
    scene.write(2)
    second = scene.create(is_incremental=True)
    assert scene.delete(first.id) is None
    assert scene.read(scene.restore(second.id)) == content(2)


@pytest.mark.parametrize(
    "status", sorted(set(BackupStatus) - {BackupStatus.AVAILABLE, BackupStatus.ERROR})
)
def test_a_backup_in_another_state_is_not_deleted(scene: Scene, status: BackupStatus) -> None:
    row = scene.create()
    force(scene, row.id, status)
    assert scene.refusal(lambda: scene.service.backups.delete(ALICE, row.id)) == MUST_BE
    assert scene.stored() == [row.id]


def force(scene: Scene, backup_id: str, status: BackupStatus) -> None:
    """Bring a row into a state that its backup is not in."""
    ways = {
        BackupStatus.RESTORING: [BackupMove.RESTORE],
        BackupStatus.DELETING: [BackupMove.DELETE],
        BackupStatus.ERROR_DELETING: [BackupMove.DELETE, BackupMove.STRAND_DELETE],
    }
    if status is BackupStatus.CREATING:
        found = scene.row(backup_id)
        assert found is not None
        fields = {name: getattr(found, name) for name in found.__dataclass_fields__}
        with scene.service.catalog.writing() as rows:
            rows.remove_backup(backup_id)
            rows.add_backup(type(found)(**{**fields, "status": status}))
    for move in ways.get(status, ()):
        with scene.service.catalog.writing() as rows:
            rows.move_backup(backup_id, move)


@pytest.mark.parametrize("has_begun", [False, True], ids=["queued", "running"])
def test_force_ends_a_restore_and_leaves_its_volume_in_error(scene: Scene, has_begun: bool) -> None:
    row = scene.create()
    scene.gate.shut()
    scene.service.backups.restore(ALICE, row.id, RestoreWish(volume_id=scene.volume.id))
    if has_begun:
        scene.wait(lambda: f"restore:{row.id}" in scene.gate.begun)
    scene.service.backups.force_delete(ADMIN, row.id)
    assert scene.volume.status is VolumeStatus.ERROR
    scene.gate.open()
    assert scene.settled_or_gone(row.id) is None
    assert scene.stored() == []
    assert scene.volume.status is VolumeStatus.ERROR


@pytest.mark.parametrize("has_begun", [False, True], ids=["queued", "running"])
def test_force_lets_a_deletion_go_on_and_nothing_is_deleted_twice(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, has_begun: bool
) -> None:
    row = scene.create()
    deleted = list[str]()

    def noted(repository: Any, stored_id: str) -> Any:
        deleted.append(stored_id)
        return delete(repository, stored_id)

    monkeypatch.setattr(deleting, "delete", noted)
    scene.gate.shut()
    scene.service.backups.delete(ALICE, row.id)
    if has_begun:
        scene.wait(lambda: f"delete:{row.id}" in scene.gate.begun)
    scene.service.backups.force_delete(ADMIN, row.id)
    scene.gate.open()
    assert scene.settled_or_gone(row.id) is None
    assert deleted == [row.id]


def test_force_takes_up_a_deletion_that_nobody_works_at(scene: Scene) -> None:
    row = scene.create()
    force(scene, row.id, BackupStatus.DELETING)
    scene.service.backups.force_delete(ADMIN, row.id)
    assert scene.settled_or_gone(row.id) is None
    assert scene.stored() == []


def test_a_restore_that_ends_before_its_new_volume_is_made_leaves_it_in_error(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = scene.create()
    make = scene.service.volumes.make

    planned: list[VolumeRow] = []

    def ended(row_of_volume: VolumeRow, **named: Any) -> Any:
        planned.append(row_of_volume)
        scene.service.backups.reset(ADMIN, row.id, "available")
        return make(row_of_volume, **named)

    monkeypatch.setattr(scene.service.volumes, "make", ended)
    assert "Error while creating volume" in scene.refusal(
        lambda: scene.service.backups.restore(ALICE, row.id, RestoreWish())
    )
    assert scene.settled(row.id).status is BackupStatus.AVAILABLE
    assert scene.volume_row(planned[0].id).status is VolumeStatus.ERROR


def test_what_a_service_that_stops_has_accepted_the_next_one_settles(scene: Scene) -> None:
    row = scene.create()
    scene.service.engine.close()
    begun = scene.service.backups.create(ALICE, BackupWish(volume_id=scene.volume.id))
    scene.service.backups.delete(ALICE, row.id)
    scene.service.close()
    with started(scene.folder) as later:
        settled = later.settled(begun.id)
        assert (settled.status, settled.fail_reason) == (BackupStatus.ERROR, INCOMPLETE)
        assert later.settled_or_gone(row.id) is None
        assert later.volume.status is VolumeStatus.AVAILABLE


def test_a_failed_deletion_that_was_stranded_is_forced(scene: Scene) -> None:
    row = scene.create()
    force(scene, row.id, BackupStatus.ERROR_DELETING)
    scene.service.backups.force_delete(ADMIN, row.id)
    assert scene.settled_or_gone(row.id) is None
    assert scene.stored() == []


def test_others_see_nothing_to_delete_and_readers_are_denied(scene: Scene) -> None:
    row = scene.create()
    backups = scene.service.backups
    said = scene.refusal(lambda: backups.delete(MALLORY, row.id), Missing)
    assert said == f"Backup {row.id} could not be found."
    said = scene.refusal(lambda: backups.delete(READER, row.id), Denied)
    assert said == "Policy doesn't allow backup:delete to be performed."
    said = scene.refusal(lambda: backups.force_delete(ALICE, row.id), Denied)
    rule = "volume_extension:backup_admin_actions:force_delete"
    assert said == f"Policy doesn't allow {rule} to be performed."


def test_the_store_forgets_a_backup_with_the_last_of_its_rows(scene: Scene) -> None:
    row = scene.create()
    other = twin(scene, row.id)
    assert scene.delete(row.id) is None
    assert states(scene, row.volume_id, row.id) == [State.MANIFEST]
    assert scene.delete(other) is None
    assert states(scene, row.volume_id, row.id) == [State.DELETED]


def test_rows_of_one_stored_backup_deleted_at_once_take_it_with_them(scene: Scene) -> None:
    row = scene.create()
    other = twin(scene, row.id)
    scene.gate.shut()
    scene.service.backups.delete(ALICE, row.id)
    scene.service.backups.delete(ALICE, other)
    scene.gate.open()
    assert scene.settled_or_gone(row.id) is None
    assert scene.settled_or_gone(other) is None
    assert scene.stored() == []


def test_two_deletions_of_one_backup_at_once_are_one(scene: Scene) -> None:
    row = scene.create()
    scene.gate.shut()
    scene.service.backups.delete(ALICE, row.id)
    assert scene.refusal(lambda: scene.service.backups.delete(ALICE, row.id)) == MUST_BE
    scene.gate.open()
    assert scene.settled_or_gone(row.id) is None


def test_a_backup_that_is_restored_is_not_deleted(scene: Scene) -> None:
    row = scene.create()
    scene.gate.shut()
    scene.service.backups.restore(ALICE, row.id, RestoreWish(volume_id=scene.volume.id))
    assert scene.refusal(lambda: scene.service.backups.delete(ALICE, row.id)) == MUST_BE
    scene.gate.open()
    assert scene.settled(row.id).status is BackupStatus.AVAILABLE


def test_a_failed_deletion_is_an_error_and_can_be_repeated(scene: Scene) -> None:
    row = scene.create()
    scene.gate.shut()
    scene.service.backups.delete(ALICE, row.id)
    store = scene.folder / "store"
    store.rename(scene.folder / "away")
    scene.gate.open()
    failed = scene.settled(row.id)
    assert failed.status is BackupStatus.ERROR
    assert failed.fail_reason in ("the backup store is not there", "the backup store failed")
    (scene.folder / "away").rename(store)
    assert scene.delete(row.id) is None
    assert scene.stored() == []


@pytest.mark.parametrize("is_in_use", [False, True], ids=["available", "in use"])
@pytest.mark.parametrize("has_begun", [False, True], ids=["queued", "running"])
def test_force_ends_a_backup_that_is_made_and_gives_its_volume_back(
    scene: Scene, is_in_use: bool, has_begun: bool
) -> None:
    if is_in_use:
        scene.attach()
    was = scene.volume.status
    scene.gate.shut()
    wish = BackupWish(volume_id=scene.volume.id, is_forced=True)
    row = scene.service.backups.create(ALICE, wish)
    if has_begun:
        scene.wait(lambda: bool(scene.gate.begun))
    scene.service.backups.force_delete(ADMIN, row.id)
    assert (scene.volume.status, scene.volume.previous_status) == (
        was,
        VolumeStatus.ERROR_BACKING_UP,
    )
    scene.gate.open()
    assert scene.settled_or_gone(row.id) is None
    assert scene.stored() == []
    assert states(scene, scene.volume.id, row.id) == [State.DELETED]
    assert scene.frozen() == []


def test_what_a_worker_commits_after_force_does_not_count(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = list[Any]()

    def late(*args: Any, **options: Any) -> Any:
        options.pop("stop")
        done = backup(*args, **options)
        scene.service.backups.force_delete(ADMIN, done.id)
        rows.append(done.id)
        return done

    monkeypatch.setattr(creating, "backup", late)
    begun = scene.service.backups.create(ALICE, BackupWish(volume_id=scene.volume.id))
    assert scene.settled_or_gone(begun.id) is None
    assert rows == [begun.id]
    assert scene.stored() == []
    assert scene.volume.status is VolumeStatus.AVAILABLE


def test_a_worker_that_ends_late_leaves_the_volume_to_the_next_backup(scene: Scene) -> None:
    scene.gate.shut()
    first = scene.service.backups.create(ALICE, BackupWish(volume_id=scene.volume.id))
    scene.wait(lambda: bool(scene.gate.begun))
    scene.service.backups.force_delete(ADMIN, first.id)
    second = scene.service.backups.create(ALICE, BackupWish(volume_id=scene.volume.id))
    scene.wait(lambda: f"delete:{first.id}" in scene.gate.begun)  # after the first's job ended
    assert scene.volume.status == "backing-up"
    scene.gate.open()
    assert scene.settled(second.id).status is BackupStatus.AVAILABLE
    assert scene.volume.status == "available"
