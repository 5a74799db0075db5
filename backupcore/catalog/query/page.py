"""Pages of a list by keyset: a page begins after the row that ended the last one.

What is after a row in an order of several columns is a disjunction, of which databases make no
use; the first column's bound, which follows from it, is said beside it, so that an index on the
order leads to the page's first row at once, however deep it lies.

A missing value is smaller than any other, in both directions: SQLite's way, told to PostgreSQL.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    RowMapping,
    Select,
    and_,
    false,
    func,
    or_,
    select,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import Integer

from backupcore.catalog.error import BadListing, RowMissing
from backupcore.catalog.listing import Direction, FilterValue, Listing, Page, Scope
from backupcore.catalog.query.value import (
    Kind,
    filter_columns,
    is_of,
    is_storable,
    row_of,
    sort_columns,
)
from backupcore.catalog.schema import Word

__all__ = ["in_scope", "read_page"]

R = TypeVar("R")
INTEGER_MAX = (1 << 63) - 1
Order = Sequence[tuple[Column[Any], Direction]]


class _Position(FunctionElement[int]):
    """Where a text begins in another, by character and capital letters, from 1; 0 for nowhere."""

    type = Integer()
    inherit_cache = True
    name = "position"


@compiles(_Position)
def _write_position(element: _Position, compiler: SQLCompiler, **words: Any) -> str:
    return f"strpos({compiler.process(element.clauses, **words)})"


@compiles(_Position, "sqlite")
def _write_position_for_sqlite(element: _Position, compiler: SQLCompiler, **words: Any) -> str:
    return f"instr({compiler.process(element.clauses, **words)})"


def in_scope(kind: Kind[R], scope: Scope) -> list[ColumnElement[bool]]:
    """Return the condition that keeps a reader within its scope."""
    if scope.project_id is None:
        return []
    if not is_storable(scope.project_id):
        return [false()]
    return [kind.table.c.project_id == scope.project_id]


def read_page(connection: Connection, kind: Kind[R], scope: Scope, listing: Listing) -> Page[R]:
    """Return one page of a list.

    Raises: BadListing, RowMissing when the marker is no row of the scope.
    """
    _check_bounds(listing)
    order = _order(kind, listing.sort)
    wanted = [*in_scope(kind, scope), *_filters(kind, listing)]
    query = select(kind.table).where(*wanted)
    if listing.marker is not None:
        marker = _marker(connection, kind, scope, listing.marker)
        query = query.where(*_after(order, marker))
    query = _ordered(query, order).limit(listing.limit).offset(listing.offset or None)
    found = connection.execute(query).mappings().all() if listing.limit else []
    count = None
    if listing.with_count:
        counted = select(func.count()).select_from(kind.table).where(*wanted)
        count = connection.execute(counted).scalar_one()
    return Page([row_of(kind, row) for row in found], count)


def _check_bounds(listing: Listing) -> None:
    for name, value in (("limit", listing.limit), ("offset", listing.offset)):
        if not 0 <= value <= INTEGER_MAX:
            raise BadListing(f"{name} {value}: must be a whole number from 0 on")


def _order(kind: Kind[Any], sort: Sequence[tuple[str, Direction]]) -> Order:
    """Return the columns of an order; it ends with the id, for no two rows share that."""
    order: dict[str, Direction] = {}
    for name, direction in sort:
        if name not in sort_columns(kind):
            known = ", ".join(sorted(sort_columns(kind)))
            raise BadListing(f"{kind.name}s cannot be sorted by {name!r}: only by {known}")
        if direction not in ("asc", "desc"):
            raise BadListing(f"sort direction {direction!r}: must be asc or desc")
        order.setdefault(name, direction)
    order.setdefault("id", list(order.values())[-1] if order else "desc")
    names = list(order)[: list(order).index("id") + 1]
    return [(kind.table.columns[name], order[name]) for name in names]


def _filters(kind: Kind[Any], listing: Listing) -> Iterator[ColumnElement[bool]]:
    for name, value in listing.filters.items():
        if name not in filter_columns(kind):
            known = ", ".join(sorted(filter_columns(kind)))
            raise BadListing(f"{kind.name}s cannot be filtered by {name!r}: only by {known}")
        yield _equals(kind.table.columns[name], value)
    if listing.name_like is not None:
        position = _Position(kind.table.c.name, listing.name_like)
        yield position > 0 if is_storable(listing.name_like) else false()


def _equals(column: Column[Any], value: FilterValue) -> ColumnElement[bool]:
    """Return the condition that a column has a value; one that it cannot have is in no row."""
    if value is None:
        return column.is_(None)
    if not is_of(column, value):
        raise BadListing(f"filter {column.name}: {value!r} is of another type than the column")
    if isinstance(value, str):
        words = list(column.type.kind) if isinstance(column.type, Word) else None
        is_possible = is_storable(value) and (words is None or value in words)
    else:
        is_possible = not isinstance(value, int) or abs(value) <= INTEGER_MAX
    return column == value if is_possible else false()


def _marker(connection: Connection, kind: Kind[Any], scope: Scope, marker: str) -> RowMapping:
    wanted = [*in_scope(kind, scope), kind.table.c.id == marker]
    found = None
    if is_storable(marker):
        found = connection.execute(select(kind.table).where(*wanted)).mappings().first()
    if found is None:
        raise RowMissing(kind.name, marker)
    return found


def _after(order: Order, marker: RowMapping) -> list[ColumnElement[bool]]:
    """Return the conditions that a row comes after the marker.

    Source: "keyset pagination", https://use-the-index-luke.com/no-offset.
    """
    ways: list[ColumnElement[bool]] = []
    same: list[ColumnElement[bool]] = []
    for column, direction in order:
        value = marker[column.name]
        ways.append(and_(*same, _beyond(column, direction, value)))
        same.append(column.is_(None) if value is None else column == value)
    column, direction = order[0]
    value = marker[column.name]
    if column.nullable:
        return [or_(*ways)]
    return [column >= value if direction == "asc" else column <= value, or_(*ways)]


def _beyond(column: Column[Any], direction: Direction, value: Any) -> ColumnElement[bool]:
    """Return the condition that a column's value comes after another in a direction."""
    if direction == "asc":
        return column.is_not(None) if value is None else column > value
    if value is None:
        return false()
    return or_(column < value, column.is_(None)) if column.nullable else column < value


def _ordered(query: Select[Any], order: Order) -> Select[Any]:
    for column, direction in order:
        term = column.asc() if direction == "asc" else column.desc()
        if column.nullable:
            term = term.nulls_first() if direction == "asc" else term.nulls_last()
        query = query.order_by(term)
    return query
