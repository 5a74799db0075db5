"""Making a record of a stored backup: what it says, whose it is, how long it holds."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from backupcore.errors import BackupMissing, Refused
from backupcore.operation.delete import delete
from backupcore.record import (
    LIFETIME,
    Cover,
    Wishes,
    belongs_to,
    encode,
    make_record,
    tenant_tag,
)
from backupcore.repository.label import ServiceLabels
from tests.operation.scene import Scene
from tests.record.case import OTHER_PROJECT, PROJECT, Case
from tests.record.world import KEY, NOW, OTHER_ID, opened, read


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


def test_a_record_shows_what_people_gave_and_nothing_of_a_services(case: Case) -> None:
    facts = ServiceLabels(project="p", metadata={"k": "v"}, volume_name="secret")
    labels, _ = facts.fit()
    backup = replace(case.backup, labels={**labels, "tier": "gold"})
    cover = Cover.of(backup, service="s", wishes=Wishes())
    assert cover.metadata == {"k": "v", "tier": "gold"}


def test_a_record_says_what_is_wished_instead_of_what_is_stored(case: Case) -> None:
    wishes = Wishes(
        name="n",
        description="d",
        metadata={"k": "v"},
        snapshot_id=OTHER_ID,
        data_timestamp=NOW + timedelta(microseconds=5),
        created_at=datetime(1, 1, 1, tzinfo=UTC),
    )
    with case.scene.open() as repository:
        record = make_record(repository, case.backup, wishes=wishes)
    cover = read(encode(record, KEY), now=case.scene.clock.now()).cover
    assert (cover.name, cover.description, cover.metadata) == ("n", "d", {"k": "v"})
    assert (cover.snapshot_id, cover.data_timestamp) == (OTHER_ID, NOW)
    assert cover.created_at == wishes.created_at


def test_a_snapshot_that_is_called_otherwise_is_left_out(case: Case) -> None:
    cover = Cover.of(case.backup, service="s", wishes=Wishes(snapshot_id="/dev/vg/snap"))
    assert cover.snapshot_id is None
