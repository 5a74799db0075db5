"""Rows to begin with; every one is of its own moment, and every field can be said otherwise."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

from backupcore.catalog import (
    BackupRow,
    BackupStatus,
    JobKind,
    JobRow,
    SnapshotRow,
    SnapshotStatus,
    VolumeRow,
    VolumeStatus,
)

START = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
_numbers = itertools.count(1)


def moment(minute: int) -> datetime:
    return START + timedelta(minutes=minute)


def backup_row(**facts: Any) -> BackupRow:
    number = next(_numbers)
    usual: dict[str, Any] = {
        "id": f"b{number:06}",
        "project_id": "p",
        "volume_id": "v",
        "status": BackupStatus.CREATING,
        "created_at": moment(number),
    }
    return BackupRow(**{**usual, **facts})


def volume_row(**facts: Any) -> VolumeRow:
    number = next(_numbers)
    usual: dict[str, Any] = {
        "id": f"v{number:06}",
        "project_id": "p",
        "status": VolumeStatus.AVAILABLE,
        "size": 1,
        "size_bytes": 1 << 30,
        "provider": "directory",
        "place": f"v{number}.img",
        "created_at": moment(number),
    }
    return VolumeRow(**{**usual, **facts})


def snapshot_row(volume_id: str, **facts: Any) -> SnapshotRow:
    number = next(_numbers)
    usual: dict[str, Any] = {
        "id": f"s{number:06}",
        "project_id": "p",
        "volume_id": volume_id,
        "status": SnapshotStatus.AVAILABLE,
        "size": 1,
        "size_bytes": 1 << 30,
        "provider": "directory",
        "place": f"s{number}.img",
        "created_at": moment(number),
    }
    return SnapshotRow(**{**usual, **facts})


def job_row(**facts: Any) -> JobRow:
    number = next(_numbers)
    usual: dict[str, Any] = {
        "id": f"j{number:06}",
        "kind": JobKind.CREATE,
        "backup_id": "b",
        "project_id": "p",
        "created_at": moment(number),
    }
    return JobRow(**{**usual, **facts})
