from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from backupcore.catalog.change import BackupChanges
from backupcore.catalog.row import VolumeRow
from backupcore.catalog.status import BackupStatus, VolumeStatus
from backupcore.service import BackupWish, Denied, Missing, OverQuota, RestoreWish
from tests.service.scene import (
    ADMIN,
    ALICE,
    MALLORY,
    READER,
    SIZE_BYTES,
    Scene,
    content,
    started,
)

GIB = 1 << 30
MUST_BE_AVAILABLE = "Invalid backup: Backup status must be available"


def ask(scene: Scene, backup_id: str, caller: Any = ALICE, **wish: Any) -> Any:
    return lambda: scene.service.backups.restore(caller, backup_id, RestoreWish(**wish))


def test_a_restore_to_the_same_volume_brings_its_bytes_back(scene: Scene) -> None:
    row = scene.create()
    scene.write(2)
    target = scene.restore(row.id, volume_id=scene.volume.id)
    assert (target.id, target.status) == (scene.volume.id, VolumeStatus.AVAILABLE)
    assert scene.read(target) == content(1)
    assert "src_backup_id" not in target.metadata
    now = scene.row(row.id)
    assert now is not None
    assert (now.status, now.restore_volume_id) == (BackupStatus.AVAILABLE, None)


def test_a_restore_to_another_volume_says_where_it_came_from(scene: Scene) -> None:
    row = scene.create()
    other = scene.add_volume("second")
    target = scene.restore(row.id, volume_id=other.id, name="ignored")
    assert (target.id, target.name) == (other.id, "second")
    assert scene.read(target) == content(1)
    assert target.metadata["src_backup_id"] == row.id


def test_a_restore_to_a_larger_volume_leaves_what_is_past_the_end(scene: Scene) -> None:
    row = scene.create()
    other = scene.add_volume("second", SIZE_BYTES + 4096)
    scene.write(7, "second", SIZE_BYTES + 4096)
    scene.restore(row.id, volume_id=other.id)
    end = content(7, SIZE_BYTES + 4096)[SIZE_BYTES:]
    assert scene.read(other, SIZE_BYTES + 4096) == content(1) + end


def test_a_restore_without_a_name_makes_a_volume_called_as_its_source(scene: Scene) -> None:
    scene.service.volumes.update(
        ALICE, scene.volume.id, {"description": "of wheat", "metadata": {"k": "v"}}
    )
    row = scene.create()
    scene.gate.shut()
    made = ask(scene, row.id)().volume
    assert made.name == f"restore_backup_{row.id}"
    assert made.description == "auto-created_from_restore_from_backup"
    assert made.status is VolumeStatus.RESTORING
    scene.gate.open()
    scene.settled(row.id)
    target = scene.volume_row(made.id)
    assert (target.name, target.description) == ("data", "of wheat")
    assert target.metadata == {"k": "v", "src_backup_id": row.id}
    assert (target.size, target.size_bytes) == (1, GIB)
    assert scene.read(target, SIZE_BYTES + 10) == content(1) + bytes(10)


def test_a_restore_with_a_name_makes_a_volume_of_that_name(scene: Scene) -> None:
    row = scene.create()
    assert scene.restore(row.id, name="fresh").name == "fresh"


@pytest.mark.parametrize("status", [BackupStatus.CREATING, BackupStatus.RESTORING])
def test_a_backup_under_way_is_not_restored(scene: Scene, status: BackupStatus) -> None:
    row = scene.create()
    scene.gate.shut()
    if status is BackupStatus.RESTORING:
        ask(scene, row.id, volume_id=scene.volume.id)()
    else:
        row = scene.service.backups.create(ALICE, BackupWish(volume_id=scene.volume.id))
    other = scene.add_volume("second")
    assert scene.refusal(ask(scene, row.id, volume_id=other.id)) == MUST_BE_AVAILABLE
    scene.gate.open()
    scene.settled(row.id)


def test_a_backup_in_error_is_not_restored_and_makes_no_volume(scene: Scene) -> None:
    row = scene.create()
    scene.service.backups.reset(ADMIN, row.id, "error")
    assert scene.refusal(ask(scene, row.id)) == MUST_BE_AVAILABLE
    assert [path.name for path in (scene.folder / "images").glob("volume-*")] == []


def test_a_backup_without_a_size_is_not_restored(scene: Scene) -> None:
    row = scene.create()
    changes: BackupChanges = {"size_bytes": None}
    scene.service.catalog.write(lambda rows: rows.edit_backup(row.id, **changes))
    said = scene.refusal(ask(scene, row.id))
    assert said == "Invalid backup: Backup to be restored has invalid size"


def test_an_unknown_target_or_another_projects_is_missing(scene: Scene) -> None:
    row = scene.create()
    unknown = str(uuid4())
    said = scene.refusal(ask(scene, row.id, volume_id=unknown), Missing)
    assert said == f"Volume {unknown} could not be found."


def test_another_projects_backup_is_missing(scene: Scene) -> None:
    row = scene.create()
    said = scene.refusal(ask(scene, row.id, MALLORY), Missing)
    assert said == f"Backup {row.id} could not be found."


