"""Access by Keystone: keystonemiddleware stands before the app and tells what it found true."""

from __future__ import annotations

from typing import ClassVar

import falcon

from backupcore.api.access.identity import Access, Identity, unauthorized

__all__ = ["KeystoneAccess"]


class KeystoneAccess(Access):
    """Reads what keystonemiddleware wrote; it removes these headers from what clients send."""

    HEADERS: ClassVar = ("X-User-Id", "X-Project-Id", "X-Roles")

    def identify(self, request: falcon.Request) -> Identity:
        """Let in whom Keystone confirmed, in a project."""
        if request.get_header("X-Identity-Status") != "Confirmed":
            raise unauthorized()
        user, project = request.get_header("X-User-Id"), request.get_header("X-Project-Id")
        if not user or not project:
            raise unauthorized()
        roles = [role.strip() for role in (request.get_header("X-Roles") or "").split(",")]
        return Identity(
            user,
            project,
            frozenset(role.lower() for role in roles if role),
            request.get_header("X-User-Domain-Id"),
            request.get_header("X-Project-Domain-Id"),
        )
