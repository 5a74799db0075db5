from __future__ import annotations

import threading
from pathlib import Path
from uuid import uuid4

import pytest

from backupcore.catalog.status import BackupStatus, SnapshotStatus, VolumeStatus
from backupcore.service import BackupWish, Denied, Invalid, Missing, OverQuota, SnapshotWish
from tests.service.scene import (
    ADMIN,
    ALICE,
    MALLORY,
    READER,
    SIZE_BYTES,
    Scene,
    content,
    providers,
    started,
)

NO_BASE = "Invalid backup: No backups available to do an incremental backup."


def ask(scene: Scene, caller=ALICE, **wish):  # type: ignore[no-untyped-def]
    wanted = BackupWish(**{"volume_id": scene.volume.id, **wish})
    return lambda: scene.service.backups.create(caller, wanted)


def test_a_backup_becomes_available_and_its_volume_is_as_before(scene: Scene) -> None:
    row = scene.create(name="first", description="of many", metadata={"k": "v"})
    assert row.status is BackupStatus.AVAILABLE
    assert (row.size, row.size_bytes) == (1, SIZE_BYTES)
    assert row.object_count > 0
    assert not row.is_incremental
    assert row.data_timestamp == row.created_at
    assert (row.availability_zone, row.container) == ("nova", "volumebackups")
    assert scene.volume.status is VolumeStatus.AVAILABLE
    assert scene.volume.previous_status is VolumeStatus.BACKING_UP
    assert scene.stored() == [row.id]


def test_a_backup_is_creating_and_its_volume_backing_up_until_the_job_is_done(
    scene: Scene,
) -> None:
    scene.gate.shut()
    row = ask(scene)()
    assert row.status is BackupStatus.CREATING
    assert scene.volume.status is VolumeStatus.BACKING_UP
    assert scene.volume.previous_status is VolumeStatus.AVAILABLE
    scene.gate.open()
    assert scene.settled(row.id).status is BackupStatus.AVAILABLE


def test_an_unknown_volume_or_another_projects_is_missing(scene: Scene) -> None:
    unknown = str(uuid4())
    said = scene.refusal(ask(scene, volume_id=unknown), Missing)
    assert said == f"Volume {unknown} could not be found."
    foreign = scene.refusal(ask(scene, MALLORY), Missing)
    assert foreign == f"Volume {scene.volume.id} could not be found."


def test_an_unknown_snapshot_is_missing(scene: Scene) -> None:
    unknown = str(uuid4())
    said = scene.refusal(ask(scene, snapshot_id=unknown), Missing)
    assert said == f"Snapshot {unknown} could not be found."


def test_a_snapshot_of_another_volume_is_refused(scene: Scene) -> None:
    other = scene.add_volume("second")
    snapshot = scene.service.snapshots.create(ALICE, SnapshotWish(volume_id=other.id))
    assert scene.refusal(ask(scene, snapshot_id=snapshot.id)) == (
        f"Invalid volume: Volume {scene.volume.id} does not match with snapshot.volume_id "
        f"{other.id}."
    )


def test_a_snapshot_that_is_not_available_is_refused(scene: Scene) -> None:
    snapshot = scene.service.snapshots.create(ALICE, SnapshotWish(volume_id=scene.volume.id))
    scene.service.snapshots.reset(ADMIN, snapshot.id, SnapshotStatus.ERROR)
    assert scene.refusal(ask(scene, snapshot_id=snapshot.id)) == (
        "Invalid snapshot: Snapshot to be backed up must be available, but the current "
        'status is "error".'
    )


@pytest.mark.parametrize(
    "status", sorted(set(VolumeStatus) - {VolumeStatus.AVAILABLE, VolumeStatus.IN_USE})
)
@pytest.mark.parametrize("is_forced", [False, True], ids=["plain", "forced"])
def test_a_volume_in_another_state_is_refused_whatever_the_force(
    scene: Scene, status: VolumeStatus, is_forced: bool
) -> None:
    scene.set_status(scene.volume.id, status)
    assert scene.refusal(ask(scene, is_forced=is_forced)) == (
        "Invalid volume: Volume to be backed up must be available or in-use, but the current "
        f'status is "{status}".'
    )
    assert scene.rows() == []


def test_a_volume_in_use_needs_the_force_flag(scene: Scene) -> None:
    scene.attach()
    assert scene.refusal(ask(scene)) == (
        "Invalid volume: Backing up an in-use volume must use the force flag."
    )


def test_a_volume_in_use_is_read_from_a_snapshot_that_goes_again(scene: Scene) -> None:
    scene.attach()
    scene.gate.shut()
    row = ask(scene, is_forced=True)()
    assert scene.volume.previous_status is VolumeStatus.IN_USE
    scene.gate.open()
    assert scene.settled(row.id).status is BackupStatus.AVAILABLE
    assert scene.volume.status is VolumeStatus.IN_USE
    assert scene.frozen() == []


def test_a_volume_in_use_without_snapshots_is_refused_unless_the_operator_allows_it(
    tmp_path: Path,
) -> None:
    with started(tmp_path, providers=providers(tmp_path)) as scene:
        scene.attach()
        said = scene.refusal(ask(scene, is_forced=True))
        assert said.startswith(f"Invalid volume: Volume {scene.volume.id} is in use and")
    allowing = providers(tmp_path, allow_crash_inconsistent=True)
    with started(tmp_path, providers=allowing) as scene:
        assert scene.create(is_forced=True).status is BackupStatus.AVAILABLE
        assert scene.volume.status is VolumeStatus.IN_USE


