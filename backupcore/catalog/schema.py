"""The tables, and how a value of ours becomes one that every database orders alike.

Times are whole microseconds since 1970 in UTC: no type of both databases keeps a time zone and
microseconds, the adapters of Python's sqlite3 are deprecated, and whole numbers order as time does.
Texts compare by code point (collation "C" in PostgreSQL, as SQLite does by itself), whatever
the machine's language. Mappings are JSON in a text: nothing selects by what is in them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Dialect,
    ForeignKey,
    Index,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    TypeDecorator,
)
from sqlalchemy.dialects.postgresql import TEXT as POSTGRESQL_TEXT
from sqlalchemy.dialects.postgresql import VARCHAR as POSTGRESQL_VARCHAR
from sqlalchemy.types import TypeEngine

from backupcore.catalog.status import (
    BackupStatus,
    JobKind,
    JobStatus,
    SnapshotStatus,
    VolumeStatus,
)

__all__ = ["TEXT_LENGTH_MAX", "Moment", "Word", "tables"]

TEXT_LENGTH_MAX = 255
WORD_LENGTH_MAX = 32
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Moment(TypeDecorator[datetime]):
    """A time as whole microseconds since 1970, exact from year 1 to 9999."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        """Return microseconds; a time without its zone is a bug of the caller."""
        return None if value is None else (value - _EPOCH) // _MICROSECOND

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        """Return a time in UTC."""
        return None if value is None else _EPOCH + value * _MICROSECOND


class Word(TypeDecorator[StrEnum]):
    """One of our closed choices, as its text."""

    impl = String
    cache_ok = True

    def __init__(self, kind: type[StrEnum]) -> None:
        super().__init__(WORD_LENGTH_MAX)
        self.kind = kind

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the text that compares by code point."""
        return dialect.type_descriptor(text(WORD_LENGTH_MAX))

    def process_bind_param(self, value: StrEnum | str | None, dialect: Dialect) -> str | None:
        """Return the word; one that is none of the choices is in no row."""
        return None if value is None else str(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> StrEnum | None:
        """Return the choice."""
        return None if value is None else self.kind(value)


class Json(TypeDecorator[Any]):
    """A mapping or a sequence as JSON in a text, or null; shape: makes a row's value of it."""

    impl = Text
    cache_ok = True

    def __init__(self, shape: Callable[[Any], Any] = dict) -> None:
        super().__init__()
        self.shape = shape

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the text that compares by code point."""
        return dialect.type_descriptor(_long_text())

    def process_bind_param(self, value: Any, dialect: Dialect) -> str:
        """Return the JSON; it is ASCII, so any character may be in it."""
        return json.dumps(value, separators=(",", ":"), sort_keys=True)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        """Return the value of a row; None where that is what it was."""
        found = json.loads(value or "{}")
        return None if found is None else self.shape(found)


def text(length: int = TEXT_LENGTH_MAX) -> TypeEngine[str]:
    """Return a text of so many characters at most that compares by code point."""
    return String(length).with_variant(POSTGRESQL_VARCHAR(length, collation="C"), "postgresql")


def _long_text() -> TypeEngine[str]:
    return Text().with_variant(POSTGRESQL_TEXT(collation="C"), "postgresql")


def _text(name: str, *, is_needed: bool = False) -> Column[Any]:
    return Column(name, text(), nullable=not is_needed)


def _moment(name: str, *, is_needed: bool = False) -> Column[Any]:
    return Column(name, Moment(), nullable=not is_needed)


def _number(name: str, *, is_needed: bool = True) -> Column[Any]:
    return Column(name, BigInteger(), nullable=not is_needed)


def _described(kind: type[StrEnum]) -> list[Column[Any]]:
    """Return the columns that backups, volumes and snapshots share."""
    return [
        _text("id", is_needed=True),
        _text("project_id", is_needed=True),
        _text("user_id"),
        _text("name"),
        _text("description"),
        Column("metadata", Json(), nullable=False),
        Column("status", Word(kind), nullable=False),
        _number("size"),
        _moment("created_at", is_needed=True),
        _moment("updated_at"),
    ]


def _listed(table: str) -> list[Index]:
    """Return the indexes of a list's default order, of all and of one project, and of names.

    The size lies in the project's one for the sake of quotas. Names come first in theirs, for they
    are looked for over all projects as well.
    """
    return [
        Index(f"ix_{table}_created", "created_at", "id"),
        Index(f"ix_{table}_project", "project_id", "created_at", "id", "size"),
        Index(f"ix_{table}_project_status", "project_id", "status", "created_at", "id"),
        Index(f"ix_{table}_status", "status", "created_at", "id"),
        Index(f"ix_{table}_name", "name", "project_id", "created_at", "id"),
    ]


tables = MetaData()

backups = Table(
    "backups",
    tables,
    *_described(BackupStatus),
    _text("volume_id", is_needed=True),
    _text("snapshot_id"),
    _text("fail_reason"),
    _text("container"),
    _text("repository"),
    _text("stored_id"),
    _number("size_bytes", is_needed=False),
    _number("object_count"),
    Column("is_incremental", Boolean(), nullable=False),
    Column("is_imported", Boolean(), nullable=False),
    _text("parent_id"),
    _text("restore_volume_id"),
    _text("volume_name"),
    _text("volume_description"),
    Column("volume_metadata", Json(), nullable=False),
    _text("availability_zone"),
    _text("host"),
    _text("request_id"),
    _moment("data_timestamp"),
    PrimaryKeyConstraint("id", name="pk_backups"),
    *_listed("backups"),
    Index("ix_backups_volume", "volume_id", "project_id", "created_at", "id"),
    Index("ix_backups_base", "volume_id", "project_id", "status", "data_timestamp"),
    Index("ix_backups_stored", "stored_id", "repository"),
)

volumes = Table(
    "volumes",
    tables,
    *_described(VolumeStatus),
    Column("previous_status", Word(VolumeStatus), nullable=True),
    _number("size_bytes"),
    _text("provider", is_needed=True),
    Column("place", _long_text(), nullable=False),
    _text("snapshot_id"),
    _text("source_volume_id"),
    _text("availability_zone"),
    _text("volume_type"),
    Column("is_bootable", Boolean(), nullable=False),
    Column("attachments", Json(tuple), nullable=False),
    PrimaryKeyConstraint("id", name="pk_volumes"),
    *_listed("volumes"),
)

snapshots = Table(
    "snapshots",
    tables,
    *_described(SnapshotStatus),
    Column(
        "volume_id",
        text(),
        ForeignKey("volumes.id", name="fk_snapshots_volume"),
        nullable=False,
    ),
    _number("size_bytes"),
    _text("provider", is_needed=True),
    Column("place", _long_text(), nullable=False),
    PrimaryKeyConstraint("id", name="pk_snapshots"),
    *_listed("snapshots"),
    Index("ix_snapshots_volume", "volume_id", "project_id", "created_at", "id"),
)

jobs = Table(
    "jobs",
    tables,
    _text("id", is_needed=True),
    Column("kind", Word(JobKind), nullable=False),
    _text("backup_id", is_needed=True),
    _text("volume_id"),
    _text("project_id", is_needed=True),
    _text("request_id"),
    Column("status", Word(JobStatus), nullable=False),
    _number("done_bytes"),
    _number("total_bytes"),
    _moment("created_at", is_needed=True),
    _moment("started_at"),
    _moment("ended_at"),
    Column("detail", Json(), nullable=False),
    PrimaryKeyConstraint("id", name="pk_jobs"),
    Index("ix_jobs_status", "status", "created_at", "id"),
    Index("ix_jobs_backup", "backup_id"),
    Index("ix_jobs_ended", "ended_at"),
)

# A project's row is what its adders lock: two who count at once would both find room.
projects = Table(
    "projects",
    tables,
    _text("project_id", is_needed=True),
    PrimaryKeyConstraint("project_id", name="pk_projects"),
)

limits = Table(
    "limits",
    tables,
    Column(
        "project_id",
        text(),
        ForeignKey("projects.project_id", name="fk_limits_project"),
        nullable=False,
    ),
    _text("resource", is_needed=True),
    _number("value"),
    PrimaryKeyConstraint("project_id", "resource", name="pk_limits"),
)
