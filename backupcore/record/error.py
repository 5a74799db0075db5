"""Why a record is refused."""

from __future__ import annotations

from enum import StrEnum

from backupcore.errors import Refused

__all__ = ["Reason", "RecordRefused"]


class Reason(StrEnum):
    """What is wrong with a record; a door chooses its answer by it, an audit counts it."""

    MALFORMED = "malformed"
    NO_ID = "no id"
    NO_SIZE = "no size"
    FOREIGN = "foreign"  # of another service, or of a later release
    UNTRUSTED = "untrusted"  # nobody here trusts the key that it names
    FORGED = "forged"  # the signature is not over these bytes
    EARLY = "early"  # made in the future
    EXPIRED = "expired"
    OTHER_REPOSITORY = "other repository"
    MISSING = "missing"  # the repository has no such manifest
    CHANGED = "changed"  # it has another one
    DELETED = "deleted"


class RecordRefused(Refused):
    """A record is not believed; nothing was changed.

    reason: for programs. The message may tell what the store holds: it is for whoever runs the
    service, not for whoever sent the record.
    """

    def __init__(self, message: str, *, reason: Reason) -> None:
        super().__init__(message)
        self.reason = reason
