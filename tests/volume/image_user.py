"""Other programs that use an image file: QEMU's, and a process that holds locks as QEMU does."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

APT = {
    "qemu-io": "qemu-utils",
    "qemu-nbd": "qemu-utils",
    "qemu-system-x86_64": "qemu-system-x86",
}
# Source: block/file-posix.c of QEMU. 100 + n: what it does, 200 + n: what nobody else may do.
WRITER = (100, 101, 103, 201, 203)
READER = (100, 201, 203)
HOLDER = """
import fcntl, struct, sys
kind = fcntl.F_WRLCK if sys.argv[2] == "exclusive" else fcntl.F_RDLCK
with open(sys.argv[1], "r+b") as file:
    for place in sys.argv[3:]:
        lock = struct.pack("@hhqqi0q", kind, 0, int(place), 1, 0)
        fcntl.fcntl(file.fileno(), fcntl.F_OFD_SETLK, lock)
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def locked_bytes(path: Path, places: tuple[int, ...], kind: str = "shared") -> Iterator[None]:
    """Let another process hold OFD locks on single bytes of a file."""
    command = [sys.executable, "-c", HOLDER, str(path), kind, *map(str, places)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        try:
            yield
            holder.communicate(timeout=30)
        finally:
            holder.kill()


def program(name: str) -> str:
    """Return the path of a program of QEMU; skip the test where it is not installed."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"needs {name}: apt-get install {APT[name]}")
    return path


@contextmanager
def opened_by_qemu_io(path: Path, *options: str) -> Iterator[None]:
    """Let qemu-io have an image open, for writing unless the options say `-r`."""
    command = [program("qemu-io"), "-f", "raw", *options, str(path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as user:
        assert user.stdin is not None
        assert user.stdout is not None
        user.stdin.write(b"length\n")
        user.stdin.flush()
        said = b""
        while b"iB" not in said and b"bytes" not in said:
            said += (read := os.read(user.stdout.fileno(), 4096))
            assert read, said
        try:
            yield
            user.communicate(b"quit\n", timeout=30)
        finally:
            user.kill()


def try_qemu_io(path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Let qemu-io open an image and write a byte to it; return how that ended."""
    command = [program("qemu-io"), "-f", "raw", *options, "-c", "write -P 7 0 512", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)


@contextmanager
def machine_on(path: Path) -> Iterator[None]:
    """Let a virtual machine that does not run yet have an image as its disk."""
    command = [
        program("qemu-system-x86_64"), "-accel", "tcg", "-S", "-display", "none", "-nodefaults",
        "-m", "16", "-monitor", "stdio", "-drive", f"file={path},format=raw,if=ide",
    ]  # fmt: skip
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as machine:
        assert machine.stdout is not None
        assert machine.stdin is not None
        machine.stdin.write(b"info block\n")  # answered when its disk is set up
        machine.stdin.flush()
        said = b""
        while b"Cache mode" not in said:
            said += (read := os.read(machine.stdout.fileno(), 4096))
            assert read, said
        try:
            yield
            machine.communicate(b"quit\n", timeout=30)
        finally:
            machine.kill()
