"""Which columns may be changed after a row was added: all but identity, owner, status, times."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TypedDict

from backupcore.catalog.row import Metadata

__all__ = ["BackupChanges", "JobChanges", "SnapshotChanges", "VolumeChanges"]


class BackupChanges(TypedDict, total=False):
    """Of a backup."""

    volume_id: str
    snapshot_id: str | None
    fail_reason: str | None
    name: str | None
    description: str | None
    metadata: Metadata
    container: str | None
    repository: str | None
    stored_id: str | None
    size: int
    size_bytes: int | None
    object_count: int
    is_incremental: bool
    is_imported: bool
    parent_id: str | None
    restore_volume_id: str | None
    volume_name: str | None
    volume_description: str | None
    volume_metadata: Metadata | None
    availability_zone: str | None
    host: str | None
    request_id: str | None
    data_timestamp: datetime | None


class VolumeChanges(TypedDict, total=False):
    """Of a volume."""

    name: str | None
    description: str | None
    metadata: Metadata
    size: int
    size_bytes: int
    provider: str
    place: str
    snapshot_id: str | None
    source_volume_id: str | None
    availability_zone: str | None
    volume_type: str | None
    is_bootable: bool
    attachments: tuple[Mapping[str, str | None], ...]


class SnapshotChanges(TypedDict, total=False):
    """Of a snapshot."""

    name: str | None
    description: str | None
    metadata: Metadata
    size: int
    size_bytes: int
    provider: str
    place: str


class JobChanges(TypedDict, total=False):
    """Of a job; when it started and ended follows from its moves."""

    request_id: str | None
    volume_id: str | None
    done_bytes: int
    total_bytes: int
    detail: Metadata
