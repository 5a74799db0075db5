"""Servers for tests: started as processes of their own, stopped by process id.

What a server writes goes to a log in the folder it is given.
"""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

START_S_MAX = 20.0
STOP_S_MAX = 10.0
LISTENING = 1 << 16  # __SO_ACCEPTCON of linux/net.h
PACKAGES = {
    "qemu-nbd": "qemu-utils",
    "qemu-img": "qemu-utils",
    "qemu-io": "qemu-utils",
    "nbdkit": "nbdkit",
    "ganesha.nfsd": "nfs-ganesha nfs-ganesha-vfs",
    "nfs-cat": "libnfs-utils",
    "nfs-ls": "libnfs-utils",
    "mount.nfs": "nfs-common",
    "fusermount3": "fuse3",
    "qemu-system-x86_64": "qemu-system-x86",
    "busybox": "busybox-static",
    "depmod": "kmod",
    "cpio": "cpio",
}


def need(*programs: str) -> pytest.MarkDecorator:
    """Return the mark of tests that need programs; it names those that are missing."""
    missing = [program for program in programs if shutil.which(program) is None]
    packages = " ".join(sorted({PACKAGES[program] for program in missing}))
    return pytest.mark.skipif(
        bool(missing), reason=f"no {', '.join(missing)}: apt-get install {packages}"
    )


class Server:
    """A running server; `log` is what it wrote."""

    def __init__(self, command: Sequence[str], log: Path) -> None:
        self._command = command
        self.log = log
        self._start()

    def _start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def restart(self) -> None:
        """Start the same command again after `stop` or `kill`."""
        self._start()

    def stop(self) -> None:
        """End it in good order."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it without a chance to write anything."""
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> None:
        if self.process.poll() is None:
            self.process.send_signal(number)
            try:
                self.process.wait(STOP_S_MAX)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait(STOP_S_MAX)

    def has_failed(self) -> bool:
        """Return whether it has ended by itself."""
        return self.process.poll() is not None


def wait_for_unix(path: Path, server: Server) -> None:
    """Return when a server listens on a unix socket.

    The kernel's list is read, for some servers end when a client has come and gone.
    """
    deadline_s = time.monotonic() + START_S_MAX
    while not _is_listening(path):
        _check_alive(server, deadline_s)


def _is_listening(path: Path) -> bool:
    for line in Path("/proc/net/unix").read_text().splitlines():
        words = line.split(maxsplit=7)
        if words[-1] == str(path) and int(words[3], 16) & LISTENING:
            return True
    return False


def wait_for_port(port: int, server: Server) -> None:
    """Return when a server listens on a port of this machine."""
    deadline_s = time.monotonic() + START_S_MAX
    wanted = f":{port:04X} 00000000:0000 0A"
    while wanted not in Path("/proc/net/tcp").read_text():
        _check_alive(server, deadline_s)


def _check_alive(server: Server, deadline_s: float) -> None:
    if server.has_failed() or time.monotonic() > deadline_s:
        pytest.fail(f"server did not start: {server.log.read_text()}")
    time.sleep(0.01)


def free_port() -> int:
    """Return a port that nobody listened on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
