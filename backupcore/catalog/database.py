"""The two databases: how each is opened, how its transactions begin, what its errors mean.

SQLite: a file in WAL mode, so readers and the one writer do not wait for each other; a writer says
BEGIN IMMEDIATE, for a transaction that begins by reading cannot always go on to write.
PostgreSQL: readers see one moment (REPEATABLE READ, READ ONLY); writers use READ COMMITTED with
conditional updates and row locks, which can end in nothing worse than a deadlock.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

import tenacity
from sqlalchemy import URL, Connection, Engine, create_engine, event, func, make_url, select
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from backupcore.catalog.error import CatalogUnavailable
from backupcore.closing import Closing
from backupcore.errors import Refused, UnknownScheme
from backupcore.runtime import Runtime

__all__ = ["Database"]

T = TypeVar("T")
CLAIM_KEY = int.from_bytes(b"backup")  # any number that all of us agree on
BUSY_S_MAX = 30.0
ATTEMPT_COUNT_MAX = 10
WAIT_FIRST_S = 0.02
WAIT_S_MAX = 1.0
CONNECTION_COUNT = 10
# serialization_failure, deadlock_detected: "PostgreSQL Error Codes", appendix A of its manual
_TRY_AGAIN = ("40001", "40P01")


class TryAgain(CatalogUnavailable):
    """The database gave this transaction up for another one; nothing of it happened."""


class Database(Closing):
    """An open database; name: its URL without a password."""

    def __init__(self, url: str, runtime: Runtime) -> None:
        """Prepare the connections; nothing is connected yet. Raises: Refused, UnknownScheme."""
        parsed = _parse(url)
        self.name = parsed.render_as_string(hide_password=True)
        self._clock = runtime.clock
        self.is_sqlite = parsed.get_backend_name() == "sqlite"
        self.engine = _open_sqlite(parsed) if self.is_sqlite else _open_postgresql(parsed)

    def prepare(self) -> None:
        """Bring a file of SQLite into WAL mode, where it stays. Raises: CatalogUnavailable."""
        if self.is_sqlite:
            self._repeat(self._set_wal)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Give a connection within a transaction that only reads, all of one moment."""
        with self._translated(), self.engine.connect() as connection:
            if not self.is_sqlite:
                connection.execution_options(
                    isolation_level="REPEATABLE READ", postgresql_readonly=True
                )
            with connection.begin():
                yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Give a connection within a transaction that is committed at the end of the block."""
        with self._translated(), self.engine.connect() as connection:
            connection.execution_options(is_writing=True)
            with connection.begin():
                yield connection

    def write(self, change: Callable[[Connection], T]) -> T:
        """Return what a function returns; again when the database asks for another attempt."""

        def attempt() -> T:
            with self.writing() as connection:
                return change(connection)

        return self._repeat(attempt)

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Keep other services from working on a PostgreSQL database until the block ends.

        The lock is that of a connection: it goes with the process, whatever ends it, and when the
        server is restarted. A file of SQLite is its service's own, as the folder that it lies in.
        Raises: Refused when another service has it; CatalogUnavailable.
        """
        if self.is_sqlite:
            yield
            return
        with self._translated():
            connection = self.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            is_ours = connection.scalar(select(func.pg_try_advisory_lock(CLAIM_KEY)))
        try:
            if not is_ours:
                raise Refused(
                    f"{self.name}: another service works on this catalog: end that one first"
                )
            yield
        finally:
            # the server notices a closed connection some time later
            with suppress(DBAPIError):
                connection.execute(select(func.pg_advisory_unlock(CLAIM_KEY)))
            # not given back to the others of the pool: a lock would go with it
            connection.invalidate()
            connection.close()

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()

    def _set_wal(self) -> None:
        with self._translated(), self.engine.connect() as connection:
            connection.execution_options(is_plain=True)
            try:
                connection.exec_driver_sql("PRAGMA journal_mode = WAL")
            except DBAPIError as error:
                # Another process is doing the same: SQLite does not wait here by itself.
                if "locked" in str(error.orig):
                    raise TryAgain(f"{self.name}: {error.orig}: try again") from error
                raise

    def _repeat(self, call: Callable[[], T]) -> T:
        attempts = tenacity.Retrying(
            sleep=self._clock.sleep,
            stop=tenacity.stop_after_attempt(ATTEMPT_COUNT_MAX),
            wait=tenacity.wait_exponential(multiplier=WAIT_FIRST_S, max=WAIT_S_MAX),
            retry=tenacity.retry_if_exception_type(TryAgain),
            reraise=True,
        )
        return attempts(call)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Make errors of the database ours, without what was asked of it."""
        try:
            yield
        except PoolTimeout as error:
            raise CatalogUnavailable(
                f"{self.name}: all {CONNECTION_COUNT * 2} connections are in use: try later"
            ) from error
        except DBAPIError as error:
            fact = str(error.orig).strip()
            kind = TryAgain if getattr(error.orig, "sqlstate", None) in _TRY_AGAIN else None
            raise (kind or CatalogUnavailable)(
                f"{self.name}: {fact}: see that the database is up and may be written to"
            ) from error


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise Refused(
            "the catalog's URL cannot be read: write sqlite:///FILE or postgresql://HOST/DATABASE"
        ) from error
    backend = parsed.drivername.partition("+")[0]
    if backend == "sqlite":
        if parsed.database in (None, "", ":memory:") or parsed.query.get("mode") == "memory":
            raise Refused("the catalog needs a file: write sqlite:///FILE")
        return parsed.set(drivername="sqlite")
    if backend in ("postgresql", "postgres"):
        return parsed.set(drivername="postgresql+psycopg")
    raise UnknownScheme(
        f"no catalog is kept in {backend}: write sqlite:///FILE or postgresql://HOST/DATABASE"
    )


def _open_sqlite(url: URL) -> Engine:
    engine = create_engine(
        url,
        hide_parameters=True,
        pool_size=CONNECTION_COUNT,
        max_overflow=CONNECTION_COUNT,
        connect_args={"timeout": BUSY_S_MAX},
    )
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    # Python's module would begin transactions by itself, and never where one reads.
    connection.isolation_level = None
    connection.execute("PRAGMA foreign_keys = ON").close()


def _begin_sqlite(connection: Connection) -> None:
    options = connection.get_execution_options()
    if not options.get("is_plain"):
        word = "BEGIN IMMEDIATE" if options.get("is_writing") else "BEGIN"
        connection.exec_driver_sql(word)


def _open_postgresql(url: URL) -> Engine:
    try:
        return create_engine(
            url,
            hide_parameters=True,
            pool_pre_ping=True,
            pool_size=CONNECTION_COUNT,
            max_overflow=CONNECTION_COUNT,
        )
    except ImportError as error:
        raise UnknownScheme(
            "postgresql: psycopg is not installed: pip install 'backupcore[postgresql]'"
        ) from error
    except SQLAlchemyError as error:
        raise Refused(f"postgresql: the catalog's URL cannot be used: {error}") from error
