from __future__ import annotations

import base64
import json
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from backupcore.catalog.row import BackupRow
from backupcore.catalog.status import BackupStatus, SnapshotStatus
from backupcore.service import BackupWish, Denied, ExportedRecord, OverQuota, SnapshotWish
from tests.service.scene import ADMIN, ALICE, Scene, content, started

COPY = "5f0c7a61-7a8b-4c46-9b05-2a4b0c6f3d11"


def exported(scene: Scene) -> tuple[str, ExportedRecord]:
    """Return a stored backup's id, whose row is gone, and its record."""
    row = scene.create(name="first")
    record = scene.service.records.export(ADMIN, row.id)
    with scene.service.catalog.writing() as rows:
        rows.remove_backup(row.id)
    return row.id, record


def brought_in(scene: Scene, row: BackupRow) -> BackupRow:
    """Export a backup, lose its row, and begin to import it."""
    record = scene.service.records.export(ADMIN, row.id)
    with scene.service.catalog.writing() as rows:
        rows.remove_backup(row.id)
    return scene.service.records.take(ADMIN, record)


def whole_seconds(moment: datetime) -> datetime:
    return moment.replace(microsecond=0)


def test_an_imported_backup_becomes_available_and_restores(scene: Scene) -> None:
    stored_id, record = exported(scene)
    row = scene.service.records.take(ADMIN, record)
    assert (row.status, row.volume_id[:8]) == (BackupStatus.CREATING, "00000000")
    done = scene.settled(row.id)
    assert (done.status, done.stored_id, done.name) == (
        BackupStatus.AVAILABLE,
        stored_id,
        "first",
    )
    assert done.volume_id == scene.volume.id
    assert scene.read(scene.restore(done.id)) == content(1)


def test_the_record_of_an_imported_copy_names_the_copy(scene: Scene) -> None:
    record = scene.service.records.export(ADMIN, scene.create().id)
    inner = {**json.loads(base64.b64decode(record.backup_url)), "id": COPY}
    url = base64.b64encode(json.dumps(inner).encode()).decode()
    copied = scene.settled(scene.service.records.take(ADMIN, replace(record, backup_url=url)).id)
    again = scene.service.records.export(ADMIN, copied.id)
    assert json.loads(base64.b64decode(again.backup_url))["id"] == copied.id == COPY


def test_an_export_and_an_import_keep_what_the_row_says(scene: Scene) -> None:
    frozen = scene.service.snapshots.create(ALICE, SnapshotWish(volume_id=scene.volume.id))
    made = scene.create(
        name="first", description="of wheat", metadata={"project": "x"}, snapshot_id=frozen.id
    )
    row = scene.settled(brought_in(scene, made).id)
    whole = {"created_at": whole_seconds(made.created_at)}
    assert made.data_timestamp is not None
    whole["data_timestamp"] = whole_seconds(made.data_timestamp)
    kept = ("name", "description", "metadata", "snapshot_id", "size", "volume_id", "volume_name",
            "volume_description", "volume_metadata", "availability_zone")  # fmt: skip
    for name in kept:
        assert getattr(row, name) == getattr(made, name), name
    assert (row.created_at, row.data_timestamp) == tuple(whole.values())


def test_an_import_has_no_name_before_the_store_was_asked(scene: Scene) -> None:
    _, record = exported(scene)
    scene.gate.shut()
    row = scene.service.records.take(ADMIN, record)
    assert (row.name, row.description, row.metadata) == (None, None, {})
    scene.gate.open()
    assert scene.settled(row.id).name == "first"


def test_an_import_of_a_backup_of_a_snapshot_gives_no_snapshot_back(scene: Scene) -> None:
    frozen = scene.service.snapshots.create(ALICE, SnapshotWish(volume_id=scene.volume.id))
    made = scene.create(snapshot_id=frozen.id)
    row = scene.settled(brought_in(scene, made).id)
    scene.gate.shut()
    scene.service.backups.create(
        ALICE, BackupWish(volume_id=scene.volume.id, snapshot_id=frozen.id)
    )
    scene.service.backups.force_delete(ADMIN, row.id)
    assert scene.snapshot_row(frozen.id).status is SnapshotStatus.BACKING_UP
    scene.gate.open()
    scene.settled_or_gone(row.id)


