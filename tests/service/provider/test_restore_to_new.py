"""Between the moment its bytes are there and the end of the restore, a new volume is nobody's."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backupcore.catalog import Catalog
from backupcore.catalog.error import CatalogUnavailable
from backupcore.catalog.status import BackupStatus, VolumeStatus
from backupcore.provider.directory import DirectoryProvider
from backupcore.service import BackupWish, RestoreWish, Service, VolumeWish
from backupcore.service import providers as providers_module
from backupcore.service.work import making
from tests.service.scene import ALICE, Scene, content, settings, started


@pytest.fixture
def released(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """A provider makes no volume before this is set, and requests do not wait for it."""
    event = threading.Event()
    create = DirectoryProvider.create

    def slow(*given: Any) -> Any:
        assert event.wait(20)
        return create(*given)

    monkeypatch.setattr(providers_module, "ANSWER_S", 0.05)
    monkeypatch.setattr(DirectoryProvider, "create", slow)
    return event


def test_it_is_not_available_while_the_restore_is_queued(
    scene: Scene, released: threading.Event
) -> None:
    row = scene.create()
    scene.gate.shut()
    made = scene.service.backups.restore(ALICE, row.id, RestoreWish()).volume
    released.set()
    scene.wait(lambda: scene.volume_row(made.id).status is VolumeStatus.RESTORING)
    scene.refusal(lambda: scene.service.volumes.attach(ALICE, made.id, {}))
    scene.gate.open()
    scene.settled(row.id)
    assert scene.volume_row(made.id).status is VolumeStatus.AVAILABLE
    assert scene.read(made) == content(1)


def test_it_is_not_available_after_a_stop_while_it_was_made(
    tmp_path: Path, released: threading.Event
) -> None:
    with started(tmp_path) as scene:
        row = scene.create()
        made = scene.service.backups.restore(ALICE, row.id, RestoreWish()).volume
        threading.Timer(0.5, released.set).start()
    with started(tmp_path) as scene:
        assert scene.settled(row.id).status is BackupStatus.AVAILABLE
        failed = (VolumeStatus.ERROR, VolumeStatus.ERROR_RESTORING)
        assert scene.volume_row(made.id).status in failed


def test_waiting_for_it_takes_no_thread_of_the_jobs(
    scene: Scene, released: threading.Event
) -> None:
    rows = [scene.create() for _ in range(3)]
    for row in rows:
        scene.service.backups.restore(ALICE, row.id, RestoreWish())
    other = scene.service.backups.create(ALICE, BackupWish(volume_id=scene.volume.id))
    assert scene.settled(other.id).status is BackupStatus.AVAILABLE
    released.set()
    for row in rows:
        scene.settled(row.id)


def test_a_catalog_that_is_away_when_it_is_made_is_waited_for(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = scene.create()
    monkeypatch.setattr(making, "AGAIN_S", 0.01)
    refusals = iter([CatalogUnavailable("away")] * 3)
    write = Catalog.write

    def away(self: Catalog, change: Callable[..., Any]) -> Any:
        is_provider = threading.current_thread().name.startswith("provider")
        if is_provider and (error := next(refusals, None)) is not None:
            raise error
        return write(self, change)

    monkeypatch.setattr(Catalog, "write", away)
    made = scene.service.backups.restore(ALICE, row.id, RestoreWish()).volume
    assert scene.settled(row.id).status is BackupStatus.AVAILABLE
    assert next(refusals, None) is None
    assert scene.read(made) == content(1)


def test_a_provider_that_shows_nothing_is_not_believed_when_its_volumes_are_in_use(
    tmp_path: Path,
) -> None:
    with started(tmp_path) as scene:
        scene.attach()
        made = scene.service.volumes.create(ALICE, VolumeWish(size=1))
        scene.set_status(made.id, VolumeStatus.ERROR)
    images = tmp_path / "images"
    images.rename(tmp_path / "disk")
    given = settings(tmp_path)
    (images / "data").unlink()
    with Service(given) as service:
        service.start()
        service.volumes.delete(ALICE, made.id)
        assert service.volumes.show(ALICE, made.id).status is VolumeStatus.ERROR_DELETING
        assert service.volumes.create(ALICE, VolumeWish(size=1)).status is VolumeStatus.ERROR
    assert list(images.iterdir()) == []
