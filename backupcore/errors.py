"""Everything that can go wrong, as one tree.

A door (command line, REST) maps a branch to an exit code or a status; callers catch the branch
they can act on. The message names the thing, the fact and what to do.

BackupError
├── SourceError      VolumeMissing, VolumeShrunk, VolumeChanged, UnreadableSector
├── TargetError      TargetTooSmall, TargetBusy
├── NotFound         RepositoryMissing, BackupMissing
├── StoreError       ObjectMissing, ObjectExists, AccessDenied, StoreFull, Unavailable
├── Damaged          the bytes at rest are not what was written:
│                    PackDamaged, MapDamaged, ManifestDamaged
├── Refused          asked for something that cannot be: UnknownScheme, InvalidKey, ReadOnly,
│                    Unsupported, SessionFenced
└── Stopped          the caller cancelled
"""

from __future__ import annotations


class BackupError(Exception):
    """Anything backupcore raises on purpose."""


class SourceError(BackupError):
    """The volume that is being backed up failed."""


class VolumeMissing(SourceError):
    """The volume does not exist, cannot be opened or is no volume."""


class VolumeShrunk(SourceError):
    """The volume ended before the size it had when it was opened."""


class VolumeChanged(SourceError):
    """The volume's name leads to another volume than the one that was opened."""


class UnreadableSector(SourceError):
    """A sector of the volume cannot be read; the message names its offset."""


class TargetError(BackupError):
    """The volume or file that is being restored to failed."""


class TargetTooSmall(TargetError):
    """The target holds fewer bytes than the backup."""


class TargetBusy(TargetError):
    """The target exists, is in use, or is not a thing one may write to."""


class NotFound(BackupError):
    """What was asked for by name does not exist."""


class RepositoryMissing(NotFound):
    """There is no repository at this URL."""


class BackupMissing(NotFound):
    """No backup has this id, or it was deleted."""


class StoreError(BackupError):
    """The store behind a driver failed or refused."""


class ObjectMissing(StoreError):
    """No object has this key."""


class ObjectExists(StoreError):
    """An object with this key exists and if_absent was asked for."""


class AccessDenied(StoreError):
    """The store refuses these credentials or permissions; trying again is useless."""


class StoreFull(StoreError):
    """The store has no room or no quota left."""


class Unavailable(StoreError):
    """The same call may work later; only the retrying layer repeats it.

    retry_after_s: how long the store asked to wait, in seconds, or None when it did not say.
    """

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Damaged(BackupError):
    """The bytes at rest are not what was written."""


class PackDamaged(Damaged):
    """A data pack or a frame in it is missing or not what was written."""


class MapDamaged(Damaged):
    """A leaf, a node or a map pack is missing or not what was written.

    key: of the map pack.
    """

    def __init__(self, message: str, *, key: str) -> None:
        super().__init__(message)
        self.key = key


class ManifestDamaged(Damaged):
    """A register or another control object is not what was written."""


class Refused(BackupError):
    """What was asked for cannot be; nothing was changed."""


class UnknownScheme(Refused):
    """No installed plugin serves this URL scheme."""


class InvalidKey(Refused):
    """An object key that no driver accepts."""


class ReadOnly(Refused):
    """A change was asked of something opened for reading only."""


class Unsupported(Refused):
    """The repository needs a feature that this version does not have."""


class SessionFenced(Refused):
    """Somebody else decided this session's register; its work does not count."""


class Stopped(BackupError):
    """The caller asked to stop; nothing new was started."""
