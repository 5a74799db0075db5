"""A provider's volumes change: what grew, and what came, is soon known."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from backupcore.catalog import Listing
from backupcore.catalog.status import VolumeStatus
from backupcore.errors import Unavailable
from backupcore.provider.directory import DirectoryProvider
from backupcore.service import BackupWish, RestoreWish, SnapshotWish
from backupcore.service.work import adopting
from tests.service.provider.test_provider_slow import Brake, brake, fail_with
from tests.service.scene import ALICE, SIZE_BYTES, Scene, content, started

__all__ = ["brake"]

GIB = 1 << 30


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adopting, "PAUSE_S", 0.0)


def grow(scene: Scene, size_bytes: int = GIB + 1) -> None:
    with (scene.folder / "images" / "data").open("r+b") as file:
        file.truncate(size_bytes)


def names(scene: Scene) -> list[str]:
    rows = scene.service.volumes.page(ALICE, Listing(limit=9)).rows
    return sorted(row.name for row in rows if row.name is not None)


def test_a_grown_volume_is_backed_up_and_restored_in_place(scene: Scene) -> None:
    grow(scene)
    row = scene.service.backups.create(ALICE, BackupWish(volume_id=scene.volume.id))
    assert (row.size, row.size_bytes) == (2, GIB + 1)
    assert (scene.volume.size, scene.volume.size_bytes) == (2, GIB + 1)
    scene.settled(row.id)
    target = scene.restore(row.id, volume_id=scene.volume.id)
    assert target.status is VolumeStatus.AVAILABLE


def test_a_volume_that_grew_since_is_large_enough_to_restore_to(scene: Scene) -> None:
    row = scene.create()
    scene.add_volume("second", SIZE_BYTES - 1)
    scene.write(7, "second", SIZE_BYTES)
    second = next(one for one in scene.service.volumes.page(ALICE, Listing(limit=9)).rows
                  if one.name == "second")  # fmt: skip
    assert scene.read(scene.restore(row.id, volume_id=second.id)) == content(1)


def test_the_size_of_a_grown_volume_is_listed(scene: Scene) -> None:
    grow(scene)
    (row,) = scene.service.volumes.page(ALICE, Listing(limit=9)).rows
    assert (row.size, row.size_bytes) == (2, GIB + 1)


def test_a_snapshot_of_a_grown_volume_has_its_size(scene: Scene) -> None:
    grow(scene)
    made = scene.service.snapshots.create(ALICE, SnapshotWish(volume_id=scene.volume.id))
    assert made.size_bytes == GIB + 1


def test_a_volume_that_grew_beyond_the_quota_is_known_all_the_same(tmp_path: Path) -> None:
    with started(tmp_path, quotas={"gigabytes": 1}) as scene:
        grow(scene)
        (row,) = scene.service.volumes.page(ALICE, Listing(limit=9)).rows
        assert row.size == 2


def test_a_volume_that_is_written_keeps_its_size(scene: Scene) -> None:
    row = scene.create()
    scene.gate.shut()
    scene.service.backups.restore(ALICE, row.id, RestoreWish(volume_id=scene.volume.id))
    grow(scene)
    names(scene)
    assert scene.volume.size_bytes == SIZE_BYTES
    scene.gate.open()
    scene.settled(row.id)


def test_a_new_image_is_in_the_next_list(scene: Scene) -> None:
    (scene.folder / "images" / "second").write_bytes(b"x")
    assert names(scene) == ["data", "second"]
    assert names(scene) == ["data", "second"]


def test_lists_do_not_ask_a_provider_one_after_the_other(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adopting, "PAUSE_S", 60.0)
    (scene.folder / "images" / "second").write_bytes(b"x")
    assert names(scene) == ["data"]


def test_a_list_does_not_wait_long_for_a_provider(scene: Scene, brake: Brake) -> None:
    brake.hold("list")
    began_s = time.monotonic()
    assert names(scene) == names(scene) == ["data"]
    assert time.monotonic() - began_s < 5


def test_a_list_tells_what_is_known_when_a_provider_is_away(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DirectoryProvider, "list", fail_with(Unavailable("away")))
    assert names(scene) == ["data"]


def test_what_another_service_made_is_not_taken_and_told_once(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    made = f"volume-{scene.volume.id}"
    (scene.folder / "images" / made).write_bytes(b"x")
    assert names(scene) == names(scene) == ["data"]
    assert [one.message for one in caplog.records].count("volume without a row") == 1
