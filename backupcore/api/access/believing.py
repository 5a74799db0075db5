"""Access for one person on one machine: the token says who somebody is."""

from __future__ import annotations

import re

import falcon
from falcon.uri import encode

from backupcore.api.access.identity import Access, Identity, implied

__all__ = ["LegacyAnswer", "OpenAccess"]

_NAME = re.compile(r"[A-Za-z0-9_.@-]{1,64}")


class LegacyAnswer(falcon.HTTPStatus):
    """Hands out a token and an address: what clients of the first authentication expect."""


class OpenAccess(Access):
    """Believes everything; for one person on one machine."""

    def identify(self, request: falcon.Request) -> Identity:
        """Take the token for `user:project`, everybody is admin."""
        token = request.get_header("X-Auth-Token")
        if not token:
            raise _legacy(request)
        user, _, project = token.partition(":")
        return Identity(user, project or user, implied(["admin"]))


def _legacy(request: falcon.Request) -> LegacyAnswer:
    """Return a token for whom the client says it is; a name that is none becomes `admin`."""
    user, project = (
        name if _NAME.fullmatch(name) else "admin"
        for name in (
            request.get_header("X-Auth-User") or "",
            request.get_header("X-Auth-Project-Id") or "",
        )
    )
    headers = {
        "X-Auth-Token": f"{user}:{project}",
        "X-Server-Management-Url": request.context.base_url + encode(request.path),
    }
    return LegacyAnswer(204, headers)
