"""Who asks: what a door learned of the caller."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Caller"]


@dataclass(frozen=True, slots=True)
class Caller:
    """A user in a project. roles: lower case. request_id: `req-` and a UUID."""

    user_id: str
    project_id: str
    roles: frozenset[str]
    is_admin: bool
    request_id: str
    user_domain_id: str | None = None
    project_domain_id: str | None = None
