from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from backupcore.catalog.status import BackupStatus
from backupcore.service import BackupWish, Denied, ExportedRecord, OverQuota
from tests.service.scene import ADMIN, ALICE, Scene, content, started


def exported(scene: Scene) -> tuple[str, ExportedRecord]:
    """Return a stored backup's id, whose row is gone, and its record."""
    row = scene.create(name="first")
    record = scene.service.records.export(ADMIN, row.id)
    with scene.service.catalog.writing() as rows:
        rows.remove_backup(row.id)
    return row.id, record


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
