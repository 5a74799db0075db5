"""Making a record of a stored backup: what it says, whose it is, how long it holds."""

from __future__ import annotations

from datetime import timedelta

import pytest

from backupcore.errors import BackupMissing, Refused
from backupcore.operation.delete import delete
from backupcore.record import LIFETIME, belongs_to, make_record, tenant_tag
from tests.operation.scene import Scene
from tests.record.case import OTHER_PROJECT, PROJECT, Case
from tests.record.world import opened


def test_a_project_is_told_by_whoever_has_the_repository(case: Case) -> None:
    with case.scene.open() as repository, case.scene.copy().open() as elsewhere:
        for place in (repository, elsewhere):
            assert belongs_to(case.record, place, PROJECT)
            assert not belongs_to(case.record, place, OTHER_PROJECT)
            assert not belongs_to(case.record, place, "\ud800")


def test_a_record_without_a_project_is_nobodys(case: Case) -> None:
    with case.scene.open() as repository:
        record = make_record(repository, case.backup)
        assert record.claim.tenant_tag is None
        assert not belongs_to(record, repository, "")


def test_a_tag_tells_the_project_to_nobody_else(case: Case) -> None:
    assert PROJECT not in str(opened(case.text))
    with case.scene.open() as repository, Scene(seed=9).open() as other:
        assert tenant_tag(repository, PROJECT) != tenant_tag(other, PROJECT)


def test_a_record_says_what_is_stored_unless_told_otherwise(case: Case) -> None:
    with case.scene.open() as repository:
        record = make_record(repository, case.backup)
    assert record.cover.id == case.backup.id
    assert (record.cover.name, record.cover.description) == (None, None)
    assert case.record.cover.name == "tuesday"
    assert record.cover.size == 1
    assert record.cover.volume_id is None  # `volume` is no UUID
    assert record.claim.expires_at == record.claim.issued_at + LIFETIME
    assert record.cover.service == "cinder.backup.drivers.backupcore.posix"


def test_a_lifetime_is_some_time_or_none(case: Case) -> None:
    with case.scene.open() as repository:
        assert make_record(repository, case.backup, lifetime=None).claim.expires_at is None
        for wrong in (timedelta(0), timedelta(days=-1), timedelta(milliseconds=1)):
            with pytest.raises(Refused, match="at least a second"):
                make_record(repository, case.backup, lifetime=wrong)
        with pytest.raises(Refused, match="after the year 9999"):
            make_record(repository, case.backup, lifetime=timedelta(days=3_000_000))


def test_what_was_deleted_cannot_be_exported(case: Case) -> None:
    with case.scene.open() as repository:
        delete(repository, case.backup.id)
        with pytest.raises(BackupMissing):
            make_record(repository, case.backup)


def test_making_a_record_changes_nothing(case: Case) -> None:
    before = dict(case.scene.store.objects)
    with case.scene.open() as repository:
        make_record(repository, case.backup)
    assert dict(case.scene.store.objects) == before
