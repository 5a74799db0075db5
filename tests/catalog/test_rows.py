"""Rows come back as they were added, change as asked and stay within their scope."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from backupcore.catalog import (
    BackupStatus,
    Catalog,
    JobKind,
    JobMove,
    JobStatus,
    RowExists,
    RowInUse,
    RowMissing,
    Rows,
    Scope,
    VolumeStatus,
)
from backupcore.catalog.error import QuotaExceeded
from backupcore.errors import Refused
from tests.catalog.sample import backup_row, job_row, moment, snapshot_row, volume_row

EVERYTHING = Scope.everything()


def test_a_backup_comes_back_with_every_field(catalog: Catalog) -> None:
    row = backup_row(
        user_id="u",
        snapshot_id="s",
        status=BackupStatus.AVAILABLE,
        fail_reason="why",
        name="näme %_\\'\"",
        description="",
        metadata={"key": "value \0 \U0001f4be"},
        container="c",
        repository="r",
        stored_id="x",
        size=3,
        size_bytes=(1 << 62) - 1,
        object_count=7,
        is_incremental=True,
        is_imported=True,
        parent_id="y",
        restore_volume_id="w",
        volume_name="t",
        volume_description="",
        volume_metadata={"a": "b"},
        availability_zone="az",
        host="h",
        request_id="req",
        data_timestamp=datetime(1, 1, 1, 0, 0, 0, 1, tzinfo=UTC),
        updated_at=datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    )
    with catalog.writing() as rows:
        rows.add_backup(row)
    with catalog.reading() as rows:
        assert rows.backup(row.id, EVERYTHING) == row


def test_metadata_that_nobody_knows_stays_unknown(catalog: Catalog) -> None:
    unknown, empty = backup_row(volume_metadata=None), backup_row(volume_metadata={})
    with catalog.writing() as rows:
        rows.add_backup(unknown)
        rows.add_backup(empty)
        assert rows.backup(unknown.id, EVERYTHING).volume_metadata is None
        assert rows.backup(empty.id, EVERYTHING).volume_metadata == {}


def test_a_volume_that_has_grown_is_not_kept_out_by_a_quota(catalog: Catalog) -> None:
    row = volume_row(size=1)
    with catalog.writing() as rows:
        rows.add_volume(row)
        rows.set_limits("p", {"gigabytes": 1})
        assert rows.edit_volume(row.id, is_counted=False, size=5).size == 5
        with pytest.raises(QuotaExceeded):
            rows.edit_volume(row.id, size=6)


def test_a_volume_and_its_snapshot_come_back_with_every_field(catalog: Catalog) -> None:
    volume = volume_row(
        previous_status=VolumeStatus.IN_USE,
        is_bootable=True,
        attachments=({"server_id": "i", "device": None},),
        metadata={"a": "b"},
        volume_type="fast",
    )
    snapshot = snapshot_row(volume.id, name="n", metadata={"c": "d"})
    with catalog.writing() as rows:
        rows.add_volume(volume)
        rows.add_snapshot(snapshot)
    with catalog.reading() as rows:
        assert rows.volume(volume.id, EVERYTHING) == volume
        assert rows.snapshot(snapshot.id, EVERYTHING) == snapshot


def test_a_job_comes_back_with_every_field_and_keeps_its_times(catalog: Catalog) -> None:
    row = job_row(kind=JobKind.IMPORT, volume_id="v", request_id="q", detail={"a": "b"})
    with catalog.writing() as rows:
        rows.add_job(row)
        assert rows.job(row.id, EVERYTHING) == row
        started = rows.move_job(row.id, JobMove.START, total_bytes=10)
        rows.edit_job(row.id, done_bytes=5)
        ended = rows.move_job(row.id, JobMove.FINISH, done_bytes=10)
    assert started.started_at is not None
    assert (ended.status, ended.done_bytes, ended.total_bytes) == (JobStatus.DONE, 10, 10)
    assert ended.ended_at is not None
    assert ended.ended_at >= started.started_at


def test_jobs_that_ended_long_ago_are_forgotten_and_others_kept(catalog: Catalog) -> None:
    done, waiting = job_row(), job_row()
    with catalog.writing() as rows:
        rows.add_job(done)
        rows.add_job(waiting)
        rows.move_job(done.id, JobMove.CANCEL)
        assert rows.forget_jobs(ended_before=moment(0)) == 0
        assert rows.forget_jobs(ended_before=datetime.now(UTC) + timedelta(days=1)) == 1
        assert [job.id for job in rows.jobs_in(*JobStatus, scope=EVERYTHING)] == [waiting.id]


def test_a_row_of_another_project_is_missing(catalog: Catalog) -> None:
    row = backup_row(project_id="p")
    with catalog.writing() as rows:
        rows.add_backup(row)
    with catalog.reading() as rows:
        assert rows.backup(row.id, Scope.of("p")) == row
        with pytest.raises(RowMissing, match=f"backup '{row.id}' is not in the catalog") as caught:
            rows.backup(row.id, Scope.of("q"))
    assert (caught.value.kind, caught.value.id) == ("backup", row.id)


@pytest.mark.parametrize("name", ["", "no uuid", "x" * 5000, "nul \0", "half \ud800 pair", "%"])
def test_an_id_that_no_row_can_have_is_missing(catalog: Catalog, name: str) -> None:
    with catalog.writing() as rows:
        for read in (rows.backup, rows.volume, rows.snapshot, rows.job):
            with pytest.raises(RowMissing):
                read(name, EVERYTHING)
        with pytest.raises(RowMissing):
            rows.backup("x", Scope.of(name))
        with pytest.raises(RowMissing):
            rows.edit_backup(name, name="n")
        with pytest.raises(RowMissing):
            rows.remove_volume(name)
        assert rows.base_of(name, EVERYTHING) is None


def test_an_id_is_added_once_whatever_the_project(catalog: Catalog) -> None:
    row = backup_row(project_id="p")
    with catalog.writing() as rows:
        rows.add_backup(row)
    with catalog.writing() as rows:
        with pytest.raises(RowExists, match=row.id):
            rows.add_backup(backup_row(id=row.id, project_id="q"))
        rows.add_backup(backup_row(id="other"))
    with catalog.reading() as rows:
        assert rows.backup(row.id, EVERYTHING).project_id == "p"
        assert rows.backup("other", EVERYTHING)


def test_what_a_block_changed_did_not_happen_when_it_raises(catalog: Catalog) -> None:
    row = backup_row()

    def change(rows: Rows) -> None:
        rows.add_backup(row)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        catalog.write(change)
    with catalog.reading() as rows, pytest.raises(RowMissing):
        rows.backup(row.id, EVERYTHING)


def test_an_edit_changes_what_is_named_and_the_time(catalog: Catalog) -> None:
    row = backup_row(name="old", metadata={"a": "b"})
    with catalog.writing() as rows:
        rows.add_backup(row)
        edited = rows.edit_backup(row.id, name="new", metadata={})
        assert rows.backup(row.id, EVERYTHING) == edited
    assert (edited.name, edited.metadata, edited.description) == ("new", {}, None)
    assert edited.updated_at is not None
    assert edited.updated_at > row.created_at


def test_an_edit_of_nothing_changes_nothing(catalog: Catalog) -> None:
    row = backup_row()
    with catalog.writing() as rows:
        rows.add_backup(row)
        assert rows.edit_backup(row.id) == row


@pytest.mark.parametrize("name", ["status", "id", "project_id", "created_at", "nonsense"])
def test_identity_owner_and_status_cannot_be_edited(catalog: Catalog, name: str) -> None:
    row = backup_row()
    with catalog.writing() as rows:
        rows.add_backup(row)
        with pytest.raises(TypeError, match=name):
            rows.edit_backup(row.id, **{name: "x"})  # type: ignore[arg-type]  # pyright: ignore


def test_a_reason_of_failure_is_cut_and_cleaned(catalog: Catalog) -> None:
    row = backup_row(fail_reason="é" * 300)
    with catalog.writing() as rows:
        rows.add_backup(row)
        assert rows.backup(row.id, EVERYTHING).fail_reason == "é" * 255
        edited = rows.edit_backup(row.id, fail_reason="file \udcff\0 is gone")
    assert edited.fail_reason == "file ?\ufffd is gone"


@pytest.mark.parametrize("text", ["x" * 256, "nul \0", "half \ud800 pair"])
def test_a_name_that_cannot_be_stored_is_refused(catalog: Catalog, text: str) -> None:
    row = backup_row(name="n" * 255, description="ü" * 255)
    with catalog.writing() as rows:
        rows.add_backup(row)
        with pytest.raises(Refused, match=f"backup '{row.id}': name "):
            rows.edit_backup(row.id, name=text)
        with pytest.raises(Refused, match="description"):
            rows.add_backup(backup_row(description=text))
        assert rows.backup(row.id, EVERYTHING) == row


def test_a_time_without_a_zone_is_no_time(catalog: Catalog) -> None:
    row = backup_row(created_at=datetime(2026, 1, 1))
    with pytest.raises(Exception, match="offset-naive"), catalog.writing() as rows:
        rows.add_backup(row)


def test_times_of_other_zones_are_the_same_moment(catalog: Catalog) -> None:
    from_zone = datetime.fromisoformat("2026-05-01T12:00:00.000001+05:30")
    row = backup_row(created_at=from_zone)
    with catalog.writing() as rows:
        rows.add_backup(row)
        assert (
            rows.backup(row.id, EVERYTHING).created_at.isoformat().endswith("06:30:00.000001+00:00")
        )


def test_a_volume_with_snapshots_stays(catalog: Catalog) -> None:
    volume = volume_row()
    snapshot = snapshot_row(volume.id)
    with catalog.writing() as rows:
        rows.add_volume(volume)
        rows.add_snapshot(snapshot)
        with pytest.raises(RowInUse, match="has snapshots"):
            rows.remove_volume(volume.id)
        rows.remove_snapshot(snapshot.id)
        rows.remove_volume(volume.id)
        with pytest.raises(RowMissing):
            rows.volume(volume.id, EVERYTHING)


def test_a_snapshot_of_no_volume_is_refused(catalog: Catalog) -> None:
    with catalog.writing() as rows, pytest.raises(RowMissing, match="volume 'gone'"):
        rows.add_snapshot(snapshot_row("gone"))


def test_the_last_row_that_names_a_stored_backup_hears_it(catalog: Catalog) -> None:
    same = [backup_row(repository="r", stored_id="x") for _ in range(2)]
    other = backup_row(repository="elsewhere", stored_id="x")
    with catalog.writing() as rows:
        for row in [*same, other]:
            rows.add_backup(row)
        assert rows.remove_backup(same[0].id) is False
        assert rows.has_stored("x", "r", EVERYTHING)
        assert not rows.has_stored("x", "r", Scope.of("q"))
        assert rows.remove_backup(same[1].id) is True
        assert not rows.has_stored("x", "r", EVERYTHING)
        assert rows.remove_backup(other.id) is True
        with pytest.raises(RowMissing):
            rows.remove_backup(other.id)


def test_those_that_name_a_stored_backup_are_counted_by_state(catalog: Catalog) -> None:
    with catalog.writing() as rows:
        for status in (BackupStatus.AVAILABLE, BackupStatus.ERROR, BackupStatus.ERROR):
            rows.add_backup(backup_row(repository="r", stored_id="x", status=status))
        rows.add_backup(backup_row(repository="other", stored_id="x", status=BackupStatus.ERROR))

        def count(scope: Scope, *statuses: BackupStatus) -> int:
            return rows.count_owners("x", "r", scope, statuses=statuses)

        assert count(EVERYTHING, BackupStatus.ERROR) == 2
        assert count(Scope.of("p"), *BackupStatus) == 3
        assert count(Scope.of("q"), *BackupStatus) == 0
        assert count(EVERYTHING) == 0


def test_a_row_that_names_no_stored_backup_is_never_the_last(catalog: Catalog) -> None:
    row = backup_row(repository="r", stored_id=None)
    with catalog.writing() as rows:
        rows.add_backup(row)
        assert rows.remove_backup(row.id) is False


def test_the_base_is_the_newest_available_by_the_time_of_its_data(catalog: Catalog) -> None:
    def add(minute: int | None, **facts: object) -> str:
        stamp = None if minute is None else moment(minute)
        row = backup_row(
            **{"status": BackupStatus.AVAILABLE, "data_timestamp": stamp, "container": "c", **facts}
        )
        rows.add_backup(row)
        return row.id

    with catalog.writing() as rows:
        rows.set_limits("p", {"backups": -1})
        newest, older = add(5), add(3)
        other_container = add(4, container="d")
        add(None)
        add(9, status=BackupStatus.RESTORING)
        add(9, volume_id="w")
        foreign = add(8, project_id="q")

        def base(**bounds: object) -> str | None:
            found = rows.base_of("v", Scope.of("p"), **bounds)  # type: ignore[arg-type]  # pyright: ignore
            return found.id if found else None

        assert base() == newest
        assert base(before=moment(5)) == other_container
        assert base(before=moment(5), container="c") == older
        assert base(before=moment(3)) is None
        assert base(container="e") is None
        everywhere = rows.base_of("v", EVERYTHING)
    assert everywhere is not None
    assert everywhere.id == foreign


def test_rows_in_a_state_come_oldest_first_while_others_are_changed(catalog: Catalog) -> None:
    with catalog.writing() as rows:
        rows.set_limits("p", {"backups": -1})
        for number in range(1200):
            rows.add_backup(backup_row(id=f"n{number}", created_at=moment(number)))
    seen = []
    with catalog.reading() as rows:
        for row in rows.backups_in(BackupStatus.CREATING, scope=EVERYTHING):
            seen.append(row.id)
            if len(seen) % 300 == 0:
                catalog.write(lambda others: others.edit_backup("n0", size=0, name="changed"))
    assert seen == [f"n{number}" for number in range(1200)]


def test_rows_in_a_state_are_of_the_scope(catalog: Catalog) -> None:
    volume = volume_row()
    with catalog.writing() as rows:
        rows.add_backup(backup_row(id="mine"))
        rows.add_backup(backup_row(id="theirs", project_id="q"))
        rows.add_volume(volume)
        rows.add_snapshot(snapshot_row(volume.id, id="s"))
    with catalog.reading() as rows:
        mine = [row.id for row in rows.backups_in(*BackupStatus, scope=Scope.of("p"))]
        none = list(rows.backups_in(scope=EVERYTHING))
        volumes = [row.id for row in rows.volumes_in(*VolumeStatus, scope=EVERYTHING)]
        snapshots = [row.id for row in rows.snapshots_in(volume.status, scope=Scope.of("q"))]  # type: ignore[arg-type]  # pyright: ignore
    assert (mine, none, volumes, snapshots) == (["mine"], [], [volume.id], [])
