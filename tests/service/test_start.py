from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from backupcore.catalog import Catalog, Listing, Scope
from backupcore.catalog.status import BackupStatus, SnapshotStatus
from backupcore.errors import Refused, StoreError, TargetError
from backupcore.job.inline import InlineEngine
from backupcore.provider import Provider
from backupcore.service import BackupWish, Service, SnapshotWish
from tests.service.scene import ADMIN, ALICE, PROJECT, Scene, settings, started


def test_two_names_of_one_repository_are_refused(tmp_path: Path) -> None:
    store = {"url": f"posix:{tmp_path / 'store'}"}
    given = settings(tmp_path, containers={"volumebackups": store, "twin": store})
    with Service(given) as service, pytest.raises(Refused, match="are the same repository"):
        service.start()


def test_a_repository_that_cannot_be_opened_is_told_by_its_container(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    given = settings(tmp_path, containers={"volumebackups": {"url": f"posix:{tmp_path}/file/a"}})
    with (
        Service(given) as service,
        pytest.raises(StoreError, match=r"^containers\.volumebackups: "),
    ):
        service.start()


def test_the_catalog_is_claimed_until_the_jobs_have_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []

    @contextmanager
    def claimed(_catalog: Catalog) -> Iterator[None]:
        yield
        events.append("let go")

    class Ending(InlineEngine):
        def close(self) -> None:
            super().close()
            events.append("ended")

    monkeypatch.setattr(Catalog, "claimed", claimed)
    with Service(settings(tmp_path), make_engine=lambda do, *_: Ending(do)) as service:
        service.start()
    assert events == ["ended", "let go"]


def test_any_name_leads_to_the_repository_that_has_a_name(tmp_path: Path) -> None:
    store = {"url": f"posix:{tmp_path / 'store'}"}
    with started(tmp_path, containers={"*": store, "volumebackups": store}) as scene:
        row = scene.create(container="monthly")
        assert (row.container, row.repository) == ("monthly", "volumebackups")
        record = scene.service.records.export(ADMIN, row.id)
        assert record.backup_url
        named = scene.create(container="volumebackups", is_incremental=True)
        assert named.repository == row.repository


def test_more_volumes_than_the_quota_do_not_keep_the_service_from_starting(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for number in range(12):
        (images / f"disk-{number}").write_bytes(b"x" * 1000)
    with started(tmp_path) as scene, scene.service.catalog.reading() as rows:
        found = rows.page_volumes(Scope.of(PROJECT), Listing(limit=100)).rows
    assert len(found) >= 12


def test_a_volume_made_for_some_project_is_given_to_no_other(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    (images / "volume-0a6f2f0e-65cb-4b39-9d5a-2a4a3c5bd0f4").write_bytes(b"x" * 1000)
    with started(tmp_path) as scene, scene.service.catalog.reading() as rows:
        found = rows.page_volumes(Scope.everything(), Listing(limit=100)).rows
    assert [row.place for row in found] == ["data"]


def test_a_snapshot_that_failed_can_be_deleted(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Provider, place: str, hint: str) -> str:
        raise TargetError("no room")

    provider = scene.service.providers.of(scene.volume)
    with monkeypatch.context() as broken:
        broken.setattr(type(provider), "snapshot", fail)
        made = scene.service.snapshots.create(ALICE, SnapshotWish(volume_id=scene.volume.id))
    assert made.status is SnapshotStatus.ERROR
    scene.service.snapshots.delete(ALICE, made.id)
    with scene.service.catalog.reading() as rows:
        assert rows.page_snapshots(Scope.everything(), Listing(limit=10)).rows == []


def test_a_backup_that_is_being_deleted_is_not_reset(scene: Scene) -> None:
    row = scene.create()
    scene.gate.shut()
    scene.service.backups.delete(ALICE, row.id)
    said = scene.refusal(lambda: scene.service.backups.reset(ADMIN, row.id, "available"))
    assert said == "Invalid backup: the stored backup is being deleted"
    scene.gate.open()


def test_a_row_left_behind_by_a_container_that_went_becomes_an_error(tmp_path: Path) -> None:
    with started(tmp_path) as scene:
        scene.gate.shut()
        row = scene.service.backups.create(
            ALICE, BackupWish(volume_id=scene.volume.id, container="other")
        )
    only = {"volumebackups": {"url": f"posix:{tmp_path / 'store'}"}}
    with started(tmp_path, containers=only) as scene:
        found = scene.row(row.id)
    assert found is not None
    assert found.status is BackupStatus.ERROR
