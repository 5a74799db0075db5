"""A catalog of a million backups: how long a page of a list takes, and by which index.

    python -m benchmarks.service.catalog [--rows 1000000] [--url URL] [--rounds 20] [--json OUT]

One project holds a tenth of all backups, the others share the rest. Each list is asked for through
the catalog's face, so the transaction and the making of rows are in the time. The database is
filled by its own bulk way and must be empty; without a URL it is a file of SQLite that goes again.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeAlias
from uuid import UUID

from sqlalchemy import Connection, event, text

from backupcore.catalog import BackupStatus, Catalog, Listing, ReadRows, Scope
from backupcore.catalog.database import Database
from backupcore.catalog.schema import backups
from backupcore.runtime import Runtime
from benchmarks.image import work_folder
from benchmarks.measure import print_table, write_json

__all__ = ["main"]

Ask: TypeAlias = Callable[[ReadRows], object]
LARGE = "project-0"
PROJECT_COUNT = 1000
BACKUPS_OF_VOLUME = 50
BATCH = 10_000
CACHE_KIB = 1 << 18
FIRST_US = int(datetime(2024, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000
SPAN_US = 2 * 365 * 86_400 * 1_000_000


@dataclass(frozen=True, slots=True)
class Sample:
    """Ids that the measured lists ask for."""

    volume_id: str
    deep_id: str


def _values(number: int, chance: random.Random) -> dict[str, Any]:
    """Return one backup's values as the database keeps them."""
    is_large = number % 10 == 0
    project = 0 if is_large else 1 + number % (PROJECT_COUNT - 1)
    state = "available" if chance.random() < 0.97 else chance.choice(list(BackupStatus)).value
    moment = FIRST_US + chance.randrange(SPAN_US)
    name = f"nightly-{moment // 86_400_000_000}" if chance.random() < 0.8 else None
    backup_id = str(UUID(int=chance.getrandbits(128)))
    return {
        **dict.fromkeys(column.name for column in backups.columns),
        "id": backup_id,
        "project_id": f"project-{project}",
        "user_id": f"user-{project}",
        "volume_id": f"volume-{project}-{number // PROJECT_COUNT // BACKUPS_OF_VOLUME}",
        "name": name,
        "metadata": "{}",
        "status": state,
        "container": "backups",
        "repository": "backups",
        "stored_id": backup_id,
        "size": chance.randrange(1, 2000),
        "size_bytes": 1 << 40,
        "object_count": 100,
        "is_incremental": True,
        "is_imported": False,
        "created_at": moment,
        "data_timestamp": moment,
    }


def fill(connection: Connection, row_count: int) -> None:
    """Add rows by the database's bulk way; the indexes are made again after it."""
    for index in backups.indexes:
        index.drop(connection)
    _add_rows(connection, row_count)
    for index in backups.indexes:
        index.create(connection)


