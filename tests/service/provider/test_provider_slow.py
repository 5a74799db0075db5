"""A provider that takes its time, fails as it likes, or went away."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from backupcore.catalog import Listing, Scope
from backupcore.catalog.status import BackupStatus, SnapshotStatus, VolumeStatus
from backupcore.errors import TargetError
from backupcore.provider.directory import DirectoryProvider
from backupcore.service import BackupWish, RestoreWish, Service, SnapshotWish, VolumeWish
from backupcore.service import providers as providers_module
from tests.service.scene import ADMIN, ALICE, Scene, content, settings, started


class Brake:
    """Holds calls of a provider until it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.released = threading.Event()
        self.monkeypatch = monkeypatch
        monkeypatch.setattr(providers_module, "ANSWER_S", 0.05)

    def hold(self, name: str) -> None:
        original: Callable[..., Any] = getattr(DirectoryProvider, name)

        def slow(*given: Any) -> Any:
            assert self.released.wait(20)
            return original(*given)

        self.monkeypatch.setattr(DirectoryProvider, name, slow)


@pytest.fixture
def brake(monkeypatch: pytest.MonkeyPatch, scene: Scene) -> Iterator[Brake]:
    brake = Brake(monkeypatch)
    yield brake
    brake.released.set()


def fail_with(error: BaseException) -> Callable[..., Any]:
    def fail(*_: object) -> Any:
        raise error

    return fail


def volume_names(scene: Scene) -> list[str]:
    return sorted(path.name for path in (scene.folder / "images").glob("volume-*"))


def test_a_volume_is_creating_until_its_provider_has_made_it(scene: Scene, brake: Brake) -> None:
    brake.hold("create")
    began_s = time.monotonic()
    made = scene.service.volumes.create(ALICE, VolumeWish(size=1))
    assert time.monotonic() - began_s < 5
    assert made.status is VolumeStatus.CREATING
    brake.released.set()
    scene.wait(lambda: scene.volume_row(made.id).status is VolumeStatus.AVAILABLE)


def test_a_restore_waits_in_its_job_for_a_new_volume(scene: Scene, brake: Brake) -> None:
    row = scene.create()
    brake.hold("create")
    restoring = scene.service.backups.restore(ALICE, row.id, RestoreWish())
    assert restoring.volume.status is VolumeStatus.CREATING
    assert restoring.backup.status is BackupStatus.RESTORING
    brake.released.set()
    assert scene.settled(row.id).status is BackupStatus.AVAILABLE
    target = scene.volume_row(restoring.volume.id)
    assert target.status is VolumeStatus.AVAILABLE
    assert scene.read(target) == content(1)


def test_a_restore_whose_volume_fails_late_leaves_the_backup_available(
    scene: Scene, brake: Brake
) -> None:
    row = scene.create()
    brake.monkeypatch.setattr(DirectoryProvider, "create", fail_with(TargetError("no room")))
    brake.hold("create")
    restoring = scene.service.backups.restore(ALICE, row.id, RestoreWish())
    brake.released.set()
    assert scene.settled(row.id).status is BackupStatus.AVAILABLE
    assert scene.volume_row(restoring.volume.id).status is VolumeStatus.ERROR


def test_a_restore_that_waits_for_its_volume_can_be_cancelled(scene: Scene, brake: Brake) -> None:
    row = scene.create()
    brake.hold("create")
    restoring = scene.service.backups.restore(ALICE, row.id, RestoreWish())
    scene.service.backups.reset(ADMIN, row.id, "available")
    assert scene.settled(row.id).status is BackupStatus.AVAILABLE
    brake.released.set()
    scene.wait(lambda: scene.volume_row(restoring.volume.id).status is VolumeStatus.ERROR)
    scene.service.volumes.delete(ALICE, restoring.volume.id)
    scene.wait(lambda: volume_names(scene) == [])


def test_a_backup_that_cannot_be_restored_now_makes_no_volume(scene: Scene) -> None:
    row = scene.create()
    scene.gate.shut()
    scene.service.backups.restore(ALICE, row.id, RestoreWish(volume_id=scene.volume.id))
    scene.refusal(lambda: scene.service.backups.restore(ALICE, row.id, RestoreWish()))
    assert volume_names(scene) == []
    scene.gate.open()
    scene.settled(row.id)


def test_a_snapshot_is_creating_until_its_provider_has_made_it(scene: Scene, brake: Brake) -> None:
    brake.hold("snapshot")
    made = scene.service.snapshots.create(ALICE, SnapshotWish(volume_id=scene.volume.id))
    assert made.status is SnapshotStatus.CREATING
    brake.released.set()
    scene.wait(lambda: scene.snapshot_row(made.id).status is SnapshotStatus.AVAILABLE)