def test_whoever_may_only_read_is_denied(scene: Scene) -> None:
    row = scene.create()
    said = scene.refusal(ask(scene, row.id, READER), Denied)
    assert said == "Policy doesn't allow backup:restore to be performed."


def test_a_target_that_is_not_available_is_refused(scene: Scene) -> None:
    row = scene.create()
    scene.attach()
    said = scene.refusal(ask(scene, row.id, volume_id=scene.volume.id))
    assert said == "Invalid volume: Volume to be restored to must be available"


def test_a_target_too_small_by_a_byte_is_refused(scene: Scene) -> None:
    row = scene.create()
    other = scene.add_volume("second", SIZE_BYTES - 1)
    said = scene.refusal(ask(scene, row.id, volume_id=other.id))
    assert said == "Invalid volume: volume size 1 is too small to restore backup of size 1."


@pytest.mark.parametrize(
    ("quotas", "said"),
    [
        (
            {"volumes": 1},
            (
                "VolumeLimitExceeded: Maximum number of volumes allowed (1) exceeded for quota "
                "'volumes'."
            ),
        ),
        (
            {"gigabytes": 1},
            (
                "VolumeSizeExceedsAvailableQuota: Requested volume or snapshot exceeds allowed "
                "gigabytes quota. Requested 1G, quota is 1G and 1G has been consumed."
            ),
        ),
    ],
    ids=["count", "size"],
)
def test_a_new_volume_over_the_quota_is_refused(
    tmp_path: Path, quotas: dict[str, int], said: str
) -> None:
    with started(tmp_path, quotas=quotas) as scene:
        row = scene.create()
        assert scene.refusal(ask(scene, row.id), OverQuota) == said
        now = scene.row(row.id)
        assert now is not None
        assert now.status is BackupStatus.AVAILABLE


def test_a_volume_that_cannot_be_made_is_refused(scene: Scene) -> None:
    row = scene.create()
    scene.service.providers.maker()[1].close()
    said = scene.refusal(ask(scene, row.id))
    assert said.startswith("Invalid volume: Error while creating volume ")
    assert said.endswith(f" for restoring backup {row.id}.")


def test_where_no_volumes_are_made_a_restore_needs_a_target_and_leaves_no_row(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = scene.create()
    monkeypatch.setattr(scene.service.providers.maker()[1], "has_new_volumes", False)
    before = volume_count(scene)
    said = scene.refusal(ask(scene, row.id))
    assert said == "Invalid volume: no volumes are made here: name one that exists already"
    assert volume_count(scene) == before


def volume_count(scene: Scene) -> int:
    with scene.service.catalog.reading() as rows:
        return rows.usage("demo").volumes


def fail_restore(scene: Scene) -> VolumeRow:
    row = scene.create()
    scene.gate.shut()
    target = ask(scene, row.id, volume_id=scene.volume.id)().volume
    for pack in (scene.folder / "store" / "data").rglob("*"):
        if pack.is_file():
            pack.unlink()
    scene.gate.open()
    assert scene.settled(row.id).status is BackupStatus.AVAILABLE
    return scene.volume_row(target.id)


def test_a_failed_restore_leaves_the_backup_available_and_the_volume_in_error(
    scene: Scene,
) -> None:
    assert fail_restore(scene).status is VolumeStatus.ERROR_RESTORING


def test_a_cancelled_restore_leaves_the_volume_in_error(scene: Scene) -> None:
    row = scene.create()
    scene.gate.shut()
    ask(scene, row.id, volume_id=scene.volume.id)()
    scene.wait(lambda: len(scene.gate.begun) == 2)
    scene.service.backups.reset(ADMIN, row.id, "error")
    assert scene.volume.status is VolumeStatus.ERROR
    scene.gate.open()
    assert scene.settled(row.id).status is BackupStatus.ERROR
    assert scene.volume.status is VolumeStatus.ERROR


def test_a_restore_begun_while_a_cancelled_one_ends_is_done(scene: Scene) -> None:
    row = scene.create()
    other = scene.add_volume("second")
    scene.gate.shut()
    ask(scene, row.id, volume_id=scene.volume.id)()
    scene.wait(lambda: len(scene.gate.begun) == 2)
    scene.service.backups.reset(ADMIN, row.id, "available")
    ask(scene, row.id, volume_id=other.id)()
    scene.gate.open()
    assert scene.settled(row.id).status is BackupStatus.AVAILABLE
    assert scene.read(other) == content(1)
    assert scene.volume_row(other.id).status is VolumeStatus.AVAILABLE
    assert scene.volume.status is VolumeStatus.ERROR


def test_a_backup_is_restored_to_one_volume_at_a_time(scene: Scene) -> None:
    row = scene.create()
    other = scene.add_volume("second")
    scene.gate.shut()
    ask(scene, row.id, volume_id=scene.volume.id)()
    assert scene.refusal(ask(scene, row.id, volume_id=other.id)) == MUST_BE_AVAILABLE
    assert scene.volume_row(other.id).status is VolumeStatus.AVAILABLE
    scene.gate.open()
    scene.settled(row.id)
