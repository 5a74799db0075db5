"""Backup engine for block volumes: this page of names is the library.

    from backupcore import backup, open_repository, open_volume

    with open_repository("/var/backups") as repository, open_volume("disk.img") as volume:
        done = backup(volume, repository)

Every backup is whole, none depends on another, and what fails raises a `BackupError`.
"""

from __future__ import annotations

from backupcore.config import Dedup, SelfCheck, Tuning
from backupcore.driver import Capabilities, Driver, ObjectInfo, Role
from backupcore.driver.registry import driver_schemes, open_driver
from backupcore.errors import (
    BackupError,
    Damaged,
    NotFound,
    Refused,
    SourceError,
    Stopped,
    StoreError,
    TargetError,
)
from backupcore.extents import Extents
from backupcore.model import Backup, BackupId, Grid, Hint, Progress, Sums
from backupcore.operation.backup import BackupRequest, backup
from backupcore.operation.delete import delete
from backupcore.operation.info import RepositoryInfo, describe
from backupcore.operation.picture import Picture, depict
from backupcore.operation.restore import (
    Comparison,
    Restored,
    compare,
    restore,
    restore_in_place,
    restore_to_stream,
)
from backupcore.operation.verify import Depth, Loss, Verification, verify
from backupcore.plugin import hookimpl
from backupcore.repository import Repository, create_repository, open_repository
from backupcore.runtime import Runtime
from backupcore.volume import Access, Volume, open_volume
from backupcore.volume.hint import ChangedExtents, read_changed_extents
from backupcore.volume.memory import MemoryVolume
from backupcore.volume.stream import FileObjectVolume

__all__ = [
    "Access",
    "Backup",
    "BackupError",
    "BackupId",
    "BackupRequest",
    "Capabilities",
    "ChangedExtents",
    "Comparison",
    "Damaged",
    "Dedup",
    "Depth",
    "Driver",
    "Extents",
    "FileObjectVolume",
    "Grid",
    "Hint",
    "Loss",
    "MemoryVolume",
    "NotFound",
    "ObjectInfo",
    "Picture",
    "Progress",
    "Refused",
    "Repository",
    "RepositoryInfo",
    "Restored",
    "Role",
    "Runtime",
    "SelfCheck",
    "SourceError",
    "Stopped",
    "StoreError",
    "Sums",
    "TargetError",
    "Tuning",
    "Verification",
    "Volume",
    "backup",
    "compare",
    "create_repository",
    "delete",
    "depict",
    "describe",
    "driver_schemes",
    "hookimpl",
    "open_driver",
    "open_repository",
    "open_volume",
    "read_changed_extents",
    "restore",
    "restore_in_place",
    "restore_to_stream",
    "verify",
]
