"""The root of a store on NFS, which is used only while its mount is there.

Without a check a mount that has gone leaves an empty directory of this machine, and a driver that
writes into it. So whoever opens the root looks the mount up, and compares devices.
"""

from __future__ import annotations

import logging
import os

from backupcore.errors import AccessDenied, BackupError, Refused, Unavailable
from backupcore_nfs.address import Address
from backupcore_nfs.machine import Machine
from backupcore_nfs.table import Mount, topmost
from backupcore_posix.root import DIRECTORY, Root

__all__ = ["NfsRoot"]

log = logging.getLogger(__name__)


class NfsRoot(Root):
    """A mount point at which an NFS server's directory is mounted.

    Raises: Refused when something else is there, or it is mounted without close-to-open.
    """

    has_stale_handles = True

    def __init__(self, path: str, address: Address, machine: Machine) -> None:
        super().__init__(path)
        self.address = address
        self._machine = machine
        self._inode: int | None = None
        descriptor, self.mount = self._open(Refused)
        os.close(descriptor)
        if not self.mount.asks_on_opening:
            raise Refused(
                f"{address}: {path} is mounted with nocto, so objects of other machines would "
                "seem missing: mount it without"
            )

    def open(self) -> int:
        """Return a descriptor on the mounted directory. Raises: Unavailable when it has gone."""
        descriptor, self.mount = self._open(Unavailable)
        return descriptor

    def reopen(self, error: OSError) -> int:
        """Return a descriptor on what is mounted now, when it is the same export."""
        return self.open()

    def create(self) -> None:
        """Never: a mount point is not made by us."""
        raise AssertionError("the root of an NFS store is there or unavailable")

    def settle(self, descriptor: int) -> None:
        """Check that it may be written. Raises: AccessDenied."""
        if os.fstatvfs(descriptor).f_flag & os.ST_RDONLY:
            raise AccessDenied(
                f"{self.address}: is mounted for reading only at {self.path}: mount it with rw"
            )

    def sweep(self, drafts: int) -> None:
        """Remove what dead writers left, unless living ones elsewhere cannot be told from them."""
        if self.mount.has_local_locks:
            log.warning(
                "temporary files of dead writers are kept: the mount has local locks",
                extra={"store": str(self.address)},
            )
        else:
            super().sweep(drafts)

    def _open(self, kind: type[BackupError]) -> tuple[int, Mount]:
        try:
            descriptor = os.open(self.path, DIRECTORY)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise kind(f"{self.address}: {self.path}: no such directory: mount it there") from error
        try:
            mount = topmost(self._machine.mounts(), self.path)
            found = os.fstat(descriptor)
            fault = self._fault(mount, found.st_dev)
            # a server whose disk is not mounted yet exports the folder beneath it
            if not fault and self._inode not in (None, found.st_ino):
                fault = "another directory than before is exported there"
            if fault or mount is None:
                raise kind(f"{self.address}: {self.path}: {fault}: mount it there")
        except BaseException:
            os.close(descriptor)
            raise
        self._inode = found.st_ino
        return descriptor, mount

    def _fault(self, mount: Mount | None, device: int) -> str:
        """Say what is wrong with what was found at the mount point."""
        if mount is None:
            return "nothing is mounted there"
        if not mount.is_nfs:
            return f"{mount.kind} of {mount.source} is mounted there, no NFS"
        if not self.address.is_source(mount.export):
            return f"{mount.export} is mounted there"
        return "" if mount.device == device else "another file system hides what is mounted there"
