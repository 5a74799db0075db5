"""The rows of the catalog as values: what the service and its doors speak of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from backupcore.catalog.status import (
    BackupStatus,
    JobKind,
    JobStatus,
    SnapshotStatus,
    VolumeStatus,
)

__all__ = ["BackupRow", "JobRow", "Metadata", "SnapshotRow", "VolumeRow"]

Metadata = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupRow:
    """One backup as a project sees it; several rows may name one stored backup.

    size: of the volume, GiB rounded up. size_bytes: of the volume. stored_id: the backup's id in
    its repository. repository: name of the configured one. container: what the API shows.
    object_count: packs its own session wrote. parent_id: the backup it was compared with, for
    the API's sake: every backup is whole. is_imported: its row came from a record. volume_name,
    volume_description, volume_metadata: the volume's when it was backed up, which a restore brings
    back; None when nobody knows.
    """

    id: str
    project_id: str
    user_id: str | None = None
    volume_id: str
    snapshot_id: str | None = None
    status: BackupStatus
    fail_reason: str | None = None
    name: str | None = None
    description: str | None = None
    metadata: Metadata = field(default_factory=dict)
    container: str | None = None
    repository: str | None = None
    stored_id: str | None = None
    size: int = 0
    size_bytes: int | None = None
    object_count: int = 0
    is_incremental: bool = False
    is_imported: bool = False
    parent_id: str | None = None
    restore_volume_id: str | None = None
    volume_name: str | None = None
    volume_description: str | None = None
    volume_metadata: Metadata | None = None
    availability_zone: str | None = None
    host: str | None = None
    request_id: str | None = None
    data_timestamp: datetime | None = None
    created_at: datetime
    updated_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeRow:
    """One volume; provider and place say where its bytes are.

    place: what the provider calls it, such as a file's name. size: GiB rounded up.
    """

    id: str
    project_id: str
    user_id: str | None = None
    name: str | None = None
    description: str | None = None
    metadata: Metadata = field(default_factory=dict)
    status: VolumeStatus
    previous_status: VolumeStatus | None = None
    size: int
    size_bytes: int
    provider: str
    place: str
    snapshot_id: str | None = None
    source_volume_id: str | None = None
    availability_zone: str | None = None
    volume_type: str | None = None
    is_bootable: bool = False
    attachments: tuple[Mapping[str, str | None], ...] = ()
    created_at: datetime
    updated_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotRow:
    """One snapshot of a volume; place: what the provider calls it."""

    id: str
    project_id: str
    user_id: str | None = None
    volume_id: str
    name: str | None = None
    description: str | None = None
    metadata: Metadata = field(default_factory=dict)
    status: SnapshotStatus
    size: int
    size_bytes: int
    provider: str
    place: str
    created_at: datetime
    updated_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRow:
    """One piece of work on a backup; it stays when the backup's row goes.

    done_bytes of total_bytes: of the volume. detail: what the service wants to find again.
    """

    id: str
    kind: JobKind
    backup_id: str
    volume_id: str | None = None
    project_id: str
    request_id: str | None = None
    status: JobStatus = JobStatus.QUEUED
    done_bytes: int = 0
    total_bytes: int = 0
    created_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    detail: Metadata = field(default_factory=dict)
