"""What state a backup, a volume or a snapshot is in, and the moves between states.

A move is one conditional UPDATE: it happens where the row is in a state the move starts from,
and nowhere else. Source of words and moves: the Block Storage API.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = [
    "BACKUP_MOVES",
    "JOB_MOVES",
    "SNAPSHOT_MOVES",
    "VOLUME_MOVES",
    "BackupMove",
    "BackupStatus",
    "JobKind",
    "JobMove",
    "JobStatus",
    "Move",
    "Previous",
    "SnapshotMove",
    "SnapshotStatus",
    "VolumeMove",
    "VolumeStatus",
]


class BackupStatus(StrEnum):
    """Of a backup."""

    CREATING = "creating"
    AVAILABLE = "available"
    DELETING = "deleting"
    ERROR = "error"
    RESTORING = "restoring"
    ERROR_DELETING = "error_deleting"


class VolumeStatus(StrEnum):
    """Of a volume."""

    CREATING = "creating"
    AVAILABLE = "available"
    IN_USE = "in-use"
    BACKING_UP = "backing-up"
    RESTORING = "restoring-backup"
    DELETING = "deleting"
    ERROR = "error"
    ERROR_BACKING_UP = "error_backing-up"  # only ever a previous status
    ERROR_DELETING = "error_deleting"
    ERROR_RESTORING = "error_restoring"


class SnapshotStatus(StrEnum):
    """Of a snapshot."""

    CREATING = "creating"
    AVAILABLE = "available"
    BACKING_UP = "backing-up"
    DELETING = "deleting"
    ERROR = "error"
    ERROR_DELETING = "error_deleting"


class JobStatus(StrEnum):
    """Of a job."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class JobKind(StrEnum):
    """What a job does to its backup."""

    CREATE = "create"
    RESTORE = "restore"
    DELETE = "delete"
    IMPORT = "import"


class BackupMove(StrEnum):
    """What may happen to a backup."""

    FINISH = "finish"
    FAIL = "fail"
    RESTORE = "restore"
    END_RESTORE = "end restore"
    DELETE = "delete"
    FORCE_DELETE = "force delete"
    FAIL_DELETE = "fail delete"
    STRAND_DELETE = "strand delete"
    RESET_AVAILABLE = "reset to available"
    RESET_ERROR = "reset to error"


class VolumeMove(StrEnum):
    """What may happen to a volume."""

    CREATED = "created"
    FAIL_CREATE = "fail create"
    BACK_UP = "back up"
    END_BACKUP = "end backup"
    FAIL_BACKUP = "fail backup"
    RESTORE = "restore"
    END_RESTORE = "end restore"
    FAIL_RESTORE = "fail restore"
    CANCEL_RESTORE = "cancel restore"
    ATTACH = "attach"
    DETACH = "detach"
    DELETE = "delete"
    FAIL_DELETE = "fail delete"
    RESET = "reset"


class SnapshotMove(StrEnum):
    """What may happen to a snapshot."""

    CREATED = "created"
    FAIL_CREATE = "fail create"
    BACK_UP = "back up"
    END_BACKUP = "end backup"
    DELETE = "delete"
    FAIL_DELETE = "fail delete"
    RESET = "reset"


class JobMove(StrEnum):
    """What may happen to a job."""

    START = "start"
    REQUEUE = "requeue"
    FINISH = "finish"
    FAIL = "fail"
    CANCEL = "cancel"


class Previous(StrEnum):
    """What a move does with the status its row had before."""

    UNTOUCHED = "untouched"
    KEPT = "kept"  # the status the row leaves is remembered
    BROUGHT_BACK = "brought back"  # the remembered one is the new status; without one, available
    FORGOTTEN = "forgotten"


@dataclass(frozen=True, slots=True)
class Move:
    """From which states to which one.

    target: None where the row's previous status comes back, or the caller names one.
    leaves: the previous status after one was brought back.
    """

    sources: frozenset[str]
    target: str | None
    previous: Previous = Previous.UNTOUCHED
    leaves: str | None = None

    @property
    def is_free(self) -> bool:
        """Whether the caller names the new status."""
        return self.target is None and self.previous is not Previous.BROUGHT_BACK


def _move(
    sources: str,
    target: str | None,
    previous: Previous = Previous.UNTOUCHED,
    leaves: str | None = None,
) -> Move:
    return Move(frozenset(sources.split()), target, previous, leaves)


_ANY_BACKUP = " ".join(BackupStatus)
_ANY_VOLUME = " ".join(VolumeStatus)
_ANY_SNAPSHOT = " ".join(SnapshotStatus)

BACKUP_MOVES: dict[BackupMove, Move] = {
    BackupMove.FINISH: _move("creating", "available"),
    BackupMove.FAIL: _move("creating", "error"),
    BackupMove.RESTORE: _move("available", "restoring"),
    BackupMove.END_RESTORE: _move("restoring", "available"),
    BackupMove.DELETE: _move("available error", "deleting"),
    BackupMove.FORCE_DELETE: _move(_ANY_BACKUP, "deleting"),
    BackupMove.FAIL_DELETE: _move("deleting", "error"),
    BackupMove.STRAND_DELETE: _move("deleting", "error_deleting"),
    BackupMove.RESET_AVAILABLE: _move(_ANY_BACKUP, "available"),
    BackupMove.RESET_ERROR: _move(_ANY_BACKUP, "error"),
}

VOLUME_MOVES: dict[VolumeMove, Move] = {
    VolumeMove.CREATED: _move("creating", "available"),
    VolumeMove.FAIL_CREATE: _move("creating", "error"),
    VolumeMove.BACK_UP: _move("available in-use", "backing-up", Previous.KEPT),
    VolumeMove.END_BACKUP: _move("backing-up", None, Previous.BROUGHT_BACK, "backing-up"),
    VolumeMove.FAIL_BACKUP: _move("backing-up", None, Previous.BROUGHT_BACK, "error_backing-up"),
    VolumeMove.RESTORE: _move("available", "restoring-backup"),
    VolumeMove.END_RESTORE: _move("restoring-backup", "available"),
    VolumeMove.FAIL_RESTORE: _move("restoring-backup", "error_restoring"),
    VolumeMove.CANCEL_RESTORE: _move("restoring-backup", "error"),
    VolumeMove.ATTACH: _move("available", "in-use"),
    VolumeMove.DETACH: _move("in-use", "available"),
    VolumeMove.DELETE: _move("available error error_restoring error_deleting", "deleting"),
    VolumeMove.FAIL_DELETE: _move("deleting", "error_deleting"),
    VolumeMove.RESET: _move(_ANY_VOLUME, None, Previous.FORGOTTEN),
}

SNAPSHOT_MOVES: dict[SnapshotMove, Move] = {
    SnapshotMove.CREATED: _move("creating", "available"),
    SnapshotMove.FAIL_CREATE: _move("creating", "error"),
    SnapshotMove.BACK_UP: _move("available", "backing-up"),
    SnapshotMove.END_BACKUP: _move("backing-up", "available"),
    SnapshotMove.DELETE: _move("available error error_deleting", "deleting"),
    SnapshotMove.FAIL_DELETE: _move("deleting", "error_deleting"),
    SnapshotMove.RESET: _move(_ANY_SNAPSHOT, None),
}

JOB_MOVES: dict[JobMove, Move] = {
    JobMove.START: _move("queued", "running"),
    JobMove.REQUEUE: _move("running", "queued"),
    JobMove.FINISH: _move("running", "done"),
    JobMove.FAIL: _move("queued running", "failed"),
    JobMove.CANCEL: _move("queued running", "cancelled"),
}
