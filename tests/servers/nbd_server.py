"""Real NBD servers for tests: `qemu-nbd` and `nbdkit`, each on a socket or a free port of its own.

Every server is stopped by its process id; what it needs lives in the folder it is given.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.servers.process import Server, wait_for_port, wait_for_unix


def unix_url(path: Path, export: str = "", query: str = "") -> str:
    """Return the URL of an export on a unix socket."""
    return f"nbd+unix:///{quote(export)}?socket={quote(str(path))}{query}"


@contextmanager
def nbdkit(folder: Path, *words: str, port: int | None = None) -> Iterator[Server]:
    """Run nbdkit with a plugin and its options, on `folder/nbdkit.sock` or a port."""
    path = folder / "nbdkit.sock"
    path.unlink(missing_ok=True)
    place = ["-U", str(path)] if port is None else ["-i", "127.0.0.1", "-p", str(port)]
    server = Server(["nbdkit", "-f", *place, *words], folder / "nbdkit.log")
    try:
        if port is None:
            wait_for_unix(path, server)
        else:
            wait_for_port(port, server)
        yield server
    finally:
        server.stop()


@contextmanager
def qemu_nbd(folder: Path, image: Path, *words: str, port: int | None = None) -> Iterator[Server]:
    """Run qemu-nbd on a qcow2 or raw image, on `folder/qemu.sock` or a port."""
    path = folder / "qemu.sock"
    path.unlink(missing_ok=True)
    place = [f"--socket={path}"] if port is None else ["--bind=127.0.0.1", f"--port={port}"]
    kind = "qcow2" if image.suffix == ".qcow2" else "raw"
    command = ["qemu-nbd", f"--format={kind}", *place, *words, str(image)]
    server = Server(command, folder / "qemu-nbd.log")
    try:
        if port is None:
            wait_for_unix(path, server)
        else:
            wait_for_port(port, server)
        yield server
    finally:
        server.stop()


def qemu_img(*words: str) -> str:
    """Run qemu-img; return what it printed."""
    return _run("qemu-img", *words)


def write_qcow2(image: Path, *commands: str) -> None:
    """Run qemu-io's commands on a qcow2 image, such as `write -P 0xaa 1M 64k`."""
    words = [word for command in commands for word in ("-c", command)]
    _run("qemu-io", "-f", "qcow2", "-d", "unmap", *words, str(image))


def _run(*command: str) -> str:
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60
    )
    if done.returncode:
        pytest.fail(f"{' '.join(command)}: {done.stdout}{done.stderr}")
    return done.stdout
