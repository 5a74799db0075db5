"""The driver `nfs:`: one file an object, on an NFS server.

nfs://host/export/path?vers=4.2&options=…      mounts it, for root
nfs://host/export/path?mount=/mnt/backups      uses the mount that is there

The layout is that of `posix:`; the repository's root is the path itself. Everything past the mount
is calls of POSIX below a descriptor of its root. A mount that has gone is noticed, never written
into what lies beneath.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from backupcore.driver import Driver, Url, hookimpl
from backupcore.errors import Refused
from backupcore_nfs.address import Address
from backupcore_nfs.machine import Machine
from backupcore_nfs.mounting import Mounting
from backupcore_nfs.option import VERSIONS, mount_options
from backupcore_nfs.root import NfsRoot
from backupcore_nfs.store import MEANING, NfsDriver
from backupcore_posix.translation import translated

__all__ = ["NfsDriver", "backupcore_open_driver", "open_store"]


@hookimpl
def backupcore_open_driver(url: Url, options: Mapping[str, str]) -> Driver:
    """Open the directory of a server that a URL names."""
    return open_store(url, Machine())


def open_store(url: Url, machine: Machine) -> NfsDriver:
    """Mount what the URL names, or find where it is mounted, and open it."""
    chosen = url.take_options("create_container", "mount", "options", "vers")
    address = Address.parse(url)
    if chosen.pop("create_container", "no") != "no":
        raise Refused(f"{address}: create_container: only the server can make what it exports")
    if "mount" in chosen:
        return _open_mounted(address, chosen, machine)
    words = mount_options(chosen.get("vers", VERSIONS[0]), chosen.get("options", ""), address.port)
    mounting = Mounting(machine, address, words)
    try:
        with translated(str(address), MEANING):
            return NfsDriver(NfsRoot(mounting.point, address, machine), mounting)
    except BaseException:
        mounting.close()
        raise


def _open_mounted(address: Address, chosen: Mapping[str, str], machine: Machine) -> NfsDriver:
    path = chosen["mount"]
    if len(chosen) > 1 or address.port is not None:
        raise Refused(
            f"{address}: with mount= the mount is yours: leave out port, vers and options"
        )
    if not os.path.isabs(path):
        raise Refused(f"{address}: mount={path} is no full path: write mount=/where/it/is")
    with translated(str(address), MEANING):
        return NfsDriver(NfsRoot(os.path.realpath(path), address, machine))
