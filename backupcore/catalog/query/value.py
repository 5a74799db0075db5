"""Rows as frozen dataclasses and as values of columns: the one place where each becomes the other.

A dataclass's fields and its table's columns have the same names; the columns' types convert.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Generic, TypeVar

from sqlalchemy import Boolean, Column, RowMapping, String, Table

from backupcore.catalog import schema
from backupcore.catalog.change import BackupChanges, JobChanges, SnapshotChanges, VolumeChanges
from backupcore.catalog.row import BackupRow, JobRow, SnapshotRow, VolumeRow
from backupcore.catalog.schema import TEXT_LENGTH_MAX, Json, Moment, Word
from backupcore.errors import Refused

__all__ = [
    "BACKUP",
    "JOB",
    "SNAPSHOT",
    "VOLUME",
    "Kind",
    "change_values",
    "filter_columns",
    "is_of",
    "is_storable",
    "row_of",
    "sort_columns",
    "values_of",
]

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Kind(Generic[R]):
    """One kind of row: what people call it, its table, its dataclass, what may change."""

    name: str
    table: Table
    row: Callable[..., R]
    changeable: frozenset[str]


BACKUP = Kind("backup", schema.backups, BackupRow, frozenset(BackupChanges.__annotations__))
VOLUME = Kind("volume", schema.volumes, VolumeRow, frozenset(VolumeChanges.__annotations__))
SNAPSHOT = Kind(
    "snapshot", schema.snapshots, SnapshotRow, frozenset(SnapshotChanges.__annotations__)
)
JOB = Kind("job", schema.jobs, JobRow, frozenset(JobChanges.__annotations__))


def row_of(kind: Kind[R], found: RowMapping) -> R:
    """Return the row that a SELECT of a whole table found."""
    return kind.row(**found)


def values_of(kind: Kind[Any], row: Any) -> dict[str, Any]:
    """Return a row's values by column. Raises: Refused when a text cannot be stored."""
    found = {field.name: getattr(row, field.name) for field in fields(row)}
    return {name: _stored(kind, found["id"], name, value) for name, value in found.items()}


def change_values(kind: Kind[Any], row_id: str, changes: Mapping[str, object]) -> dict[str, Any]:
    """Return the values that a change sets.

    Raises: Refused when a text cannot be stored, TypeError when a column cannot be changed.
    """
    if unknown := sorted(set(changes) - kind.changeable):
        raise TypeError(f"{', '.join(unknown)} of a {kind.name} cannot be changed")
    return {name: _stored(kind, row_id, name, value) for name, value in changes.items()}


def filter_columns(kind: Kind[Any]) -> frozenset[str]:
    """Return the columns that a list may be filtered by: those with one value a row."""
    return frozenset(
        column.name for column in kind.table.columns if not isinstance(column.type, Json)
    )


def sort_columns(kind: Kind[Any]) -> frozenset[str]:
    """Return the columns that a list may be ordered by: those that have an order."""
    return frozenset(
        name
        for name in filter_columns(kind)
        if not isinstance(kind.table.columns[name].type, Boolean)
    )


def is_storable(value: str) -> bool:
    """Return whether both databases can hold a text: neither NUL nor half a surrogate pair."""
    if "\0" in value:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _stored(kind: Kind[Any], row_id: str, name: str, value: Any) -> Any:
    """Return a value as it is stored; a reason of failure is cut, other texts are not."""
    if not isinstance(value, str) or isinstance(kind.table.columns[name].type, Word):
        return value
    if name == "fail_reason":
        clean = value.replace("\0", "\ufffd").encode(errors="replace").decode()
        return clean[:TEXT_LENGTH_MAX]
    if not is_storable(value):
        raise Refused(f"{kind.name} {row_id!r}: {name} holds a character that cannot be stored")
    length_max = _length_max(kind.table.columns[name])
    if length_max is not None and len(value) > length_max:
        raise Refused(
            f"{kind.name} {row_id!r}: {name} has {len(value)} characters: at most {length_max}"
        )
    return value


def _length_max(column: Column[Any]) -> int | None:
    return column.type.length if isinstance(column.type, String) else None


def is_of(column: Column[Any], value: object) -> bool:
    """Return whether a value is one that a column may hold, None left aside."""
    kind = column.type
    if isinstance(kind, Moment):
        return isinstance(value, datetime) and value.tzinfo is not None
    if isinstance(kind, Boolean):
        return isinstance(value, bool)
    if isinstance(kind, Word | String):
        return isinstance(value, str)
    return isinstance(value, int) and not isinstance(value, bool)