@pytest.mark.parametrize("name", ["", "cinder.backup.drivers.backupcore", "whole"])
def test_a_service_is_named_by_what_its_name_begins_with(scene: Scene, name: str) -> None:
    _, record = exported(scene)
    given = record if name == "whole" else replace(record, backup_service=name)
    row = scene.service.records.take(ADMIN, given)
    assert scene.settled(row.id).status is BackupStatus.AVAILABLE


def test_a_record_for_another_service_is_refused(scene: Scene) -> None:
    _, record = exported(scene)
    other = replace(record, backup_service="cinder.backup.drivers.posix.PosixBackupDriver")
    said = scene.refusal(lambda: scene.service.records.take(ADMIN, other))
    assert said == "Invalid input received: this is no backup record of this service."
    assert scene.rows() == []


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("id", "Invalid input received: Provided backup record is missing an id"),
        ("size", "Invalid input received: Provided backup record is missing size attribute"),
    ],
)
def test_a_record_that_lacks_what_it_needs_is_refused_by_name(
    scene: Scene, name: str, said: str
) -> None:
    _, record = exported(scene)
    document = json.loads(base64.b64decode(record.backup_url))
    del document[name]
    text = base64.b64encode(json.dumps(document).encode()).decode()
    shorter = replace(record, backup_url=text)
    assert scene.refusal(lambda: scene.service.records.take(ADMIN, shorter)) == said


def test_a_record_of_a_row_that_is_there_is_refused(scene: Scene) -> None:
    row = scene.create()
    record = scene.service.records.export(ADMIN, row.id)
    said = scene.refusal(lambda: scene.service.records.take(ADMIN, record))
    assert said == "Invalid backup: Backup already exists in database."


def test_only_admins_export_and_import(scene: Scene) -> None:
    row = scene.create()
    record = scene.service.records.export(ADMIN, row.id)
    said = scene.refusal(lambda: scene.service.records.export(ALICE, row.id), Denied)
    assert said == "Policy doesn't allow backup:export-import to be performed."
    said = scene.refusal(lambda: scene.service.records.take(ALICE, record), Denied)
    assert said == "Policy doesn't allow backup:backup-import to be performed."


def test_only_what_is_available_is_exported(scene: Scene) -> None:
    row = scene.create()
    scene.service.backups.reset(ADMIN, row.id, "error")
    said = scene.refusal(lambda: scene.service.records.export(ADMIN, row.id))
    assert said == "Invalid backup: Backup status must be available and not creating."


@pytest.mark.parametrize("text", ["", "%%%", base64.b64encode(b"[]").decode()])
def test_what_is_no_record_is_refused(scene: Scene, text: str) -> None:
    record = ExportedRecord("cinder.backup.drivers.backupcore.posix", text)
    said = scene.refusal(lambda: scene.service.records.take(ADMIN, record))
    assert said.startswith("Invalid input received: ")
    assert scene.rows() == []


def test_a_record_that_was_changed_is_refused(scene: Scene) -> None:
    _, record = exported(scene)
    document = json.loads(base64.b64decode(record.backup_url))
    document["driver_info"] = {}
    text = base64.b64encode(json.dumps(document).encode()).decode()
    forged = ExportedRecord(record.backup_service, text)
    said = scene.refusal(lambda: scene.service.records.take(ADMIN, forged))
    assert said.startswith("Invalid input received: ")


def test_an_import_over_the_quota_is_refused(tmp_path: Path) -> None:
    with started(tmp_path, quotas={"backups": 1}) as scene:
        _, record = exported(scene)
        scene.create()
        said = scene.refusal(lambda: scene.service.records.take(ADMIN, record), OverQuota)
        assert said == "BackupLimitExceeded: Maximum number of backups allowed (1) exceeded"


