"""What the row of an import says while it is brought in, and what is left of one that is not."""

from __future__ import annotations

import gc
import os
from dataclasses import replace

import pytest

from backupcore.catalog.status import BackupStatus
from backupcore.record import Record
from backupcore.service import BackupWish, OverQuota
from backupcore.service.work import importing, outcome
from tests.service.scene import ADMIN, ALICE, Scene, started
from tests.service.test_record import exported

GIB = 1 << 30


def records() -> int:
    """Return how many records this process holds."""
    gc.collect()
    return sum(isinstance(one, Record) for one in gc.get_objects())


def test_an_import_has_no_size_before_the_store_was_asked(scene: Scene) -> None:
    _, record = exported(scene)
    scene.gate.shut()
    row = scene.service.records.take(ADMIN, record)
    assert (row.size, row.size_bytes) == (0, None)
    scene.gate.open()
    assert scene.settled(row.id).size == 1


def test_a_failed_import_has_no_size(scene: Scene) -> None:
    made = scene.create()
    record = scene.service.records.export(ADMIN, made.id)
    scene.delete(made.id)
    row = scene.settled(scene.service.records.take(ADMIN, record).id)
    assert (row.status, row.size, row.stored_id) == (BackupStatus.ERROR, 0, None)


def test_an_import_without_a_size_yet_needs_room_for_it(scene: Scene) -> None:
    _, record = exported(scene)
    with scene.service.catalog.writing() as rows:
        rows.set_limits("demo", {"backup_gigabytes": 0})
    said = scene.refusal(lambda: scene.service.records.take(ADMIN, record), OverQuota)
    assert said.startswith("VolumeBackupSizeExceedsAvailableQuota: ")


@pytest.mark.parametrize("way", ["force", "reset"])
def test_nothing_of_a_record_is_kept_after_its_import_was_cancelled(scene: Scene, way: str) -> None:
    _, record = exported(scene)
    before = records()
    scene.gate.shut()
    blockers = fill_threads(scene)
    row = scene.service.records.take(ADMIN, record)
    assert records() == before + 1
    if way == "force":
        scene.service.backups.force_delete(ADMIN, row.id)
    else:
        scene.service.backups.reset(ADMIN, row.id, "error")
    scene.gate.open()
    for blocker in (*blockers, row.id):
        scene.settled_or_gone(blocker)
    assert records() == before


def fill_threads(scene: Scene) -> list[str]:
    """Begin as many backups as there are threads, so that what comes next has to wait."""
    names = [f"more-{number}" for number in range(3)]
    volumes = [scene.add_volume(name) for name in names]
    made = [
        scene.service.backups.create(ALICE, BackupWish(volume_id=volume.id)) for volume in volumes
    ]
    scene.wait(lambda: len(scene.gate.begun) >= len(made))
    return [row.id for row in made]


def test_a_volume_that_grew_before_it_was_read_gives_its_backup_the_size_that_was_read(
    scene: Scene,
) -> None:
    scene.gate.shut()
    begun = scene.service.backups.create(ALICE, BackupWish(volume_id=scene.volume.id))
    assert begun.size == 1
    os.truncate(scene.folder / "images" / "data", GIB + 4096)
    scene.gate.open()
    done = scene.settled(begun.id)
    assert (done.size, done.size_bytes) == (2, GIB + 4096)


def test_a_backup_that_grew_beyond_the_quota_is_kept_for_it_is_stored(scene: Scene) -> None:
    with scene.service.catalog.writing() as rows:
        rows.set_limits("demo", {"backup_gigabytes": 1})
    scene.gate.shut()
    begun = scene.service.backups.create(ALICE, BackupWish(volume_id=scene.volume.id))
    os.truncate(scene.folder / "images" / "data", GIB + 4096)
    scene.gate.open()
    assert scene.settled(begun.id).status is BackupStatus.AVAILABLE


def test_an_import_that_was_confirmed_before_a_restart_is_finished_by_it(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, record = exported(scene)
    monkeypatch.setattr(importing, "finish_import", lambda rows, row: None)
    row = scene.service.records.take(ADMIN, record)
    scene.wait(lambda: not scene.service.engine.jobs())
    monkeypatch.setattr(importing, "finish_import", outcome.finish_import)
    scene.service.close()
    with started(scene.folder) as again:
        found = again.row(row.id)
        assert found is not None
        assert (found.status, found.is_imported) == (BackupStatus.AVAILABLE, True)


def test_an_import_does_not_touch_a_later_row_of_the_same_id(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored_id, record = exported(scene)
    scene.gate.shut()
    first = scene.service.records.take(ADMIN, record)
    with scene.service.catalog.writing() as rows:
        rows.remove_backup(first.id)
    monkeypatch.setattr(scene.service.engine, "submit", lambda order: True)
    later = scene.service.records.take(replace(ADMIN, request_id="req-later"), record)
    with scene.service.catalog.writing() as rows:
        outcome.fail_import(rows, first, "late")
        assert not outcome.confirm_import(rows, first, {"size_bytes": 1})
    assert scene.row(stored_id) == later
    scene.gate.open()
