"""Moves happen from the states the table names and from no other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from backupcore.catalog import (
    BackupMove,
    BackupStatus,
    Catalog,
    JobMove,
    JobStatus,
    RowMissing,
    Scope,
    SnapshotMove,
    SnapshotStatus,
    VolumeMove,
    VolumeStatus,
    WrongStatus,
)
from backupcore.catalog.status import BACKUP_MOVES, JOB_MOVES, SNAPSHOT_MOVES, VOLUME_MOVES, Move
from tests.catalog.sample import backup_row, job_row, snapshot_row, volume_row

EVERYTHING = Scope.everything()
TABLES: dict[str, tuple[Any, dict[Any, Move]]] = {
    "backup": (BackupStatus, BACKUP_MOVES),
    "volume": (VolumeStatus, VOLUME_MOVES),
    "snapshot": (SnapshotStatus, SNAPSHOT_MOVES),
    "job": (JobStatus, JOB_MOVES),
}


def _cases(kind: str) -> Iterator[tuple[Any, Any]]:
    statuses, moves = TABLES[kind]
    for status in statuses:
        for move in moves:
            yield status, move


def _add(rows: Any, kind: str, status: Any) -> str:
    make: dict[str, Callable[..., Any]] = {
        "backup": backup_row,
        "volume": volume_row,
        "snapshot": partial(snapshot_row, "v"),
        "job": job_row,
    }
    row = make[kind](status=status)
    getattr(rows, f"add_{kind}")(row)
    return str(row.id)


@pytest.mark.parametrize("kind", TABLES)
def test_a_move_happens_exactly_from_the_states_of_its_table(catalog: Catalog, kind: str) -> None:
    statuses, moves = TABLES[kind]
    with catalog.writing() as rows:
        rows.set_limits("p", {"backups": -1, "volumes": -1, "snapshots": -1, "gigabytes": -1})
        rows.add_volume(volume_row(id="v"))
        for status, move in _cases(kind):
            row_id = _add(rows, kind, status)
            words = {"status": next(iter(statuses))} if moves[move].is_free else {}
            change = getattr(rows, f"move_{kind}")
            if status in moves[move].sources:
                moved = change(row_id, move, **words)
                assert moved.status == (moves[move].target or words.get("status", "available"))
            else:
                with pytest.raises(WrongStatus, match=f"{kind} '{row_id}' is {status}: no") as no:
                    change(row_id, move, **words)
                assert (no.value.status, no.value.move) == (status, move)
                assert getattr(rows, kind)(row_id, EVERYTHING).status == status


def test_a_move_changes_what_else_is_named_and_the_time(catalog: Catalog) -> None:
    row = backup_row()
    with catalog.writing() as rows:
        rows.add_backup(row)
        moved = rows.move_backup(row.id, BackupMove.FAIL, fail_reason="x" * 300)
        assert rows.backup(row.id, EVERYTHING) == moved
        with pytest.raises(WrongStatus):
            rows.move_backup(row.id, BackupMove.FINISH, name="not this")
        assert rows.backup(row.id, EVERYTHING) == moved
    assert (moved.status, moved.fail_reason) == (BackupStatus.ERROR, "x" * 255)
    assert moved.updated_at is not None


def test_a_move_of_no_row_says_so(catalog: Catalog) -> None:
    with catalog.writing() as rows:
        with pytest.raises(RowMissing):
            rows.move_backup("gone", BackupMove.FINISH)
        with pytest.raises(RowMissing):
            rows.move_volume("nul \0", VolumeMove.DELETE)


@pytest.mark.parametrize("before", [VolumeStatus.AVAILABLE, VolumeStatus.IN_USE])
@pytest.mark.parametrize(
    ("end", "left"),
    [
        (VolumeMove.END_BACKUP, VolumeStatus.BACKING_UP),
        (VolumeMove.FAIL_BACKUP, VolumeStatus.ERROR_BACKING_UP),
    ],
)
def test_a_volume_is_after_its_backup_what_it_was(
    catalog: Catalog, before: VolumeStatus, end: VolumeMove, left: VolumeStatus
) -> None:
    row = volume_row(status=before)
    with catalog.writing() as rows:
        rows.add_volume(row)
        during = rows.move_volume(row.id, VolumeMove.BACK_UP)
        assert (during.status, during.previous_status) == (VolumeStatus.BACKING_UP, before)
        after = rows.move_volume(row.id, end)
        assert (after.status, after.previous_status) == (before, left)


def test_a_volume_reset_into_a_backup_comes_out_available(catalog: Catalog) -> None:
    row = volume_row(status=VolumeStatus.IN_USE)
    with catalog.writing() as rows:
        rows.add_volume(row)
        rows.move_volume(row.id, VolumeMove.BACK_UP)
        reset = rows.move_volume(row.id, VolumeMove.RESET, status=VolumeStatus.BACKING_UP)
        assert reset.previous_status is None
        assert rows.move_volume(row.id, VolumeMove.END_BACKUP).status is VolumeStatus.AVAILABLE


def test_the_caller_names_a_status_only_where_the_move_leaves_it_open(catalog: Catalog) -> None:
    with catalog.writing() as rows:
        rows.add_volume(volume_row(id="v"))
        with pytest.raises(TypeError, match="do not fit"):
            rows.move_volume("v", VolumeMove.DELETE, status=VolumeStatus.ERROR)
        with pytest.raises(TypeError, match="do not fit"):
            rows.move_volume("v", VolumeMove.RESET)
        rows.add_snapshot(snapshot_row("v", id="s"))
        with pytest.raises(TypeError, match="do not fit"):
            rows.move_snapshot("s", SnapshotMove.RESET)


def test_a_job_that_waits_again_starts_anew(catalog: Catalog) -> None:
    with catalog.writing() as rows:
        rows.add_job(job_row(id="j"))
        rows.move_job("j", JobMove.START)
        assert rows.move_job("j", JobMove.REQUEUE).ended_at is None
        assert rows.move_job("j", JobMove.START).status is JobStatus.RUNNING


def test_every_move_stands_in_its_table_and_leads_to_a_status() -> None:
    for moves, (statuses, table) in zip(
        (BackupMove, VolumeMove, SnapshotMove, JobMove), TABLES.values(), strict=True
    ):
        assert set(table) == set(moves)
        for move in table.values():
            assert move.sources <= set(statuses)
            assert move.target is None or move.target in set(statuses)


def test_the_reference_tells_every_move() -> None:
    told = (Path(__file__).parents[2] / "docs/reference/catalog.md").read_text(encoding="utf-8")
    for kind, (statuses, moves) in TABLES.items():
        for name, move in moves.items():
            sources = ", ".join(status for status in statuses if status in move.sources)
            if move.sources == set(statuses):
                sources = "any"
            other = "the caller names it" if move.is_free else "what it was before"
            assert f"| {kind} | {name} | {sources} | {move.target or other} |\n" in told
