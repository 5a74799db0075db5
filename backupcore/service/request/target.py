"""Where a restore goes: what may be said of it, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from backupcore.catalog.row import BackupRow, VolumeRow
from backupcore.catalog.status import BackupStatus, VolumeStatus
from backupcore.service.error import Invalid
from backupcore.service.meaning import GIB

__all__ = ["RestoreWish", "check_restorable", "check_target", "check_target_size", "planned_for"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreWish:
    """Where to; the volume wins over all that is said of a new one. size: in GiB."""

    volume_id: str | None = None
    name: str | None = None
    description: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    size: int | None = None
    volume_type: str | None = None
    availability_zone: str | None = None


def planned_for(plain: VolumeRow, wish: RestoreWish) -> VolumeRow:
    """Return a volume to be made with what else was said of it."""
    size = plain.size if wish.size is None else wish.size
    return replace(
        plain,
        size=size,
        size_bytes=size * GIB,
        description=plain.description if wish.description is None else wish.description,
        metadata=wish.metadata,
        volume_type=wish.volume_type,
        availability_zone=wish.availability_zone or plain.availability_zone,
    )


def check_restorable(row: BackupRow) -> None:
    """Refuse a backup that cannot be restored now. Raises: Invalid."""
    if row.status is not BackupStatus.AVAILABLE:
        raise Invalid("Invalid backup: Backup status must be available")
    if row.size_bytes is None:
        raise Invalid("Invalid backup: Backup to be restored has invalid size")


def check_target(row: BackupRow, volume: VolumeRow) -> None:
    """Refuse a volume that cannot be written now. Raises: Invalid."""
    if volume.status is not VolumeStatus.AVAILABLE:
        raise Invalid("Invalid volume: Volume to be restored to must be available")
    check_target_size(row, volume)


def check_target_size(row: BackupRow, volume: VolumeRow) -> None:
    """Refuse a volume that holds fewer bytes than the backup. Raises: Invalid."""
    needed_bytes = row.size_bytes or 0
    if volume.size_bytes >= needed_bytes:
        return
    has, needs = str(volume.size), str(row.size)
    if has == needs:  # in GiB, which are rounded up
        has, needs = f"{volume.size_bytes} bytes", f"{needed_bytes} bytes"
    raise Invalid(
        f"Invalid volume: volume size {has} is too small to restore backup of size {needs}."
    )
