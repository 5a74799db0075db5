"""Texts, changes and actions of bodies."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import falcon

from backupcore.api.wire.body import MALFORMED, read_json
from backupcore.catalog.change import BackupChanges, SnapshotChanges, VolumeChanges

__all__ = [
    "read_action",
    "read_changes",
    "read_status",
    "stripped",
    "unknown_action",
    "uuid_text",
]

C = TypeVar("C", BackupChanges, SnapshotChanges, VolumeChanges)


def stripped(text: str | None) -> str | None:
    """Return a text without blanks at its ends."""
    return None if text is None else text.strip()


def uuid_text(text: str) -> str:
    """Return a UUID as rows have it, however it was written."""
    digits = text.replace("-", "").lower()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def read_changes(kind: Callable[[], C], body: Mapping[str, Any]) -> C:
    """Return what a body changes of a row: of name, description and metadata those it names."""
    changes = kind()
    if "name" in body:
        changes["name"] = stripped(body["name"])
    if "description" in body:
        changes["description"] = stripped(body["description"])
    if "metadata" in body:
        changes["metadata"] = body["metadata"]
    return changes


def read_action(request: falcon.Request) -> tuple[str, Any]:
    """Return the name and the value of an action. Raises: HTTPBadRequest."""
    body = read_json(request)
    if len(body) != 1:
        raise falcon.HTTPBadRequest(description=MALFORMED)
    return next(iter(body.items()))


def read_status(value: object, kind: str, known: Iterable[str]) -> str:
    """Return the status that `os-reset_status` is to set. Raises: HTTPBadRequest."""
    options = value if isinstance(value, dict) else {}
    wanted, words = options.get("status"), [str(word) for word in known]
    if not isinstance(wanted, str) or wanted.lower() not in words:
        raise falcon.HTTPBadRequest(
            description=f"{kind} status: {str(wanted)[:40]} is invalid, valid statuses are: "
            f"{words}."
        )
    more = [name for name in options if name != "status"]
    if more:
        raise falcon.HTTPBadRequest(
            description=f"Additional properties are not allowed ({more[0][:80]!r} was unexpected)"
        )
    return wanted.lower()


def unknown_action(name: str) -> falcon.HTTPBadRequest:
    """Return what somebody is told who asks for an action that there is not."""
    return falcon.HTTPBadRequest(
        description=f"There is no such action: {name[:80]}. Verify the request body and "
        "Content-Type header and try again."
    )
