"""An import that fails after the store had confirmed it."""

from __future__ import annotations

import pytest

from backupcore.catalog.status import BackupStatus
from backupcore.errors import Stopped, Unavailable
from backupcore.service.work import importing
from tests.service.scene import ADMIN, Scene


@pytest.mark.parametrize("error", [Unavailable("away"), Stopped("stopped")])
def test_deleting_an_import_that_failed_late_deletes_nothing_stored(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    row = scene.create()
    record = scene.service.records.export(ADMIN, row.id)
    with scene.service.catalog.writing() as rows:
        rows.remove_backup(row.id)

    def fail(*_: object) -> None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(importing, "check_is_current", fail)
        taken = scene.service.records.take(ADMIN, record)
        failed = scene.settled(taken.id)
    assert (failed.status, failed.stored_id, failed.size) == (BackupStatus.ERROR, None, 0)
    scene.delete(taken.id, ADMIN)
    assert scene.stored() == [row.id]
    again = scene.settled(scene.service.records.take(ADMIN, record).id)
    assert again.status is BackupStatus.AVAILABLE
