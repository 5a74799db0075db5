"""A real NFS server for tests, nfs-ganesha: it exports a folder of this machine over NFS 4.

It listens on a free port of the loopback interface and needs neither rpcbind nor the kernel's NFS
code, but root, for it opens files by handle. What a client of another make sees, libnfs tells.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.servers.process import START_S_MAX, Server, free_port, need

EXPORT = "/backups"
CONFIGURATION = """
NFS_CORE_PARAM {{
    NFS_Port = {port}; Protocols = 4; Bind_addr = 127.0.0.1;
    Enable_NLM = false; Enable_RQUOTA = false; Enable_UDP = false;
    mount_path_pseudo = true; Plugins_Dir = {plugins};
}}
NFS_KRB5 {{ Active_krb5 = false; }}
NFSV4 {{
    RecoveryBackend = fs; RecoveryRoot = {state};
    Graceless = true; Only_Numeric_Owners = true; Lease_Lifetime = 10;
}}
EXPORT_DEFAULTS {{ SecType = sys; }}
EXPORT {{
    Export_Id = 1; Path = {folder}; Pseudo = {export}; Access_Type = {access};
    Squash = no_root_squash; Protocols = 4; Transports = TCP;
    FSAL {{ Name = VFS; }}
}}
LOG {{ Default_Log_Level = EVENT; }}
"""


@dataclass(frozen=True, slots=True)
class NfsServer:
    """A running server. folder: what it exports as `EXPORT`."""

    folder: Path
    port: int
    server: Server

    def kill(self) -> None:
        """End it without a chance to write anything."""
        self.server.kill()

    def restart(self) -> None:
        """Start it again."""
        self.server.restart()
        _wait(self.port, self.server)

    def read(self, path: str) -> bytes:
        """Return the content of a file as a client sees it."""
        return self._ask("nfs-cat", path)

    def names(self, path: str) -> set[str]:
        """Return the names in a directory as a client sees them."""
        return {line.split()[-1] for line in self._ask("nfs-ls", path).decode().splitlines()}

    def _ask(self, command: str, path: str) -> bytes:
        url = f"nfs://127.0.0.1{EXPORT}/{path}?version=4&nfsport={self.port}"
        done = subprocess.run(
            [command, url], stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=60
        )
        if done.returncode:
            pytest.fail(f"{command} {url}: {done.stderr.decode(errors='replace')}")
        return done.stdout


def need_ganesha() -> pytest.MarkDecorator:
    """Return the mark of tests that need the server; it names what is missing."""
    if os.geteuid():
        return pytest.mark.skipif(True, reason="nfs-ganesha opens files by handle: run as root")
    return need("ganesha.nfsd", "nfs-cat", "nfs-ls")


@contextmanager
def ganesha(folder: Path, exported: Path, *, access: str = "RW") -> Iterator[NfsServer]:
    """Export a folder; configuration, state and log are kept in another."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    configuration = folder / "ganesha.conf"
    configuration.write_text(
        CONFIGURATION.format(
            port=port,
            plugins=next(Path("/usr/lib").rglob("libfsalvfs.so")).parent,
            state=folder,
            folder=exported,
            export=EXPORT,
            access=access,
        )
    )
    logs = ["-L", str(folder / "ganesha.nfsd.log"), "-p", str(folder / "ganesha.pid")]
    command = ["ganesha.nfsd", "-F", "-f", str(configuration), *logs, "-N", "EVENT"]
    server = Server(command, folder / "ganesha.log")
    try:
        _wait(port, server)
        yield NfsServer(exported, port, server)
    finally:
        server.stop()


def _wait(port: int, server: Server) -> None:
    """Return when the server answers; it listens on a socket for both kinds of addresses."""
    deadline_s = time.monotonic() + START_S_MAX
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if server.has_failed() or time.monotonic() > deadline_s:
                pytest.fail(f"nfs-ganesha did not start: {server.log.read_text()}")
            time.sleep(0.02)
        else:
            return
