"""A mount of our own: below a private folder, gone when it is closed or the process ends."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import tempfile
import weakref

from backupcore.errors import AccessDenied, Refused, StoreError, Unavailable
from backupcore_nfs.address import Address
from backupcore_nfs.machine import Machine, Outcome
from backupcore_nfs.table import topmost

__all__ = ["Mounting"]

log = logging.getLogger(__name__)

MOUNT_S_MAX = 120.0
UNMOUNT_S_MAX = 30.0

_MEANING: tuple[tuple[str, type[StoreError], str], ...] = (
    (
        "helper program|unknown filesystem type|no such device|command not found",
        StoreError,
        "install the NFS client: Debian nfs-common, and the kernel's module nfsv4",
    ),
    (
        "access denied|not permitted|permission denied|must be superuser",
        AccessDenied,
        "check the export's list of clients, or mount it yourself and give mount=",
    ),
    (
        "timed out|connection re(fused|set)|no route|unreachable|host is down|temporary failure",
        Unavailable,
        "check host and network, or try again later",
    ),
    ("rpc.statd", StoreError, "start rpc.statd, or take a version without it with vers="),
    ("not supported", StoreError, "choose another version with vers="),
    ("no such file", StoreError, "check the path, or create the directory on the server"),
)


class Mounting:
    """An export that is mounted at `point` until it is closed.

    The folder around the mount point is closed to other users, whatever the export allows.
    """

    def __init__(self, machine: Machine, address: Address, options: str) -> None:
        if not machine.may_mount():
            raise Refused(
                f"{address}: only root may mount: mount it yourself and give mount=/where/it/is"
            )
        folder = os.path.realpath(tempfile.mkdtemp(prefix="backupcore-nfs-"))
        self.point = os.path.join(folder, "mount")
        self._finalizer = weakref.finalize(self, _unmount, machine, folder, self.point, os.getpid())
        try:
            os.mkdir(self.point, 0o700)
            words = ("mount", "-t", "nfs", "-o", options, address.source, self.point)
            outcome = machine.run(*words, time_s_max=MOUNT_S_MAX)
            if outcome.code != 0:
                raise _failure(address, outcome)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Unmount it, at once or when its last user is done, and remove the folder."""
        self._finalizer()


def _failure(address: Address, outcome: Outcome) -> StoreError:
    if outcome.code is None:
        return Unavailable(
            f"{address}: was not mounted within {MOUNT_S_MAX:.0f} s: "
            "check host and network, or try again later"
        )
    said = " ".join(outcome.said.split())
    for pattern, kind, advice in _MEANING:
        if re.search(pattern, said, re.IGNORECASE):
            return kind(f"{address}: not mounted: {said}: {advice}")
    return StoreError(f"{address}: not mounted, exit code {outcome.code}: {said}")


def _unmount(machine: Machine, folder: str, point: str, process: int) -> None:
    """Undo it as far as it was done, never by removing files."""
    if os.getpid() != process:
        return  # a child that was forked off: the mount is its parent's
    for words in (("umount", point), ("umount", "-l", point)):
        if topmost(machine.mounts(), point) is not None:
            machine.run(*words, time_s_max=UNMOUNT_S_MAX)
    with contextlib.suppress(FileNotFoundError):
        try:
            os.rmdir(point)
        except OSError as error:
            facts = {"mount_point": point, "reason": str(error)}
            log.error("an NFS mount is left behind: unmount it", extra=facts)
            return
    with contextlib.suppress(FileNotFoundError):
        os.rmdir(folder)
