"""Of those who want the same thing at once as many get it as there is: by threads and processes.

Each contender has a catalog of its own, as if it were another machine's.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import partial

import pytest

from backupcore.catalog import (
    BackupMove,
    BackupStatus,
    Catalog,
    QuotaExceeded,
    RowExists,
    RowInUse,
    RowMissing,
    Rows,
    Scope,
    WrongStatus,
)
from backupcore.errors import BackupError
from tests.catalog.sample import backup_row, snapshot_row, volume_row

EVERYTHING = Scope.everything()
ROUNDS = 5
PROCESS = """
import sys
from backupcore.catalog import BackupMove, Catalog, WrongStatus
with Catalog.open(sys.argv[1]) as catalog:
    print("ready", flush=True)
    sys.stdin.readline()
    try:
        catalog.write(lambda rows: rows.move_backup(sys.argv[2], BackupMove.RESTORE))
        print("won")
    except WrongStatus:
        print("lost")
"""


def contend(url: str, *changes: Callable[[Rows], object]) -> list[object]:
    """Return what each change returned or raised, all begun at one moment."""
    barrier = threading.Barrier(len(changes))

    def run(catalog: Catalog, change: Callable[[Rows], object]) -> object:
        barrier.wait()
        try:
            return catalog.write(change)
        except BackupError as error:
            return type(error)

    with ExitStack() as stack, ThreadPoolExecutor(len(changes)) as pool:
        catalogs = [stack.enter_context(Catalog.open(url)) for _ in changes]
        for catalog in catalogs:
            catalog.schema_version()  # so that all are connected
        running = [pool.submit(run, *pair) for pair in zip(catalogs, changes, strict=True)]
        return [future.result() for future in running]


@pytest.mark.parametrize("number", range(ROUNDS))
def test_of_two_movers_exactly_one_wins(url: str, catalog: Catalog, number: int) -> None:
    row = backup_row(status=BackupStatus.AVAILABLE)
    catalog.write(lambda rows: rows.add_backup(row))
    ends = contend(
        url,
        lambda rows: rows.move_backup(row.id, BackupMove.RESTORE).status,
        lambda rows: rows.move_backup(row.id, BackupMove.DELETE).status,
        lambda rows: rows.move_backup(row.id, BackupMove.RESTORE).status,
    )
    winners = [end for end in ends if end is not WrongStatus]
    assert len(winners) == 1
    with catalog.reading() as rows:
        assert rows.backup(row.id, EVERYTHING).status == winners[0]


def test_of_several_processes_exactly_one_wins(url: str, catalog: Catalog) -> None:
    row = backup_row(status=BackupStatus.AVAILABLE)
    catalog.write(lambda rows: rows.add_backup(row))
    command = [sys.executable, "-c", PROCESS, url, row.id]
    pipe = subprocess.PIPE
    movers = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) for _ in range(3)]
    for mover in movers:
        assert mover.stdout is not None
        assert mover.stdout.readline() == "ready\n"
    for mover in movers:
        assert mover.stdin is not None
        mover.stdin.write("\n")
        mover.stdin.flush()
    ends = [mover.communicate(timeout=60)[0] for mover in movers]
    assert Counter(ends) == {"won\n": 1, "lost\n": 2}


@pytest.mark.parametrize("is_first", [True, False], ids=["new project", "known project"])
def test_of_many_adders_exactly_as_many_pass_as_there_is_room(url: str, is_first: bool) -> None:
    room = 4
    with Catalog.open(url, default_limits={"backups": 10}) as catalog:
        if not is_first:
            catalog.write(lambda rows: rows.set_limits("p", {"backups": 10}))
        for _ in range(10 - room):
            catalog.write(lambda rows: rows.add_backup(backup_row(), is_counted=not is_first))
        ends = contend(url, *[lambda rows: rows.add_backup(backup_row())] * (room + 5))
        assert Counter(ends) == {None: room, QuotaExceeded: 5}
        with catalog.reading() as rows:
            assert rows.usage("p").backups == 10


def test_of_those_who_add_one_id_exactly_one_passes(url: str) -> None:
    row = backup_row()
    ends = contend(url, *[lambda rows: rows.add_backup(row)] * 4)
    assert Counter(ends) == {None: 1, RowExists: 3}


@pytest.mark.parametrize("number", range(ROUNDS))
def test_of_those_who_remove_rows_of_one_stored_backup_exactly_one_hears_true(
    url: str, catalog: Catalog, number: int
) -> None:
    same = [backup_row(repository="r", stored_id="x") for _ in range(4)]
    with catalog.writing() as rows:
        for row in same:
            rows.add_backup(row)
    removers = [partial(lambda row_id, rows: rows.remove_backup(row_id), row.id) for row in same]
    assert Counter(contend(url, *removers)) == {True: 1, False: 3}


def test_of_those_who_remove_one_row_exactly_one_hears_true(url: str, catalog: Catalog) -> None:
    row = backup_row(repository="r", stored_id="x")
    catalog.write(lambda rows: rows.add_backup(row))
    ends = contend(url, *[lambda rows: rows.remove_backup(row.id)] * 3)
    assert Counter(ends) == {True: 1, RowMissing: 2}


@pytest.mark.parametrize("number", range(ROUNDS))
def test_no_snapshot_is_left_without_its_volume(url: str, catalog: Catalog, number: int) -> None:
    volume = volume_row()
    snapshot = snapshot_row(volume.id)
    catalog.write(lambda rows: rows.add_volume(volume))
    ends = contend(
        url,
        lambda rows: rows.remove_volume(volume.id),
        lambda rows: rows.add_snapshot(snapshot),
    )
    assert ends in ([None, RowMissing], [RowInUse, None])


def test_those_who_wait_for_each_other_both_pass(url: str, catalog: Catalog) -> None:
    names = [backup_row().id for _ in range(2)]
    for name in names:
        catalog.write(lambda rows, name=name: rows.add_backup(backup_row(id=name)))  # type: ignore[misc]
    meeting = threading.Barrier(2)

    def edit(order: list[str]) -> Callable[[Rows], object]:
        def change(rows: Rows) -> None:
            rows.edit_backup(order[0], name="changed")
            # where one writer excludes the other they do not meet
            with suppress(threading.BrokenBarrierError):
                meeting.wait(0.3)
            rows.edit_backup(order[1], name="changed")

        return change

    assert contend(url, edit(names), edit(names[::-1])) == [None, None]


def test_a_reader_sees_one_moment_while_others_write(url: str, catalog: Catalog) -> None:
    row = backup_row(name="before")
    catalog.write(lambda rows: rows.add_backup(row))
    with Catalog.open(url) as other, catalog.reading() as rows:
        assert rows.backup(row.id, EVERYTHING).name == "before"
        other.write(lambda others: others.edit_backup(row.id, name="after"))
        other.write(lambda others: others.add_backup(backup_row()))
        assert rows.backup(row.id, EVERYTHING).name == "before"
        assert rows.usage("p").backups == 1
    with catalog.reading() as rows:
        assert rows.backup(row.id, EVERYTHING).name == "after"