def _add_rows(connection: Connection, row_count: int) -> None:
    chance = random.Random(1)
    names = [column.name for column in backups.columns]
    columns = ", ".join(names)
    rows = (tuple(_values(number, chance).values()) for number in range(row_count))
    if connection.dialect.name == "postgresql":
        cursor: Any = connection.connection.cursor()
        with cursor.copy(f"COPY backups ({columns}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
        return
    connection.exec_driver_sql(f"PRAGMA cache_size = -{CACHE_KIB}")
    places = ", ".join("?" for _ in names)
    command = f"INSERT INTO backups ({columns}) VALUES ({places})"
    for batch in _batches(rows):
        connection.exec_driver_sql(command, batch)


def _batches(rows: Iterator[tuple[Any, ...]]) -> Iterator[list[tuple[Any, ...]]]:
    batch: list[tuple[Any, ...]] = []
    for row in rows:
        batch.append(row)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def sample_of(connection: Connection, row_count: int) -> Sample:
    """Return the ids that are asked for: a volume, and the backup in the middle of the list."""
    query = text(
        "SELECT id, volume_id FROM backups WHERE project_id = :project "
        "ORDER BY created_at DESC, id DESC LIMIT 1 OFFSET :depth"
    )
    found = connection.execute(query, {"project": LARGE, "depth": row_count // 20}).one()
    return Sample(found.volume_id, found.id)


def cases(sample: Sample) -> dict[str, Ask]:
    """Return what is asked, by its name."""
    large, everything = Scope.of(LARGE), Scope.everything()
    day = f"nightly-{(FIRST_US + SPAN_US // 2) // 86_400_000_000}"

    def page(scope: Scope, **words: Any) -> Ask:
        return lambda rows: rows.page_backups(scope, Listing(**{"limit": 100, **words}))

    return {
        "default order": page(large),
        "default order, 1000 rows": page(large, limit=1000),
        "default order, marker in the middle": page(large, marker=sample.deep_id),
        "status=available": page(large, filters={"status": "available"}),
        "status=error": page(large, filters={"status": "error"}),
        "name": page(large, filters={"name": day}),
        "volume_id": page(large, filters={"volume_id": sample.volume_id}),
        "with_count": page(large, with_count=True),
        "with_count, status=available": page(
            large, filters={"status": "available"}, with_count=True
        ),
        "part of a name": page(large, name_like="-2020"),
        "part of a name that none has": page(large, name_like="weekly"),
        "offset in the middle": page(large, offset=50_000),
        "sorted by name": page(large, sort=(("name", "asc"),)),
        "sorted by size": page(large, sort=(("size", "desc"),)),
        "usage": lambda rows: rows.usage(LARGE),
        "base_of": lambda rows: rows.base_of(sample.volume_id, large),
        "all projects": page(everything),
        "all projects, status=available": page(everything, filters={"status": "available"}),
        "all projects, status=error": page(everything, filters={"status": "error"}),
        "all projects, name": page(everything, filters={"name": day}),
        "all projects, with_count": page(everything, with_count=True),
    }


@contextmanager
def _listening(database: Database) -> Iterator[list[tuple[str, Any]]]:
    said: list[tuple[str, Any]] = []

    def listen(*words: Any) -> None:
        if words[2].lstrip().startswith("SELECT"):
            said.append((words[2], words[3]))

    event.listen(database.engine, "before_cursor_execute", listen)
    try:
        yield said
    finally:
        event.remove(database.engine, "before_cursor_execute", listen)


def plans(database: Database, catalog: Catalog, ask: Ask) -> list[str]:
    """Return how the database says that it does what is asked."""
    with _listening(database) as said, catalog.reading() as rows:
        ask(rows)
    lines: list[str] = []
    word = "EXPLAIN QUERY PLAN " if database.is_sqlite else "EXPLAIN (COSTS OFF) "
    with database.reading() as connection:
        for statement, parameters in said:
            found = connection.exec_driver_sql(word + statement, parameters)
            lines += [str(row[-1]).strip() for row in found]
    return lines


def measure(catalog: Catalog, ask: Ask, rounds: int) -> dict[str, list[float]]:
    """Return the milliseconds of each round, by the wall clock and of the processor.

    The latter do not depend on what else the machine does; a server's are not in them.
    """
    wall_ms: list[float] = []
    processor_ms: list[float] = []
    for _ in range(rounds):
        begin_s, processor_begin_s = time.perf_counter(), time.process_time()
        with catalog.reading() as rows:
            ask(rows)
        wall_ms.append((time.perf_counter() - begin_s) * 1000)
        processor_ms.append((time.process_time() - processor_begin_s) * 1000)
    return {"ms": wall_ms, "processor_ms": processor_ms}


def run(url: str, row_count: int, rounds: int) -> dict[str, Any]:
    """Fill a catalog and measure; return everything that was found."""
    results: dict[str, Any] = {"rows": row_count, "cases": {}}
    runtime = Runtime()
    database = Database(url, runtime)
    with Catalog(database, runtime, {}) as catalog:
        catalog.upgrade()
        begin_s = time.perf_counter()
        with database.writing() as connection:
            fill(connection, row_count)
        results["fill_s"] = time.perf_counter() - begin_s
        print(f"{row_count} rows in {results['fill_s']:.0f} s")
        if not database.is_sqlite:
            _vacuum(database)
        with database.reading() as connection:
            sample = sample_of(connection, row_count)
        for name, ask in cases(sample).items():
            plan = plans(database, catalog, ask) if name != "usage" else []
            results["cases"][name] = {**measure(catalog, ask, rounds), "plan": plan}
    return results


def _vacuum(database: Database) -> None:
    """Do what a server does by itself within minutes of such a change."""
    with database.engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT")
        connection.exec_driver_sql("VACUUM ANALYZE backups")


def show(results: dict[str, Any]) -> None:
    """Print the times as a table, and the plans."""
    table = [
        {
            "list": name,
            "median": f"{statistics.median(case['ms']):.1f} ms",
            "slowest": f"{max(case['ms']):.1f} ms",
            "processor": f"{statistics.median(case['processor_ms']):.1f} ms",
        }
        for name, case in results["cases"].items()
    ]
    print_table(f"{results['rows']} backups", table)
    for name, case in results["cases"].items():
        print(f"\n{name}")
        for line in case["plan"]:
            print(f"    {line}")


def main() -> None:
    """Fill, measure, tell."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.service.catalog",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rows", type=int, default=1_000_000, help="how many backups (1000000)")
    parser.add_argument("--url", help="of an empty database (a file of SQLite)")
    parser.add_argument("--rounds", type=int, default=20, help="how often each is asked (20)")
    parser.add_argument("--folder", metavar="DIR", help="where the file is, and leaves no trace")
    parser.add_argument("--json", metavar="OUT", help="also write everything to this file")
    words = parser.parse_args()
    with work_folder(words.folder) as folder:
        url = words.url or f"sqlite:///{folder / 'catalog.db'}"
        results = run(url, words.rows, words.rounds)
    show(results)
    write_json(words.json, results)


if __name__ == "__main__":
    main()