def test_a_record_of_an_unknown_repository_is_refused(tmp_path: Path) -> None:
    with started(tmp_path / "a") as scene:
        _, record = exported(scene)
        key = scene.folder / "service" / "record-key.pem"
        (tmp_path / "b" / "service").mkdir(parents=True)
        (tmp_path / "b" / "service" / "record-key.pem").write_bytes(key.read_bytes())
        (tmp_path / "b" / "service" / "record-key.pem").chmod(0o600)
    with started(tmp_path / "b") as scene:
        said = scene.refusal(lambda: scene.service.records.take(ADMIN, record))
        assert said == "Invalid input received: the record's repository is not configured here."


def test_a_failed_import_that_is_deleted_leaves_the_store_as_it_was(scene: Scene) -> None:
    _, record = exported(scene)
    packs = [path for path in (scene.folder / "store" / "data").rglob("*") if path.is_file()]
    lost = packs[0].read_bytes()
    packs[0].unlink()
    before = scene.objects()
    row = scene.settled(scene.service.records.take(ADMIN, record).id)
    assert (row.status, row.fail_reason) == (
        BackupStatus.ERROR,
        "record rejected: the stored backup is damaged",
    )
    assert scene.delete(row.id) is None
    assert scene.objects() == before
    packs[0].write_bytes(lost)
    again = scene.settled(scene.service.records.take(ADMIN, record).id)
    assert again.status is BackupStatus.AVAILABLE


def test_an_import_that_is_forced_away_deletes_nothing_in_the_store(scene: Scene) -> None:
    stored_id, record = exported(scene)
    before = scene.objects()
    scene.gate.shut()
    row = scene.service.records.take(ADMIN, record)
    scene.service.backups.force_delete(ADMIN, row.id)
    scene.gate.open()
    assert scene.settled_or_gone(row.id) is None
    assert scene.objects() == before
    assert scene.stored() == [stored_id]


def test_an_import_of_what_was_deleted_is_an_error(scene: Scene) -> None:
    row = scene.create()
    record = scene.service.records.export(ADMIN, row.id)
    scene.delete(row.id)
    done = scene.settled(scene.service.records.take(ADMIN, record).id)
    assert done.status is BackupStatus.ERROR
    assert (done.fail_reason or "").startswith("record rejected: ")
    said = scene.refusal(lambda: scene.service.backups.reset(ADMIN, done.id, "available"))
    assert said == "Invalid backup: the stored backup is not there"


def test_what_is_being_deleted_is_not_imported(scene: Scene) -> None:
    row = scene.create(name="first")
    record = scene.service.records.export(ADMIN, row.id)
    with scene.service.catalog.writing() as rows:
        found = rows.remove_backup(row.id)
        fields = {name: getattr(row, name) for name in row.__dataclass_fields__}
        rows.add_backup(type(row)(**{**fields, "id": "twin", "status": BackupStatus.DELETING}))
    assert found
    said = scene.refusal(lambda: scene.service.records.take(ADMIN, record))
    assert said == "Invalid backup: the stored backup is being deleted."


def test_reset_does_not_call_available_what_was_never_stored(scene: Scene) -> None:
    scene.gate.shut()
    row = scene.service.backups.create(ALICE, BackupWish(volume_id=scene.volume.id))
    said = scene.refusal(lambda: scene.service.backups.reset(ADMIN, row.id, "available"))
    assert said == "Invalid backup: the stored backup is not there"
    scene.service.backups.reset(ADMIN, row.id, "error")
    scene.gate.open()
    assert scene.settled(row.id).status is BackupStatus.ERROR
    assert scene.stored() == []
    assert scene.volume.status == "available"


def test_reset_brings_a_stored_backup_back_from_error(scene: Scene) -> None:
    row = scene.create()
    scene.service.backups.reset(ADMIN, row.id, "error")
    scene.service.backups.reset(ADMIN, row.id, "available")
    assert scene.settled(row.id).status is BackupStatus.AVAILABLE
