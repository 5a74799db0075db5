"""Import and deletion of one stored backup at once: never a row without its backup."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from backupcore.catalog import Rows, Scope
from backupcore.catalog.status import BackupStatus
from backupcore.operation.delete import delete
from backupcore.service import BackupWish, ExportedRecord, Invalid
from backupcore.service.work import deleting
from tests.servers.postgres import Postgres, need_postgres, postgres
from tests.service.scene import ADMIN, ALICE, Scene, started

DATABASES = [
    "sqlite",
    pytest.param("postgresql", marks=[need_postgres(), pytest.mark.xdist_group("postgres")]),
]
HOLD_S = 0.5
_numbers = itertools.count()


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with postgres() as running:
        yield running


@pytest.fixture(params=DATABASES)
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scene]:
    catalog = {}
    if request.param == "postgresql":
        running: Postgres = request.getfixturevalue("server")
        catalog = {"catalog": {"url": running.create(f"race{next(_numbers)}")}}
    with started(tmp_path, **catalog) as made:
        yield made


def two_rows(scene: Scene) -> tuple[str, ExportedRecord]:
    """Return the only row of a stored backup, not of its id, and a record that makes another."""
    row = scene.create()
    record = scene.service.records.export(ADMIN, row.id)
    fields = {name: getattr(row, name) for name in row.__dataclass_fields__}
    with scene.service.catalog.writing() as rows:
        rows.remove_backup(row.id)
        rows.add_backup(type(row)(**{**fields, "id": "kept"}))
    return "kept", record


def check_true(scene: Scene) -> None:
    """Check that what is called available is in the store, and that nothing else is."""
    scene.wait(lambda: not scene.service.engine.jobs())
    named = {row.stored_id for row in scene.rows() if row.status is BackupStatus.AVAILABLE}
    assert named == set(scene.stored())


def test_a_deletion_waits_for_an_import_that_has_looked_and_rows_and_store_agree(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, record = two_rows(scene)
    has_looked, may_add = threading.Event(), threading.Event()
    original = Rows.add_backup

    def held(self: Rows, row: object, **options: bool) -> None:
        has_looked.set()
        may_add.wait(HOLD_S)
        original(self, row, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Rows, "add_backup", held)
    taking = threading.Thread(target=scene.service.records.take, args=(ADMIN, record))
    taking.start()
    assert has_looked.wait(10)
    scene.service.backups.delete(ALICE, kept)  # only after the import's transaction
    taking.join()
    assert scene.settled_or_gone(kept) is None
    check_true(scene)


def test_an_import_is_refused_once_a_deletion_has_begun(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, record = two_rows(scene)
    ends = []
    original = delete

    def held(*args: object, **options: object) -> object:
        with pytest.raises(Invalid) as caught:
            scene.service.records.take(ADMIN, record)
        ends.append(str(caught.value))
        return original(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(deleting, "delete", held)
    assert scene.delete(kept) is None
    assert ends == ["Invalid backup: the stored backup is being deleted."]
    check_true(scene)


@pytest.mark.parametrize("number", range(5))
def test_of_an_import_and_a_deletion_at_once_the_store_and_the_rows_agree(
    scene: Scene, number: int
) -> None:
    kept, record = two_rows(scene)
    barrier = threading.Barrier(2)

    def take() -> None:
        barrier.wait()
        with suppress(Invalid):  # the deletion was first
            scene.service.records.take(ADMIN, record)

    taking = threading.Thread(target=take)
    taking.start()
    barrier.wait()
    scene.service.backups.delete(ALICE, kept)
    taking.join()
    scene.settled_or_gone(kept)
    check_true(scene)


def test_two_services_on_one_catalog_are_not_told_apart(tmp_path: Path) -> None:
    with started(tmp_path) as one:
        one.gate.shut()
        row = one.service.backups.create(ALICE, BackupWish(volume_id=one.volume.id))
        with started(tmp_path) as two:
            with two.service.catalog.reading() as rows:
                seen = rows.backup(row.id, Scope.everything())
            assert (seen.status, seen.fail_reason) == (
                BackupStatus.ERROR,
                "incomplete backup reset on manager restart",
            )
        one.gate.open()
        assert one.settled(row.id).status is BackupStatus.ERROR
        assert one.stored() == []
