"""The query of a list: which rows, in which order, from where on; and the link to what follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, TypeAlias, get_type_hints
from urllib.parse import urlencode

import falcon

from backupcore.api.wire.view import Document, Place
from backupcore.catalog import Listing
from backupcore.catalog.listing import FilterValue

__all__ = ["Columns", "Query", "read_boolean", "read_query"]

Order: TypeAlias = list[tuple[str, Literal["asc", "desc"]]]

_TRUE = frozenset({"1", "t", "true", "on", "y", "yes"})
_FALSE = frozenset({"0", "f", "false", "off", "n", "no"})
_OFFSET_MAX = 2**31 - 1
_OWN = frozenset({"all_tenants", "limit", "marker", "offset", "sort", "sort_dir", "sort_key"})


@dataclass(frozen=True, slots=True)
class Columns:
    """What a kind of rows may be filtered by, by anybody and by admins, and sorted by.

    types: of the rows' fields. renamed: what clients call some of them.
    """

    filters: frozenset[str]
    admin_filters: frozenset[str]
    sorts: frozenset[str]
    types: Mapping[str, object]
    renamed: Mapping[str, str]

    @classmethod
    def of(
        cls, row: type, filters: set[str], admin_filters: frozenset[str], sorts: frozenset[str]
    ) -> Columns:
        """Return the columns of a kind of rows."""
        renamed = {"display_name": "name", "display_description": "description"}
        return cls(frozenset(filters), admin_filters, sorts, get_type_hints(row), renamed)

    def value(self, column: str, text: str) -> FilterValue:
        """Return what a text means for a column. Raises: ValueError when no row can have it."""
        kind = self.types[column]
        if kind in (int, int | None):
            return _integer(text)
        if kind is bool:
            return _truth(text)
        if kind in (datetime, datetime | None):
            time = datetime.fromisoformat(text)
            return time if time.tzinfo else time.replace(tzinfo=UTC)
        return text


@dataclass(frozen=True, slots=True)
class Query:
    """A list as it was asked for. is_empty: a filter by what no row has."""

    listing: Listing
    is_all: bool
    is_empty: bool
    _pairs: Sequence[tuple[str, str]]

    def page(
        self, name: str, kind: str, place: Place, documents: list[Document], count: int | None
    ) -> Document:
        """Return the document of a page, with a link where another may follow."""
        answer: Document = {name: documents}
        if self.is_empty and count is not None:
            count = 0
        total = len(documents) if count is None else count
        if documents and self.listing.limit <= total:
            # rows to be skipped are those before the marker now
            pairs = [pair for pair in self._pairs if pair[0] not in ("marker", "offset")]
            pairs.append(("marker", str(documents[-1]["id"])))
            path = "/".join(part for part in (place.project, kind) if part)
            href = f"{place.base_url}/v{place.version.major}/{path}?{urlencode(pairs)}"
            answer[f"{name}_links"] = [{"rel": "next", "href": href}]
        if count is not None:
            answer["count"] = count
        return answer


def read_query(
    request: falcon.Request, place: Place, columns: Columns, *, is_admin: bool, limit_max: int
) -> Query:
    """Read the query of a list. Raises: HTTPBadRequest naming the parameter."""
    pairs = [
        (name, value)
        for name, values in request.params.items()
        for value in (values if isinstance(values, list) else [values])
    ]
    given = dict(pairs)
    has_count = place.version.is_at_least(45)
    filters, name_like, is_empty = _filters(
        given,
        place,
        columns,
        is_admin=is_admin,
        skipped=_OWN | ({"with_count"} if has_count else set()),
    )
    listing = Listing(
        filters=filters,
        sort=_sort(given, columns),
        limit=_limit(given, limit_max),
        marker=given.get("marker") or None,
        offset=_offset(given),
        name_like=name_like,
        with_count=has_count and read_boolean(given, "with_count"),
    )
    return Query(listing, read_boolean(given, "all_tenants"), is_empty, pairs)


def read_boolean(given: Mapping[str, str], name: str) -> bool:
    """Return what a parameter says, false without it. Raises: HTTPBadRequest."""
    text = given.get(name, "false")
    with suppress(ValueError):
        return _truth(text)
    raise _bad(f"{name} must be a boolean, got {text[:40]!r}.")


def _bad(text: str) -> falcon.HTTPBadRequest:
    return falcon.HTTPBadRequest(description=text)


def _truth(text: str) -> bool:
    word = text.strip().lower()
    if word not in _TRUE | _FALSE:
        raise ValueError(text)
    return word in _TRUE


def _integer(text: str) -> int:
    """Return a whole number of decimal digits. Raises: ValueError."""
    digits = text.strip().removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 20):
        raise ValueError(text)
    return int(text)


def _limit(given: Mapping[str, str], limit_max: int) -> int:
    try:
        limit = _integer(given.get("limit") or str(limit_max))
    except ValueError:
        raise _bad("limit param must be an integer") from None
    if limit < 0:
        raise _bad("limit param must be positive")
    return min(limit, limit_max)


def _offset(given: Mapping[str, str]) -> int:
    try:
        offset = _integer(given.get("offset") or "0")
    except ValueError:
        raise _bad("offset must be an integer") from None
    if not 0 <= offset <= _OFFSET_MAX:
        raise _bad("offset must be >= 0")
    return offset


def _sort(given: Mapping[str, str], columns: Columns) -> Order:
    combined, key, direction = (given.get(name) for name in ("sort", "sort_key", "sort_dir"))
    if combined and (key or direction):
        raise _bad("The 'sort_key' and 'sort_dir' parameters are deprecated and cannot be used "
                   "with the 'sort' parameter.")  # fmt: skip
    if combined:
        words = [part.strip().partition(":") for part in combined.split(",") if part.strip()]
        wanted = [(name.strip(), way.strip() or "desc") for name, _, way in words]
    else:
        wanted = [(key or "created_at", direction or "desc")]
    found: Order = []
    for name, way in wanted:
        column = columns.renamed.get(name, name)
        if column not in columns.sorts:
            raise _bad("Invalid input received: Invalid sort key")
        if way not in ("asc", "desc"):
            raise _bad("Unknown sort direction, must be 'desc' or 'asc'.")
        found.append((column, "asc" if way == "asc" else "desc"))
    return found or [("created_at", "desc")]


def _filters(
    given: Mapping[str, str],
    place: Place,
    columns: Columns,
    *,
    is_admin: bool,
    skipped: frozenset[str] | set[str],
) -> tuple[dict[str, FilterValue], str | None, bool]:
    """Return the filters, a part of the name, and whether nothing can fit."""
    filters: dict[str, FilterValue] = {}
    name_like, is_empty, unknown = None, False, []
    allowed = columns.filters | (columns.admin_filters if is_admin else frozenset())
    for name, value in given.items():
        if name in skipped:
            continue
        column = columns.renamed.get(name, name)
        if name == "name~" and place.version.is_at_least(34):
            name_like = value.strip("\"'")
        elif column in allowed:
            try:
                filters[column] = columns.value(column, value)
            except ValueError:
                is_empty = True
        elif is_admin:
            is_empty = True
        else:
            unknown.append(name)
    if unknown and place.version.is_at_least(31):
        names = ", ".join(sorted(unknown))[:200]
        raise _bad(f"Invalid filters {names} are found in query options.")
    return filters, name_like, is_empty
