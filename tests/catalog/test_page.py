"""Lists: pages of any size make the one sorted list, filters are exact, bounds are checked."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import datetime
from functools import cmp_to_key
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backupcore.catalog import (
    BACKUP_FILTERS,
    BACKUP_SORT_KEYS,
    BackupRow,
    BackupStatus,
    BadListing,
    Catalog,
    Listing,
    RowMissing,
    Scope,
    VolumeStatus,
)
from backupcore.catalog.listing import Direction
from tests.catalog.sample import backup_row, moment, snapshot_row, volume_row

_projects = itertools.count()
SORTED_BY = ("created_at", "updated_at", "name", "size", "status", "container", "id")
TEXTS = st.none() | st.sampled_from(
    ["", "a", "A", "b", "é", "Z", "a b", "a-b", "\U0001f4be", "\ue000"]
)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "name": TEXTS,
            "container": TEXTS,
            "size": st.integers(0, 2),
            "status": st.sampled_from(BackupStatus),
            "created_at": st.integers(0, 3).map(moment),
            "updated_at": st.none() | st.integers(0, 1).map(moment),
        }
    ),
    max_size=12,
)
SORTS = st.lists(
    st.tuples(st.sampled_from(SORTED_BY), st.sampled_from(["asc", "desc"])), max_size=3
)


def _fill(catalog: Catalog, facts: list[dict[str, Any]]) -> tuple[str, list[BackupRow]]:
    project = f"project{next(_projects)}"
    made = [
        backup_row(id=f"{project}-{(number * 7) % 13:02}", project_id=project, **fact)
        for number, fact in enumerate(facts)
    ]
    with catalog.writing() as rows:
        rows.set_limits(project, {"backups": -1})
        for row in made:
            rows.add_backup(row)
    return project, made


def _compare(sort: list[tuple[str, Direction]]) -> Callable[[BackupRow, BackupRow], int]:
    """Return a comparison of rows; a missing value is smaller than any other."""
    first_said = dict(reversed(sort))
    distinct = [(name, first_said[name]) for name in dict(sort)]
    order = [*distinct, ("id", distinct[-1][1] if distinct else "desc")]

    def compare(one: BackupRow, other: BackupRow) -> int:
        for name, direction in order:
            mine, its = getattr(one, name), getattr(other, name)
            if mine != its:
                is_less = mine is None or (its is not None and mine < its)
                return -1 if is_less == (direction == "asc") else 1
        return 0

    return compare


@given(facts=ROWS, sort=SORTS, limit=st.integers(1, 13), offset=st.integers(0, 3))
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_pages_of_any_limit_make_the_one_sorted_list(
    catalog: Catalog,
    facts: list[dict[str, Any]],
    sort: list[tuple[str, Direction]],
    limit: int,
    offset: int,
) -> None:
    project, made = _fill(catalog, facts)
    expected = [row.id for row in sorted(made, key=cmp_to_key(_compare(sort)))]
    scope = Scope.of(project)
    seen: list[str] = []
    with catalog.reading() as rows:
        while True:
            marker = seen[-1] if seen else None
            page = rows.page_backups(scope, Listing(sort=sort, limit=limit, marker=marker))
            seen += [row.id for row in page.rows]
            assert len(seen) <= len(made)
            if len(page.rows) < limit:
                break
        shifted = rows.page_backups(
            scope, Listing(sort=sort, limit=limit, offset=offset, with_count=True)
        )
    assert seen == expected
    assert [row.id for row in shifted.rows] == expected[offset : offset + limit]
    assert shifted.count == len(made)


def _ids(catalog: Catalog, scope: Scope | None = None, **words: Any) -> list[str]:
    with catalog.reading() as rows:
        listing = Listing(**{"limit": 100, "sort": (("id", "asc"),), **words})
        return [row.id for row in rows.page_backups(scope or Scope.everything(), listing).rows]


def _add(catalog: Catalog, **facts: Any) -> None:
    with catalog.writing() as rows:
        rows.add_backup(backup_row(**facts))


def test_the_default_order_is_the_newest_first(catalog: Catalog) -> None:
    for minute, name in [(1, "b"), (2, "c"), (1, "a")]:
        _add(catalog, id=name, created_at=moment(minute))
    with catalog.reading() as rows:
        page = rows.page_backups(Scope.everything(), Listing(limit=10))
    assert ([row.id for row in page.rows], page.count) == (["c", "b", "a"], None)


@pytest.mark.parametrize(
    ("name", "value", "other"),
    [
        ("name", "a", "A"),
        ("status", BackupStatus.ERROR, BackupStatus.CREATING),
        ("volume_id", "v%", "v1"),
        ("size", 2, 1),
        ("is_incremental", True, False),
        ("data_timestamp", moment(1), moment(2)),
        ("description", None, ""),
        ("size_bytes", 1 << 62, None),
    ],
)
def test_a_filter_is_exact(catalog: Catalog, name: str, value: Any, other: Any) -> None:
    _add(catalog, id="wanted", **{name: value})
    _add(catalog, id="other", **{name: other})
    assert _ids(catalog, filters={name: value}) == ["wanted"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("status", "no such status"),
        ("name", "nul \0"),
        ("name", "half \ud800 pair"),
        ("name", "x" * 10_000),
        ("size", 1 << 70),
        ("id", ""),
    ],
)
def test_a_filter_by_what_no_row_can_have_finds_none(
    catalog: Catalog, name: str, value: Any
) -> None:
    _add(catalog, id="x")
    assert _ids(catalog, filters={name: value}) == []


def test_filters_are_all_kept_and_counted(catalog: Catalog) -> None:
    for number in range(5):
        _add(catalog, id=f"n{number}", name="same", volume_id=f"v{number % 2}")
    with catalog.reading() as rows:
        filters = {"name": "same", "volume_id": "v0"}
        listing = Listing(filters=filters, limit=1, with_count=True, sort=(("id", "asc"),))
        page = rows.page_backups(Scope.of("p"), listing)
        later = rows.page_backups(
            Scope.of("p"), Listing(filters=filters, limit=0, marker="n0", with_count=True)
        )
    assert ([row.id for row in page.rows], page.count) == (["n0"], 3)
    assert (later.rows, later.count) == ([], 3)


@pytest.mark.parametrize(
    ("part", "found"),
    [
        ("a_b", ["underscore"]),
        ("a%b", ["percent"]),
        ("\\", ["slash"]),
        ("A", []),
        ("é", ["letter"]),
        ("", ["letter", "percent", "slash", "underscore"]),
        ("nul \0", []),
    ],
)
def test_a_part_of_a_name_is_taken_literally(catalog: Catalog, part: str, found: list[str]) -> None:
    for row_id, name in [
        ("underscore", "xa_bx"),
        ("percent", "xa%bx"),
        ("slash", "a\\b"),
        ("letter", "café"),
        ("nameless", None),
    ]:
        _add(catalog, id=row_id, name=name)
    assert _ids(catalog, name_like=part) == found


def test_a_list_is_of_the_scope(catalog: Catalog) -> None:
    _add(catalog, id="mine", project_id="p")
    _add(catalog, id="theirs", project_id="q")
    assert _ids(catalog, Scope.of("p")) == ["mine"]
    assert _ids(catalog, Scope.of("nobody")) == []
    assert _ids(catalog, Scope.of("p"), filters={"project_id": "q"}) == []
    assert _ids(catalog) == ["mine", "theirs"]
    assert _ids(catalog, filters={"project_id": "q"}) == ["theirs"]


def test_a_marker_outside_the_scope_is_missing(catalog: Catalog) -> None:
    _add(catalog, id="theirs", project_id="q")
    for marker in ("theirs", "gone", "nul \0"):
        with pytest.raises(RowMissing):
            _ids(catalog, Scope.of("p"), marker=marker)


def test_a_marker_counts_even_when_the_filter_leaves_it_out_now(catalog: Catalog) -> None:
    for number in range(4):
        _add(catalog, id=f"n{number}")
    with catalog.writing() as rows:
        rows.edit_backup("n1", name="changed")
        rows.edit_backup("n3", name="changed")
    assert _ids(catalog, filters={"name": "changed"}, marker="n2") == ["n3"]


@pytest.mark.parametrize(
    "words",
    [
        {"limit": -1},
        {"offset": -1},
        {"offset": 1 << 64},
        {"sort": (("nonsense", "asc"),)},
        {"sort": (("metadata", "asc"),)},
        {"sort": (("is_incremental", "asc"),)},
        {"sort": (("id", "upwards"),)},
        {"filters": {"nonsense": "x"}},
        {"filters": {"metadata": "x"}},
        {"filters": {"size": "1"}},
        {"filters": {"size": True}},
        {"filters": {"is_incremental": 1}},
        {"filters": {"name": 5}},
        {"filters": {"created_at": "2026-01-01"}},
        {"filters": {"created_at": datetime(2026, 1, 1)}},
    ],
)
def test_what_cannot_be_listed_is_refused(catalog: Catalog, words: dict[str, Any]) -> None:
    with pytest.raises(BadListing):
        _ids(catalog, **words)


def test_volumes_and_snapshots_are_listed_alike(catalog: Catalog) -> None:
    volumes = [volume_row(id=f"v{number}", name=f"n{number}") for number in range(3)]
    snapshots = [snapshot_row("v1", id=f"s{number}") for number in range(3)]
    with catalog.writing() as rows:
        for volume in volumes:
            rows.add_volume(volume)
        for snapshot in snapshots:
            rows.add_snapshot(snapshot)
        found = rows.page_volumes(
            Scope.of("p"), Listing(limit=2, marker="v2", filters={"status": VolumeStatus.AVAILABLE})
        )
        snapped = rows.page_snapshots(
            Scope.of("p"), Listing(limit=2, filters={"volume_id": "v1"}, with_count=True)
        )
    assert [row.id for row in found.rows] == ["v1", "v0"]
    assert ([row.id for row in snapped.rows], snapped.count) == (["s2", "s1"], 3)


def test_the_face_tells_what_may_be_asked() -> None:
    assert {"name", "status", "volume_id", "project_id"} <= BACKUP_FILTERS
    assert set(SORTED_BY) <= BACKUP_SORT_KEYS
    assert "metadata" not in BACKUP_FILTERS | BACKUP_SORT_KEYS