def test_a_volume_is_deleting_until_its_provider_has_deleted_it(scene: Scene, brake: Brake) -> None:
    made = scene.service.volumes.create(ALICE, VolumeWish(size=1))
    brake.hold("delete")
    scene.service.volumes.delete(ALICE, made.id)
    assert scene.volume_row(made.id).status is VolumeStatus.DELETING
    brake.released.set()
    scene.wait(lambda: volume_names(scene) == [])


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), KeyError("x"), SystemExit()])
def test_whatever_a_plugin_raises_is_an_error_of_the_volume(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    monkeypatch.setattr(DirectoryProvider, "create", fail_with(error))
    made = scene.service.volumes.create(ALICE, VolumeWish(size=1))
    assert made.status is VolumeStatus.ERROR
    row = scene.create()
    said = scene.refusal(lambda: scene.service.backups.restore(ALICE, row.id, RestoreWish()))
    assert said.startswith("Invalid volume: Error while creating volume ")


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), KeyError("x"), SystemExit()])
def test_whatever_a_plugin_raises_is_the_end_of_a_backup_and_not_of_the_service(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(DirectoryProvider, "open", fail_with(error))
        failed = [scene.create() for _ in range(4)]
    reasons = {(row.status, row.fail_reason) for row in failed}
    assert reasons == {(BackupStatus.ERROR, "the volume could not be read")}
    assert scene.create().status is BackupStatus.AVAILABLE


def test_a_provider_that_cannot_be_listed_keeps_no_service_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DirectoryProvider, "list", fail_with(OSError(5, "Input/output error")))
    with Service(settings(tmp_path)) as service:
        service.start()


def test_a_folder_whose_disk_is_not_mounted_loses_and_gains_no_volume(tmp_path: Path) -> None:
    with started(tmp_path) as scene:
        made = scene.service.volumes.create(ALICE, VolumeWish(size=1))
        data = scene.volume
    images, disk = tmp_path / "images", tmp_path / "disk"
    images.rename(disk)
    given = settings(tmp_path)
    (images / "data").unlink()
    with Service(given) as service:
        service.start()
        service.volumes.delete(ALICE, made.id)
        assert service.volumes.show(ALICE, made.id).status is VolumeStatus.ERROR_DELETING
        assert service.volumes.show(ALICE, data.id).status is VolumeStatus.AVAILABLE
        assert service.volumes.create(ALICE, VolumeWish(size=1)).status is VolumeStatus.ERROR
        assert list(images.iterdir()) == []


def leave_snapshot(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a forced backup whose snapshot cannot be deleted."""
    scene.attach()
    with monkeypatch.context() as broken:
        broken.setattr(DirectoryProvider, "delete_snapshot", fail_with(OSError(5, "I/O error")))
        assert scene.create(is_forced=True).status is BackupStatus.AVAILABLE
    assert len(scene.frozen()) == 1


def test_a_snapshot_that_a_backup_left_does_not_keep_its_volume_from_being_deleted(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_snapshot(scene, monkeypatch)
    volume = scene.volume
    scene.service.volumes.detach(ALICE, volume.id)
    scene.service.volumes.delete(ALICE, volume.id)
    with scene.service.catalog.reading() as rows:
        assert rows.page_volumes(Scope.everything(), Listing(limit=9)).rows == []
    assert scene.frozen() == []


def test_a_snapshot_that_a_backup_left_goes_with_the_next_backup(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_snapshot(scene, monkeypatch)
    scene.create(is_forced=True)
    assert scene.frozen() == []


def test_a_snapshot_that_a_backup_left_goes_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with started(tmp_path) as scene:
        leave_snapshot(scene, monkeypatch)
    with started(tmp_path) as scene:
        scene.wait(lambda: scene.frozen() == [])


def test_a_snapshot_of_a_backup_under_way_stays_at_a_sweep(scene: Scene) -> None:
    scene.attach()
    scene.gate.shut()
    wish = BackupWish(volume_id=scene.volume.id, is_forced=True)
    row = scene.service.backups.create(ALICE, wish)
    provider = scene.service.providers.of(scene.volume)
    taken = provider.snapshot("data", f"backup-{row.id}")
    by_hand = provider.snapshot("data", "backup-by-hand")
    scene.service.volumes.adopt()
    scene.service.providers.close()
    assert scene.frozen() == sorted([taken, by_hand])
