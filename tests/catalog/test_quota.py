"""What a project may hold is counted from its rows, and nobody gets past it."""

from __future__ import annotations

import pytest

from backupcore.catalog import (
    DEFAULT_LIMITS,
    BackupMove,
    Catalog,
    QuotaExceeded,
    RowMissing,
    Scope,
    Usage,
)
from backupcore.errors import Refused
from tests.catalog.sample import backup_row, snapshot_row, volume_row


def test_a_project_begins_with_the_defaults(url: str) -> None:
    with Catalog.open(url, default_limits={"backups": 3}) as catalog, catalog.reading() as rows:
        assert rows.limits("p") == {**DEFAULT_LIMITS, "backups": 3}
        assert rows.usage("p") == Usage(0, 0, 0, 0, 0)


def test_limits_are_changed_one_by_one_and_for_one_project(catalog: Catalog) -> None:
    with catalog.writing() as rows:
        rows.set_limits("p", {"backups": 1, "gigabytes": -1})
        rows.set_limits("p", {"backups": 2})
        assert rows.limits("p") == {**DEFAULT_LIMITS, "backups": 2, "gigabytes": -1}
        assert rows.limits("q") == DEFAULT_LIMITS


@pytest.mark.parametrize("limits", [{"nonsense": 1}, {"backups": -2}, {"backups": 1 << 63}])
def test_what_is_no_limit_is_refused(url: str, limits: dict[str, int]) -> None:
    with pytest.raises(Refused, match="quota"):
        Catalog.open(url, default_limits=limits)
    with Catalog.open(url) as catalog, pytest.raises(Refused, match="quota"):
        catalog.write(lambda rows: rows.set_limits("p", limits))


def test_usage_is_what_the_rows_say(catalog: Catalog) -> None:
    with catalog.writing() as rows:
        rows.add_volume(volume_row(id="v", size=5))
        rows.add_snapshot(snapshot_row("v", id="s", size=5))
        rows.add_backup(backup_row(id="b", size=7))
        rows.add_backup(backup_row(project_id="q", size=9))
        assert rows.usage("p") == Usage(1, 7, 1, 10, 1)
        rows.remove_snapshot("s")
        rows.remove_backup("b")
        assert rows.usage("p") == Usage(0, 0, 1, 5, 0)


def test_one_backup_too_many_is_refused(catalog: Catalog) -> None:
    with catalog.writing() as rows:
        rows.set_limits("p", {"backups": 2})
        rows.add_backup(backup_row())
        rows.add_backup(backup_row())
        with pytest.raises(QuotaExceeded, match="quota backups is 2: 2 used") as caught:
            rows.add_backup(backup_row(id="third"))
        rows.add_backup(backup_row(project_id="q"))
        rows.add_backup(backup_row(), is_counted=False)
        with pytest.raises(RowMissing):
            rows.backup("third", Scope.everything())
    error = caught.value
    assert (error.resource, error.requested, error.limit, error.used) == ("backups", 1, 2, 2)


def test_sizes_are_looked_at_before_counts(catalog: Catalog) -> None:
    with catalog.writing() as rows:
        rows.set_limits("p", {"backups": 0, "backup_gigabytes": 10})
        with pytest.raises(QuotaExceeded) as caught:
            rows.add_backup(backup_row(size=11))
        assert (caught.value.resource, caught.value.requested) == ("backup_gigabytes", 11)
        with pytest.raises(QuotaExceeded, match="quota backups"):
            rows.add_backup(backup_row(size=10))


def test_without_limits_anything_goes(catalog: Catalog) -> None:
    with catalog.writing() as rows:
        rows.set_limits("p", dict.fromkeys(DEFAULT_LIMITS, -1))
        for _ in range(12):
            rows.add_volume(volume_row(size=1 << 40))
        assert rows.usage("p").gigabytes == 12 << 40


def test_volumes_and_their_snapshots_share_the_gigabytes(catalog: Catalog) -> None:
    with catalog.writing() as rows:
        rows.set_limits("p", {"gigabytes": 10, "per_volume_gigabytes": 6, "snapshots": 1})
        with pytest.raises(QuotaExceeded, match="per_volume_gigabytes is 6"):
            rows.add_volume(volume_row(size=7))
        rows.add_volume(volume_row(id="v", size=6))
        rows.add_snapshot(snapshot_row("v", size=4))
        with pytest.raises(QuotaExceeded, match="quota gigabytes is 10: 10 used, 1 more"):
            rows.add_volume(volume_row(size=1))
        with pytest.raises(QuotaExceeded, match="quota snapshots is 1"):
            rows.add_snapshot(snapshot_row("v", size=0))


def test_a_row_grows_within_the_quota_only(catalog: Catalog) -> None:
    with catalog.writing() as rows:
        rows.set_limits("p", {"backups": 1, "backup_gigabytes": 10, "per_volume_gigabytes": 6})
        rows.add_backup(backup_row(id="b", size=0))
        with pytest.raises(QuotaExceeded, match="backup_gigabytes is 10: 0 used, 11 more"):
            rows.move_backup("b", BackupMove.FINISH, size=11)
        assert rows.move_backup("b", BackupMove.FINISH, size=10).size == 10
        assert rows.edit_backup("b", size=3).size == 3
        rows.add_volume(volume_row(id="v", size=4))
        with pytest.raises(QuotaExceeded, match="per_volume_gigabytes is 6: 4 used, 3 more"):
            rows.edit_volume("v", size=7)
        assert rows.edit_volume("v", size=6).size == 6
