"""A volume that another program uses is in use, whatever its row says."""

from __future__ import annotations

from pathlib import Path

from backupcore.catalog.status import BackupStatus, SnapshotStatus, VolumeStatus
from backupcore.service import BackupWish, RestoreWish, SnapshotWish
from tests.service.scene import ALICE, Scene, content, providers, started
from tests.volume.image_user import WRITER, locked_bytes


def image(scene: Scene) -> Path:
    return scene.folder / "images" / "data"


def test_a_backup_of_it_needs_the_force_flag(scene: Scene) -> None:
    with locked_bytes(image(scene), WRITER):
        said = scene.refusal(
            lambda: scene.service.backups.create(ALICE, BackupWish(volume_id=scene.volume.id))
        )
    assert said == "Invalid volume: Backing up an in-use volume must use the force flag."
    assert (scene.rows(), scene.volume.status) == ([], VolumeStatus.AVAILABLE)


def test_a_forced_backup_of_it_reads_a_snapshot(scene: Scene) -> None:
    with locked_bytes(image(scene), WRITER):
        scene.gate.shut()
        wish = BackupWish(volume_id=scene.volume.id, is_forced=True)
        row = scene.service.backups.create(ALICE, wish)
        provider = scene.service.providers.of(scene.volume)
        provider.delete_snapshot("data@none")
        scene.gate.open()
        done = scene.settled(row.id)
    assert done.status is BackupStatus.AVAILABLE
    assert scene.frozen() == []
    assert (scene.folder / "images" / ".snapshots").exists()
    assert scene.read(scene.restore(done.id)) == content(1)


def test_a_forced_backup_of_it_is_refused_where_there_are_no_snapshots(tmp_path: Path) -> None:
    with started(tmp_path, providers=providers(tmp_path)) as scene:
        wish = BackupWish(volume_id=scene.volume.id, is_forced=True)
        with locked_bytes(image(scene), WRITER):
            said = scene.refusal(lambda: scene.service.backups.create(ALICE, wish))
    assert "is in use and its provider makes no snapshots" in said


def test_a_volume_that_comes_into_use_before_it_is_read_is_an_error_without_snapshots(
    tmp_path: Path,
) -> None:
    with started(tmp_path, providers=providers(tmp_path)) as scene:
        scene.gate.shut()
        row = scene.service.backups.create(ALICE, BackupWish(volume_id=scene.volume.id))
        with locked_bytes(image(scene), WRITER):
            scene.gate.open()
            done = scene.settled(row.id)
    assert (done.status, done.fail_reason) == (
        BackupStatus.ERROR,
        "the volume could not be read",
    )


def test_it_is_not_restored_to(scene: Scene) -> None:
    row = scene.create()
    wish = RestoreWish(volume_id=scene.volume.id)
    with locked_bytes(image(scene), WRITER):
        said = scene.refusal(lambda: scene.service.backups.restore(ALICE, row.id, wish))
    assert said == "Invalid volume: Volume to be restored to must be available"
    assert scene.volume.status is VolumeStatus.AVAILABLE


def test_it_is_not_deleted(scene: Scene) -> None:
    with locked_bytes(image(scene), WRITER):
        said = scene.refusal(lambda: scene.service.volumes.delete(ALICE, scene.volume.id))
    assert said.endswith('but current status is "in-use".')
    assert image(scene).exists()
    assert scene.volume.status is VolumeStatus.AVAILABLE


def test_a_snapshot_of_it_has_to_be_forced(scene: Scene) -> None:
    with locked_bytes(image(scene), WRITER):
        said = scene.refusal(
            lambda: scene.service.snapshots.create(ALICE, SnapshotWish(volume_id=scene.volume.id))
        )
        wish = SnapshotWish(volume_id=scene.volume.id, is_forced=True)
        made = scene.service.snapshots.create(ALICE, wish)
    assert said.endswith("but current status is: in-use.")
    assert made.status is SnapshotStatus.AVAILABLE
