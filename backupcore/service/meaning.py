"""What the catalog refuses, in the words of the Block Storage API."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from backupcore.catalog.error import (
    BadListing,
    QuotaExceeded,
    RowExists,
    RowInUse,
    RowMissing,
    WrongStatus,
)
from backupcore.catalog.status import VolumeMove, VolumeStatus
from backupcore.runtime import Runtime
from backupcore.service.error import Invalid, Missing, OverQuota

__all__ = ["GIB", "HAS_SNAPSHOTS", "explained", "gib", "new_uuid", "wrong_volume"]

GIB = 1 << 30
HAS_SNAPSHOTS = (
    "Invalid volume: Volume status must be available or error, and it must have no snapshots"
)

_SIZES = "Requested {0.requested}G, quota is {0.limit}G and {0.used}G has been consumed."
# By resource: the class that clients know, and what it says.
_QUOTA = {
    "backups": (
        "BackupLimitExceeded",
        "Maximum number of backups allowed ({0.limit}) exceeded",
    ),
    "backup_gigabytes": (
        "VolumeBackupSizeExceedsAvailableQuota",
        "Requested backup exceeds allowed Backup gigabytes quota. " + _SIZES,
    ),
    "volumes": (
        "VolumeLimitExceeded",
        "Maximum number of volumes allowed ({0.limit}) exceeded for quota 'volumes'.",
    ),
    "snapshots": (
        "SnapshotLimitExceeded",
        "Maximum number of snapshots allowed ({0.limit}) exceeded",
    ),
    "gigabytes": (
        "VolumeSizeExceedsAvailableQuota",
        "Requested volume or snapshot exceeds allowed gigabytes quota. " + _SIZES,
    ),
    "per_volume_gigabytes": (
        "VolumeSizeExceedsLimit",
        "Requested volume size {0.requested}G is larger than maximum allowed limit {0.limit}G.",
    ),
}
_WRONG_BACKUP = {
    "delete": "Invalid backup: Backup status must be available or error",
    "restore": "Invalid backup: Backup status must be available",
}
_WRONG_VOLUME = {
    "restore": "Invalid volume: Volume to be restored to must be available",
    "back up": "Invalid volume: Volume to be backed up must be available or in-use, but the "
    'current status is "{}".',
    "delete": "Invalid volume: Volume status must be available or error or error_restoring, but "
    'current status is "{}".',
}


@contextmanager
def explained(*, names_class: bool = True) -> Iterator[None]:
    """Turn an error of the catalog into the service's own.

    names_class: whether a quota's refusal begins with its class, as of all calls but restore.
    """
    try:
        yield
    except RowMissing as error:
        raise Missing(f"{error.kind.capitalize()} {error.id} could not be found.") from error
    except RowExists as error:
        raise Invalid("Invalid backup: Backup already exists in database.") from error
    except RowInUse as error:
        raise Invalid(HAS_SNAPSHOTS) from error
    except QuotaExceeded as error:
        name, said = _QUOTA[error.resource]
        begin = f"{name}: " if names_class else ""
        raise OverQuota(begin + said.format(error)) from error
    except BadListing as error:
        raise Invalid(f"Invalid input received: {error}") from error
    except WrongStatus as error:
        words = {"backup": _WRONG_BACKUP, "volume": _WRONG_VOLUME}.get(error.kind, {})
        said = words.get(str(error.move), 'Invalid {0}: the current status is "{1}".')
        raise Invalid(
            said.format(error.kind, error.status) if "{1}" in said else said.format(error.status)
        ) from error


def wrong_volume(move: VolumeMove, status: VolumeStatus) -> str:
    """Return the refusal of a move because of a volume's status."""
    return _WRONG_VOLUME[str(move)].format(status)


def new_uuid(runtime: Runtime) -> str:
    """Return a random UUID as text."""
    return str(UUID(bytes=runtime.random_bytes(16), version=4))


def gib(size_bytes: int) -> int:
    """Return a size in GiB, rounded up, at least 1."""
    return max(1, -(-size_bytes // GIB))
