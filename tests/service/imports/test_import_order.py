"""Import, deletion and rebuilding of one stored backup in every order of their steps."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from _pytest.mark import ParameterSet

from backupcore.catalog import Catalog
from backupcore.catalog import rebuild as rebuilding
from backupcore.catalog.error import RowMissing
from backupcore.catalog.row import BackupRow
from backupcore.catalog.status import BackupStatus
from backupcore.errors import BackupError, Unavailable
from backupcore.job import JobKind
from backupcore.record import Reason, RecordRefused
from backupcore.repository.register import Registers
from backupcore.service import ExportedRecord, Invalid
from backupcore.service.work import deleting, importing
from tests.service.imports.order import (
    HeldScene,
    Work,
    every_order,
    held_scene,
    pausing,
    some_orders,
)
from tests.service.scene import ADMIN

pytestmark = pytest.mark.no_cover  # a search of what others cover; being traced takes twice as long

FAULTS: dict[str, BackupError | None] = {
    "true": None,
    "store away": Unavailable("away"),
    "refused": RecordRefused("record: no", reason=Reason.CHANGED),
}


Orders: TypeAlias = Callable[[Callable[[], Sequence[Work]]], Iterator[tuple[int, ...]]]


def slow(name: str) -> ParameterSet:
    """Return a parameter of tests that take long."""
    return pytest.param(name, marks=pytest.mark.long)


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HeldScene]:
    made = held_scene(tmp_path)
    pausing(monkeypatch, Catalog, "write")
    pausing(monkeypatch, importing, "check_against_store", "check_is_current")
    pausing(monkeypatch, deleting, "delete")
    with closing(made.service):
        yield made


class Case:
    """One stored backup, the row `kept` that owns it, and a record of it."""

    def __init__(self, scene: HeldScene) -> None:
        self.scene = scene
        self.stored_id = scene.make()
        self.kept = f"kept-{self.stored_id}"
        catalog, backups = scene.service.catalog, scene.service.backups
        self.record = scene.service.records.export(ADMIN, self.stored_id)
        row = backups.show(ADMIN, self.stored_id)
        with catalog.writing() as rows:
            rows.remove_backup(row.id)
            rows.add_backup(replace(row, id=self.kept))

    def take(self) -> None:
        self.scene.service.records.take(ADMIN, ExportedRecord(*_texts(self.record)))

    def bring_in(self) -> None:
        self.scene.held.perform(JobKind.IMPORT, self.stored_id)

    def delete(self) -> None:
        self.scene.service.backups.delete(ADMIN, self.kept)
        self.scene.held.perform(JobKind.DELETE, self.kept)

    def force(self) -> None:
        self.scene.service.backups.force_delete(ADMIN, self.stored_id)
        self.scene.held.perform(JobKind.DELETE, self.stored_id)

    def reset(self) -> None:
        self.scene.service.backups.reset(ADMIN, self.stored_id, "error")

    def rebuild(self) -> None:
        stores = self.scene.service.stores
        with stores.open("volumebackups", read_only=True) as repository:
            rebuilding.rebuild(
                self.scene.service.catalog,
                repository,
                container="volumebackups",
                project_of=lambda found: "demo",
            )

    def check(self) -> None:
        """Check that rows and store agree, that nothing is under way, and nobody lost anything."""
        rows = {row.id: row for row in self.scene.rows() if self.stored_id in row.id}
        is_stored = self.stored_id in self.scene.stored()
        owners = [row for row in rows.values() if row.stored_id is not None]
        assert all(
            row.status in (BackupStatus.AVAILABLE, BackupStatus.ERROR) for row in rows.values()
        )
        assert owners or not is_stored, rows
        assert is_stored or self.kept not in rows
        if not is_stored:
            # an administrator may reset an import that is about to hear that all is gone
            assert all(row.status is BackupStatus.ERROR for row in owners)
            self._check_leaving(owners)
        self.forget(list(rows))

    def _check_leaving(self, owners: Sequence[BackupRow]) -> None:
        """Check that rows which name what is gone cannot become available and can be deleted."""
        backups = self.scene.service.backups
        for row in owners:
            with pytest.raises(Invalid, match="is not there"):
                backups.reset(ADMIN, row.id, "available")
            backups.delete(ADMIN, row.id)
            self.scene.held.perform(JobKind.DELETE, row.id)
            assert self.scene.row(row.id) is None

    def forget(self, row_ids: Sequence[str]) -> None:
        """Remove rows and registers, so that later orders find their own only."""
        for folder in (self.scene.folder / "store" / "backups").glob(f"*/{self.stored_id}"):
            shutil.rmtree(folder)
        for row_id in row_ids:
            with suppress(RowMissing), self.scene.service.catalog.writing() as rows:
                rows.remove_backup(row_id)


def _texts(record: ExportedRecord) -> tuple[str, str]:
    return record.backup_service, record.backup_url


def check_every_order(
    scene: HeldScene, *names: str, is_taken: bool, orders: Orders = every_order
) -> int:
    """Run actors, named as methods of a case, in every order and check each; return how many.

    orders: which they are run in, every one unless said otherwise.
    """
    cases: list[Case] = []

    def prepare() -> Sequence[Work]:
        case = Case(scene)
        cases.append(case)
        if is_taken:
            case.take()
        works: list[Callable[[], Any]] = [getattr(case, name) for name in names]
        return works

    count = 0
    for order in orders(prepare):
        try:
            cases.pop().check()
        except AssertionError as error:
            raise AssertionError(f"in the order {order}: {error}") from error
        count += 1
    return count


@pytest.mark.parametrize("fault", [*map(slow, sorted(set(FAULTS) - {"refused"})), "refused"])
def test_import_and_deletion_agree_in_every_order(
    scene: HeldScene, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    fail_checks(monkeypatch, FAULTS[fault])
    assert check_every_order(scene, "bring_in", "delete", is_taken=True) > 10


@pytest.mark.parametrize("other", [slow("force"), "reset"])
def test_an_import_that_is_taken_away_leaves_what_is_stored_to_its_owner_in_every_order(
    scene: HeldScene, other: str
) -> None:
    assert check_every_order(scene, "bring_in", other, is_taken=True) > 5


@pytest.mark.parametrize("other", [slow("force"), "reset"])
def test_a_deletion_counts_no_import_that_was_taken_away_in_any_order(
    scene: HeldScene, other: str
) -> None:
    assert check_every_order(scene, "delete", other, is_taken=True) > 5


@pytest.mark.long
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("other", ["force", "reset"])
def test_import_deletion_and_an_admin_agree_in_many_orders(
    scene: HeldScene, monkeypatch: pytest.MonkeyPatch, other: str, fault: str
) -> None:
    fail_checks(monkeypatch, FAULTS[fault])
    check_every_order(
        scene, "bring_in", "delete", other, is_taken=True,
        orders=lambda prepare: some_orders(prepare, 150, seed=1),
    )  # fmt: skip


def test_rebuilding_and_deletion_agree_in_every_order(
    scene: HeldScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    pausing(monkeypatch, Registers, "manifest")
    assert check_every_order(scene, "rebuild", "delete", is_taken=False) > 5


def fail_checks(monkeypatch: pytest.MonkeyPatch, fault: BackupError | None) -> None:
    """Let the store's answer to every import be a fault."""
    if fault is None:
        return

    def check(*args: object, **options: object) -> object:
        raise fault

    monkeypatch.setattr(importing, "check_against_store", check)
    pausing(monkeypatch, importing, "check_against_store")
