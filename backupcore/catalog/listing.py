"""Whose rows a reader may see, and which of them, in which order, from where on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Generic, Literal, TypeAlias, TypeVar

__all__ = ["Direction", "FilterValue", "Listing", "Page", "Scope"]

R = TypeVar("R")
Direction: TypeAlias = Literal["asc", "desc"]
FilterValue: TypeAlias = str | bool | int | datetime | None


@dataclass(frozen=True, slots=True)
class Scope:
    """The rows a reader may see; project_id: None for those of every project."""

    project_id: str | None

    @classmethod
    def of(cls, project_id: str) -> Scope:
        """Return the scope of one project."""
        return cls(project_id)

    @classmethod
    def everything(cls) -> Scope:
        """Return the scope of an administrator."""
        return cls(None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """Which page of which list.

    filters: column → exact value, None for rows without one. sort: columns and directions, the
    first counts most, one that is named again does not count; ties are broken by id in the last
    direction. A missing value is smaller than any other. marker: id of the last row seen; the
    page begins after it, wherever that row is now. name_like: a part of the name, taken
    literally, capital letters included. with_count: whether to count all that fits, whatever the
    bounds.
    """

    filters: Mapping[str, FilterValue] = field(default_factory=dict)
    sort: Sequence[tuple[str, Direction]] = (("created_at", "desc"),)
    limit: int
    marker: str | None = None
    offset: int = 0
    name_like: str | None = None
    with_count: bool = False


@dataclass(frozen=True, slots=True)
class Page(Generic[R]):
    """Rows in their order; count: of the whole list, when it was asked for."""

    rows: list[R]
    count: int | None = None
