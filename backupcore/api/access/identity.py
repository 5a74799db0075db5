"""What every way of access gives: who somebody is, in which project, with which roles."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass

import falcon

from backupcore.service import Caller

__all__ = ["Access", "Identity", "implied", "unauthorized"]

_IMPLIED = {"admin": ("member", "reader"), "member": ("reader",)}


@dataclass(frozen=True, slots=True)
class Identity:
    """What a way of access proves."""

    user_id: str
    project_id: str
    roles: frozenset[str]
    user_domain_id: str | None = None
    project_domain_id: str | None = None

    def caller(self, request_id: str, *, is_admin: bool) -> Caller:
        """Return the caller of a request."""
        return Caller(
            user_id=self.user_id,
            project_id=self.project_id,
            roles=self.roles,
            is_admin=is_admin,
            request_id=request_id,
            user_domain_id=self.user_domain_id,
            project_domain_id=self.project_domain_id,
        )


class Access(ABC):
    """Tells who a request is of."""

    @abstractmethod
    def identify(self, request: falcon.Request) -> Identity:
        """Return who it is. Raises: HTTPUnauthorized, LegacyAnswer."""


def unauthorized() -> falcon.HTTPUnauthorized:
    """Return what somebody unknown is told."""
    return falcon.HTTPUnauthorized(
        description="This server could not verify that you are authorized to access it."
    )


def implied(roles: Iterable[str]) -> frozenset[str]:
    """Return roles and those that they include, as Keystone's own do."""
    given = {role.lower() for role in roles}
    return frozenset(given.union(*(_IMPLIED.get(role, ()) for role in given)))
