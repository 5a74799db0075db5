from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Unpack
from uuid import uuid4

import pytest

from backupcore.catalog.change import BackupChanges, VolumeChanges
from backupcore.catalog.rebuild import rebuild
from backupcore.catalog.row import VolumeRow
from backupcore.catalog.status import BackupStatus, VolumeStatus
from backupcore.errors import Stopped
from backupcore.job import JobKind
from backupcore.operation.restore import restore
from backupcore.service import BackupWish, Denied, Missing, OverQuota, RestoreWish
from backupcore.service.work import restoring
from tests.service.imports.order import HeldScene, held_scene
from tests.service.scene import (
    ADMIN,
    ALICE,
    MALLORY,
    PROJECT,
    READER,
    SIZE_BYTES,
    Scene,
    content,
    started,
)

GIB = 1 << 30
MUST_BE_AVAILABLE = "Invalid backup: Backup status must be available"


@pytest.fixture
def held(tmp_path: Path) -> Iterator[HeldScene]:
    made = held_scene(tmp_path)
    with made.service:
        yield made


def say(scene: Scene, **changes: Unpack[VolumeChanges]) -> None:
    """Say something else of the volume `data`."""
    scene.service.volumes.update(ALICE, scene.volume.id, changes)


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


def test_a_restore_to_the_same_volume_brings_the_metadata_of_the_backup_back(
    scene: Scene,
) -> None:
    say(scene, metadata={"a": "1"})
    row = scene.create()
    say(scene, name="new", metadata={"a": "2", "b": "3"})
    target = scene.restore(row.id, volume_id=scene.volume.id)
    assert (target.name, target.metadata) == ("new", {"a": "1"})


@pytest.mark.parametrize("way", ["row", "import", "rebuild"])
def test_a_restore_after_its_source_is_gone_makes_the_volume_it_was(
    tmp_path: Path, way: str
) -> None:
    with started(tmp_path) as scene:
        say(scene, name="wheat", description="of wheat", metadata={"a": "1"})
        row = scene.create(metadata={"k": "v"})
        record = scene.service.records.export(ADMIN, row.id)
        scene.service.volumes.delete(ALICE, scene.volume.id)
        if way != "row":
            scene.service.catalog.write(lambda rows: rows.remove_backup(row.id))
        if way == "import":
            scene.service.records.take(ADMIN, record)
            scene.settled(row.id)
        if way == "rebuild":
            with scene.service.stores.open("volumebackups") as repository:
                rebuild(
                    scene.service.catalog,
                    repository,
                    container="volumebackups",
                    project_of=lambda found: PROJECT,
                )
        target = scene.restore(row.id)
        found = scene.settled(row.id)
    assert (target.name, target.description) == ("wheat", "of wheat")
    assert target.metadata == {"a": "1", "src_backup_id": row.id}
    assert found.metadata == {"k": "v"}


def test_what_a_manifest_has_no_room_for_is_kept_in_the_row_and_logged(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    smile = "\U0001f600"
    much = {f"key-{number}": "v" * 255 for number in range(40)}
    say(scene, name=smile * 255, description=smile * 255, metadata=much)
    row = scene.create(name=smile * 255, description=smile * 255, metadata=much)
    assert row.status is BackupStatus.AVAILABLE
    (told,) = [one for one in caplog.records if "no room for all" in one.message]
    assert "service:volume:metadata" in told.__dict__["left_out"]
    target = scene.restore(row.id)
    assert (target.name, target.description) == (smile * 255, smile * 255)
    assert target.metadata == {**much, "src_backup_id": row.id}


def test_a_restore_of_what_an_older_release_made_leaves_the_metadata(scene: Scene) -> None:
    say(scene, metadata={"a": "2"})
    row = scene.create()
    unknown: BackupChanges = {"volume_name": None, "volume_metadata": None}
    scene.service.catalog.write(lambda rows: rows.edit_backup(row.id, **unknown))
    assert scene.restore(row.id, volume_id=scene.volume.id).metadata == {"a": "2"}
    assert scene.restore(row.id).name == f"restore_backup_{row.id}"


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
    assert said == (
        f"Invalid volume: volume size {SIZE_BYTES - 1} bytes is too small to restore backup of "
        f"size {SIZE_BYTES} bytes."
    )


@pytest.mark.parametrize(
    ("quotas", "said"),
    [
        (
            {"volumes": 1},
            ("Maximum number of volumes allowed (1) exceeded for quota 'volumes'."),
        ),
        (
            {"gigabytes": 1},
            (
                "Requested volume or snapshot exceeds allowed "
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


def test_a_cancelled_restore_does_not_fail_the_one_that_was_begun_meanwhile(
    held: HeldScene,
) -> None:
    backup_id = held.make()
    other = held.add_volume("second")
    ask(held, backup_id, volume_id=held.volume.id)()
    (cancelled,) = held.held.orders
    held.service.backups.reset(ADMIN, backup_id, "available")
    ask(held, backup_id, volume_id=other.id)()
    stop = threading.Event()
    stop.set()  # what the reset told the first job, which comes to look at its row only now
    with pytest.raises(Stopped):
        held.held.do(cancelled, stop)
    held.held.perform(JobKind.RESTORE, backup_id)
    assert held.volume_row(other.id).status is VolumeStatus.AVAILABLE
    assert held.read(other) == content(1)


def test_a_restore_that_is_stopped_while_it_writes_leaves_its_row_to_who_stopped_it(
    held: HeldScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup_id = held.make()
    other = held.add_volume("second")
    ask(held, backup_id, volume_id=other.id)()
    stop = threading.Event()

    def stopped(*given: Any, **options: Any) -> Any:
        stop.set()
        return restore(*given, **options)

    monkeypatch.setattr(restoring, "restore", stopped)
    with pytest.raises(Stopped):
        held.held.do(held.held.orders[-1], stop)
    monkeypatch.undo()
    held.held.perform(JobKind.RESTORE, backup_id)
    assert held.volume_row(other.id).status is VolumeStatus.AVAILABLE
    assert held.read(other) == content(1)


def test_a_backup_is_restored_to_one_volume_at_a_time(scene: Scene) -> None:
    row = scene.create()
    other = scene.add_volume("second")
    scene.gate.shut()
    ask(scene, row.id, volume_id=scene.volume.id)()
    assert scene.refusal(ask(scene, row.id, volume_id=other.id)) == MUST_BE_AVAILABLE
    assert scene.volume_row(other.id).status is VolumeStatus.AVAILABLE
    scene.gate.open()
    scene.settled(row.id)
