"""Texts and actions of bodies."""

from __future__ import annotations

from typing import Any

import falcon

from backupcore.api.wire.body import MALFORMED, read_json

__all__ = ["read_action", "stripped", "unknown_action", "uuid_text"]


def stripped(text: str | None) -> str | None:
    """Return a text without blanks at its ends."""
    return None if text is None else text.strip()


def uuid_text(text: str) -> str:
    """Return a UUID as rows have it, however it was written."""
    digits = text.replace("-", "").lower()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def read_action(request: falcon.Request) -> tuple[str, Any]:
    """Return the name and the value of an action. Raises: HTTPBadRequest."""
    body = read_json(request)
    if len(body) != 1:
        raise falcon.HTTPBadRequest(description=MALFORMED)
    return next(iter(body.items()))


def unknown_action(name: str) -> falcon.HTTPBadRequest:
    """Return what somebody is told who asks for an action that there is not."""
    return falcon.HTTPBadRequest(
        description=f"There is no such action: {name[:80]}. Verify the request body and "
        "Content-Type header and try again."
    )
