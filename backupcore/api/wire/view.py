"""Rows as documents: the fields of the Block Storage API, in its order."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeAlias

from backupcore.api.wire.version import Version
from backupcore.catalog.row import BackupRow

__all__ = ["Document", "Place", "backup_detail", "backup_summary", "time_text"]

Document: TypeAlias = dict[str, object]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a request came to, for links. project: None when the URL named none."""

    base_url: str
    version: Version
    project: str | None

    def links(self, kind: str, row_id: str) -> list[dict[str, str]]:
        """Return the self link of a thing, and the same without the version."""
        inner = "/".join(part for part in (self.project, kind, row_id) if part)
        return [
            {"rel": "self", "href": f"{self.base_url}/v{self.version.major}/{inner}"},
            {"rel": "bookmark", "href": f"{self.base_url}/{inner}"},
        ]


def time_text(time: datetime | None) -> str | None:
    """Return a time as the API writes it: UTC, microseconds, no zone."""
    if time is None:
        return None
    return time.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")


def backup_summary(row: BackupRow, place: Place) -> Document:
    """Return id, name and links."""
    return {"id": row.id, "name": row.name, "links": place.links("backups", row.id)}


def backup_detail(row: BackupRow, place: Place, *, shows_owner: bool) -> Document:
    """Return every field; shows_owner: whether the caller may see project and user."""
    document: Document = {
        "id": row.id,
        "status": row.status,
        "size": row.size,
        "object_count": row.object_count,
        "availability_zone": row.availability_zone,
        "container": row.container,
        "created_at": time_text(row.created_at),
        "updated_at": time_text(row.updated_at),
        "name": row.name,
        "description": row.description,
        "fail_reason": row.fail_reason,
        "volume_id": row.volume_id,
        "links": place.links("backups", row.id),
        "is_incremental": row.is_incremental,
        "has_dependent_backups": False,  # every backup is whole
        "snapshot_id": row.snapshot_id,
        "data_timestamp": time_text(row.data_timestamp),
    }
    if place.version.is_at_least(18) and shows_owner:
        document["os-backup-project-attr:project_id"] = row.project_id
    if place.version.is_at_least(43):
        document["metadata"] = dict(row.metadata)
    if place.version.is_at_least(56) and shows_owner:
        document["user_id"] = row.user_id
    return document
