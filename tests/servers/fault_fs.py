"""A file system that fails on demand: what lies in a folder, seen through FUSE.

Rules are lines of JSON in a file, read again for every call, so a test changes them as it goes:

    {"call": "fsync", "errno": "EIO", "path": "data/", "times": 1}
    {"call": "link", "errno": "EIO", "is_done": true}

call: of FUSE, such as write, fsync, flush (at each close of a descriptor), link. path: a part of
the name. times: so often, else always. is_done: the call was done and its reply is lost. What was
asked is logged as `call path` in a file beside the rules.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from tests.servers.process import Server, need

mfusepy: Any = None
try:
    mfusepy = import_module("mfusepy")
except (ImportError, OSError) as error:
    missing = str(error)


@dataclass(frozen=True, slots=True)
class FaultFs:
    """A mounted one. point: where to use it; folder: where the bytes are."""

    point: Path
    folder: Path
    rules: Path

    def fail(self, *rules: Mapping[str, object]) -> None:
        """Let these rules hold from now on, and no others."""
        fresh = self.rules.with_suffix(".new")
        fresh.write_text("".join(f"{json.dumps(dict(rule))}\n" for rule in rules))
        fresh.rename(self.rules)

    def calls(self, call: str) -> list[str]:
        """Return the paths for which a call was made, in order."""
        log = self.rules.with_suffix(".log")
        lines = (line.split(" ", 1) for line in log.read_text().splitlines())
        return [path for name, path in lines if name == call]


def need_fault_fs() -> pytest.MarkDecorator:
    """Return the mark of tests that need it; it names what is missing."""
    if mfusepy is None:
        return pytest.mark.skipif(True, reason=f"{missing}: pip install mfusepy")
    if not os.access("/dev/fuse", os.W_OK):
        return pytest.mark.skipif(True, reason="no access to /dev/fuse: run as root")
    return need("fusermount3")


@contextmanager
def fault_fs(folder: Path) -> Iterator[FaultFs]:
    """Mount one; backing folder, mount point, rules and log lie in the folder."""
    point, backing, rules = folder / "point", folder / "backing", folder / "rules.json"
    point.mkdir()
    backing.mkdir()
    rules.write_text("")
    words = [sys.executable, "-m", "tests.servers.fault_fs", str(backing), str(point), str(rules)]
    server = Server(words, folder / "fault_fs.log")
    try:
        while not os.path.ismount(point):
            if server.has_failed():
                pytest.skip(f"FUSE does not work here: {server.log.read_text()}")
        yield FaultFs(point, backing, rules)
    finally:
        subprocess.run(["fusermount3", "-u", "-z", str(point)], check=False)
        server.stop()


def serve(backing: str, point: str, rules: Path) -> None:
    """Serve until it is unmounted."""
    operations = Operations(backing, rules)
    options = {"attr_timeout": 0, "entry_timeout": 0, "negative_timeout": 0}
    mfusepy.FUSE(operations, point, foreground=True, nothreads=True, **options)


def told(method: Callable[..., Any]) -> Callable[..., Any]:
    """Log a call and let it fail when a rule says so."""

    @wraps(method)
    def call(self: Operations, path: str, *given: Any) -> Any:
        fails, is_done = self.judge(method.__name__, path)
        if fails and not is_done:
            raise mfusepy.FuseOSError(fails)
        answer = method(self, path, *given)
        if fails:
            raise mfusepy.FuseOSError(fails)
        return answer

    return call


class Operations(mfusepy.Operations if mfusepy else object):  # type: ignore[misc]
    """Calls passed on to the backing folder, unless a rule lets them fail."""

    use_ns = True

    def __init__(self, backing: str, rules: Path) -> None:
        self.backing = backing
        self.rules = rules
        self.seen: Counter[str] = Counter()

    def judge(self, call: str, path: str) -> tuple[int, bool]:
        """Return the number of the error that a call is to end with, and whether it is done."""
        with self.rules.with_suffix(".log").open("a") as log:
            log.write(f"{call} {path}\n")
        for line in self.rules.read_text().splitlines():
            rule = json.loads(line)
            if rule["call"] == call and rule.get("path", "") in path:
                self.seen[line] += 1
                if self.seen[line] <= rule.get("times", sys.maxsize):
                    return int(getattr(errno, rule["errno"])), bool(rule.get("is_done"))
        return 0, False

    @told
    def getattr(self, path: str, handle: int | None = None) -> dict[str, int]:
        status = os.fstat(handle) if handle else os.lstat(self.backing + path)
        names = ("st_mode", "st_nlink", "st_uid", "st_gid", "st_size", "st_ino")
        return {name: getattr(status, name) for name in names}

    @told
    def readdir(self, path: str, handle: int) -> list[str]:
        return [".", "..", *os.listdir(self.backing + path)]

    @told
    def open(self, path: str, flags: int) -> int:
        return os.open(self.backing + path, flags & ~os.O_CREAT)

    @told
    def create(self, path: str, mode: int) -> int:
        return os.open(self.backing + path, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)

    @told
    def read(self, path: str, size_bytes: int, offset: int, handle: int) -> bytes:
        return os.pread(handle, size_bytes, offset)

    @told
    def write(self, path: str, data: bytes, offset: int, handle: int) -> int:
        return os.pwrite(handle, data, offset)

    @told
    def flush(self, path: str, handle: int) -> int:
        return 0

    @told
    def fsync(self, path: str, is_data_only: int, handle: int) -> int:
        return 0

    @told
    def release(self, path: str, handle: int) -> int:
        os.close(handle)
        return 0

    @told
    def rename(self, path: str, new: str) -> int:
        os.rename(self.backing + path, self.backing + new)
        return 0

    @told
    def link(self, path: str, old: str) -> int:
        os.link(self.backing + old, self.backing + path)
        return 0

    @told
    def unlink(self, path: str) -> int:
        os.unlink(self.backing + path)
        return 0

    @told
    def mkdir(self, path: str, mode: int) -> int:
        os.mkdir(self.backing + path, mode)
        return 0

    @told
    def rmdir(self, path: str) -> int:
        os.rmdir(self.backing + path)
        return 0

    @told
    def chmod(self, path: str, mode: int) -> int:
        os.chmod(self.backing + path, mode)
        return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("backing")
    parser.add_argument("point")
    parser.add_argument("rules", type=Path)
    chosen = parser.parse_args()
    serve(chosen.backing, chosen.point, chosen.rules)
