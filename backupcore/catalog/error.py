"""What the catalog refuses, and why: each names the kind of row, its id and the state found."""

from __future__ import annotations

from backupcore.errors import NotFound, Refused, Unavailable, Unsupported

__all__ = [
    "BadListing",
    "CatalogOutdated",
    "CatalogTooNew",
    "CatalogUnavailable",
    "QuotaExceeded",
    "RowExists",
    "RowInUse",
    "RowMissing",
    "WrongStatus",
]


class RowMissing(NotFound):
    """No row of this kind has this id within the scope."""

    def __init__(self, kind: str, row_id: str) -> None:
        super().__init__(f"{kind} {row_id!r} is not in the catalog")
        self.kind = kind
        self.id = row_id


class RowExists(Refused):
    """A row of this kind has this id already, maybe of another project."""

    def __init__(self, kind: str, row_id: str) -> None:
        super().__init__(f"{kind} {row_id!r} is in the catalog already: choose another id")
        self.kind = kind
        self.id = row_id


class RowInUse(Refused):
    """Other rows depend on this one."""

    def __init__(self, kind: str, row_id: str, users: str) -> None:
        super().__init__(f"{kind} {row_id!r} has {users}: remove them first")
        self.kind = kind
        self.id = row_id


class WrongStatus(Refused):
    """A move does not start from the state the row is in; nothing was changed."""

    def __init__(self, kind: str, row_id: str, *, status: str, move: str) -> None:
        super().__init__(f"{kind} {row_id!r} is {status}: no `{move}` from there")
        self.kind = kind
        self.id = row_id
        self.status = status
        self.move = move


class QuotaExceeded(Refused):
    """A project would hold more than it may; sizes are in GiB, the rest is counted."""

    def __init__(self, resource: str, *, requested: int, limit: int, used: int) -> None:
        super().__init__(
            f"quota {resource} is {limit}: {used} used, {requested} more asked for: "
            "remove something or raise the quota"
        )
        self.resource = resource
        self.requested = requested
        self.limit = limit
        self.used = used


class BadListing(Refused):
    """A list was asked for by a filter, an order or bounds that there are not."""


class CatalogOutdated(Refused):
    """The database is of an older release, or empty, and was not to be upgraded."""


class CatalogTooNew(Unsupported):
    """The database was upgraded by a newer release than this one."""


class CatalogUnavailable(Unavailable):
    """The database cannot be reached, is busy for too long or failed; later it may work."""