def test_a_backup_of_a_snapshot_leaves_the_volume_alone(scene: Scene) -> None:
    snapshot = scene.service.snapshots.create(ALICE, SnapshotWish(volume_id=scene.volume.id))
    scene.write(2)
    scene.set_status(scene.volume.id, VolumeStatus.ERROR)
    scene.gate.shut()
    row = ask(scene, snapshot_id=snapshot.id)()
    assert scene.snapshot_row(snapshot.id).status is SnapshotStatus.BACKING_UP
    assert scene.volume.status is VolumeStatus.ERROR
    scene.gate.open()
    done = scene.settled(row.id)
    assert (done.status, done.data_timestamp) == (BackupStatus.AVAILABLE, snapshot.created_at)
    assert scene.snapshot_row(snapshot.id).status is SnapshotStatus.AVAILABLE
    assert scene.volume.status is VolumeStatus.ERROR
    assert scene.read(scene.restore(done.id)) == content(1)


def test_a_container_that_is_not_configured_is_refused(scene: Scene) -> None:
    said = scene.refusal(ask(scene, container="attic"))
    assert said == "Invalid input received: container attic is not configured"


def test_whoever_may_only_read_is_denied(scene: Scene) -> None:
    said = scene.refusal(ask(scene, READER), Denied)
    assert said == "Policy doesn't allow backup:create to be performed."


@pytest.mark.parametrize(
    ("quotas", "said"),
    [
        ({"backups": 0}, "BackupLimitExceeded: Maximum number of backups allowed (0) exceeded"),
        (
            {"backup_gigabytes": 0},
            (
                "VolumeBackupSizeExceedsAvailableQuota: Requested backup exceeds allowed Backup "
                "gigabytes quota. Requested 1G, quota is 0G and 0G has been consumed."
            ),
        ),
    ],
    ids=["count", "size"],
)
def test_a_project_over_its_quota_is_refused_and_nothing_is_left(
    tmp_path: Path, quotas: dict[str, int], said: str
) -> None:
    with started(tmp_path, quotas=quotas) as scene:
        assert scene.refusal(ask(scene), OverQuota) == said
        assert scene.rows() == []
        assert scene.volume.status is VolumeStatus.AVAILABLE


def test_a_failed_backup_is_an_error_with_a_reason_and_frees_its_volume(scene: Scene) -> None:
    scene.gate.shut()
    row = ask(scene)()
    (scene.folder / "images" / "data").unlink()
    scene.gate.open()
    done = scene.settled(row.id)
    assert (done.status, done.fail_reason) == (BackupStatus.ERROR, "the volume is not there")
    assert scene.volume.status is VolumeStatus.AVAILABLE
    assert scene.volume.previous_status is VolumeStatus.ERROR_BACKING_UP


def test_an_incremental_backup_needs_an_available_one_of_the_project(scene: Scene) -> None:
    assert scene.refusal(ask(scene, is_incremental=True)) == NO_BASE
    first = scene.create()
    scene.service.backups.reset(ADMIN, first.id, "error")
    assert scene.refusal(ask(scene, is_incremental=True)) == NO_BASE


def test_backups_of_other_projects_are_no_base(scene: Scene) -> None:
    first = scene.create()
    record = scene.service.records.export(ADMIN, first.id)
    assert scene.delete(first.id) is None or record
    assert scene.refusal(ask(scene, is_incremental=True)) == NO_BASE


def test_the_base_is_the_newest_available_backup_full_or_not(scene: Scene) -> None:
    scene.create()
    second = scene.create(is_incremental=True)
    newest = scene.create()
    scene.service.backups.reset(ADMIN, newest.id, "error")
    scene.write(5)
    done = scene.create(is_incremental=True)
    assert (done.parent_id, done.is_incremental) == (second.id, True)
    assert scene.read(scene.restore(done.id)) == content(5)


def test_the_base_of_a_snapshot_is_older_than_it(scene: Scene) -> None:
    first = scene.create()
    snapshot = scene.service.snapshots.create(ALICE, SnapshotWish(volume_id=scene.volume.id))
    scene.create()
    done = scene.create(is_incremental=True, snapshot_id=snapshot.id)
    assert done.parent_id == first.id


def test_a_snapshot_without_an_older_backup_has_no_base(scene: Scene) -> None:
    snapshot = scene.service.snapshots.create(ALICE, SnapshotWish(volume_id=scene.volume.id))
    scene.create()
    said = scene.refusal(ask(scene, is_incremental=True, snapshot_id=snapshot.id))
    assert said == NO_BASE


def test_a_base_in_another_container_means_that_everything_is_read(scene: Scene) -> None:
    scene.create(container="other")
    done = scene.create(is_incremental=True)
    assert (done.is_incremental, done.parent_id) == (False, None)
    assert done.object_count > 0


def test_of_two_backups_of_one_volume_at_once_exactly_one_begins(scene: Scene) -> None:
    scene.gate.shut()
    barrier, ends = threading.Barrier(4), list[str]()

    def begin() -> None:
        barrier.wait()
        try:
            ends.append(ask(scene)().id)
        except Invalid as error:
            ends.append(str(error).partition(":")[0])

    threads = [threading.Thread(target=begin) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ends.count("Invalid volume") == 3
    assert len(scene.rows()) == 1
    scene.gate.open()
    scene.settled(scene.rows()[0].id)
