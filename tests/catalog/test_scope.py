"""No reading method forgets the project: what is asked of the database is looked at."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event

from backupcore.catalog import Catalog, Listing, ReadRows, RowMissing, Scope
from tests.catalog.sample import backup_row, job_row, snapshot_row, volume_row

METHODS = [name for name, _ in inspect.getmembers(ReadRows, callable) if name[0] != "_"]
LISTING = Listing(limit=5, marker="x", with_count=True, filters={"name": "n"}, name_like="n")
ARGUMENTS: dict[str, dict[str, Any]] = {
    "backup": {"backup_id": "x"},
    "volume": {"volume_id": "x"},
    "snapshot": {"snapshot_id": "x"},
    "job": {"job_id": "x"},
    "page_backups": {"listing": LISTING},
    "page_volumes": {"listing": LISTING},
    "page_snapshots": {"listing": LISTING},
    "base_of": {"volume_id": "x", "container": "c", "before": backup_row().created_at},
    "backups_naming": {"stored_id": "x", "repository": "r"},
    "has_stored": {"stored_id": "x", "repository": "r"},
    "count_owners": {"stored_id": "x", "repository": "r", "among": ["error"]},
    "backups_in": {"statuses": ["error"]},
    "volumes_in": {"statuses": ["error"]},
    "snapshots_in": {"statuses": ["error"]},
    "jobs_in": {"statuses": ["failed"]},
    "limits": {},
    "usage": {},
}


@contextmanager
def _statements(catalog: Catalog) -> Iterator[list[str]]:
    """Gather the statements of a block."""
    said: list[str] = []

    def listen(*words: Any) -> None:
        said.append(str(words[2]))

    engine = catalog._database.engine
    event.listen(engine, "before_cursor_execute", listen)
    try:
        yield said
    finally:
        event.remove(engine, "before_cursor_execute", listen)


def _call(method: Callable[..., Any], scope: Scope) -> None:
    words = dict(ARGUMENTS[method.__name__])
    statuses = words.pop("statuses", ())
    if "among" in words:
        words["statuses"] = words.pop("among")
    if "scope" in inspect.signature(method).parameters:
        words["scope"] = scope
    else:
        words["project_id"] = scope.project_id
    found = method(*statuses, **words)
    if isinstance(found, Iterator):
        list(found)


def _fill(catalog: Catalog) -> None:
    with catalog.writing() as rows:
        rows.add_backup(backup_row(id="x"))
        rows.add_volume(volume_row(id="x"))
        rows.add_snapshot(snapshot_row("x", id="x"))
        rows.add_job(job_row(id="x"))


@pytest.mark.parametrize("name", METHODS)
def test_every_reading_method_needs_a_scope_or_a_project(name: str) -> None:
    parameters = inspect.signature(getattr(ReadRows, name)).parameters
    asked = parameters.get("scope") or parameters.get("project_id")
    assert asked is not None
    assert asked.default is inspect.Parameter.empty


@pytest.mark.parametrize("name", METHODS)
def test_every_select_of_a_reading_method_is_of_one_project(catalog: Catalog, name: str) -> None:
    _fill(catalog)
    with _statements(catalog) as said, catalog.reading() as rows:
        _call(getattr(rows, name), Scope.of("p"))
    selects = [statement for statement in said if "FROM" in statement]
    assert selects
    for statement in selects:
        where = statement.partition("WHERE")[2]
        assert re.search(r"\w+\.project_id = (\?|%\(project_id_1\)s)", where), statement


@pytest.mark.parametrize("name", METHODS)
def test_no_reading_method_shows_what_is_of_another_project(catalog: Catalog, name: str) -> None:
    _fill(catalog)
    with catalog.reading() as rows:
        method = getattr(rows, name)
        if name.startswith("page") or name in ("backup", "volume", "snapshot", "job"):
            with pytest.raises(RowMissing):
                _call(method, Scope.of("q"))
        else:
            _call(method, Scope.of("q"))
            assert rows.usage("q").backups == 0
