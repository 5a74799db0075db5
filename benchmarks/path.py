"""One operation in a process of its own, so that its memory and its time are its own.

    python -m benchmarks.path backup VOLUME REPOSITORY [--full] [--chunk-size 32KiB] [--level 1]
    python -m benchmarks.path restore REPOSITORY TARGET [--extents 0:4096,…] [--stream|--in-place]
    python -m benchmarks.path verify REPOSITORY [--depth data]

Prints what it cost as one line of JSON, the fields of `Run`. `run` does all this from Python.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from backupcore import (
    Access,
    BackupRequest,
    Depth,
    Driver,
    Grid,
    Repository,
    Tuning,
    backup,
    create_repository,
    describe,
    open_repository,
    open_volume,
    restore,
    restore_in_place,
    restore_to_stream,
    verify,
)
from backupcore.driver.layer import Counted
from backupcore.units import KIB, parse_bytes

__all__ = ["Run", "run"]

TOP = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class Run:
    """What one operation cost.

    duration_s: of the call alone. process_s: of the process, from its start to its end.
    user_s, system_s: processor time of the call, all threads. peak_rss_bytes: of the process.
    volume_bytes: size of the volume. read_bytes: from the volume, or from the store on the way
    back. new_bytes: plain bytes stored or written. data_bytes, map_bytes: put to the store, by kind
    of pack. calls: of the driver, by name.
    """

    operation: str
    duration_s: float
    process_s: float
    user_s: float
    system_s: float
    peak_rss_bytes: int
    volume_bytes: int
    read_bytes: int
    new_bytes: int
    data_bytes: int
    map_bytes: int
    calls: dict[str, int]

    @property
    def stored_bytes(self) -> int:
        """Packs put to the store, maps included."""
        return self.data_bytes + self.map_bytes


def run(operation: str, *arguments: str | Path) -> Run:
    """Run an operation in a new process and return what it cost; its messages go to stderr.

    Paths must be absolute. Raises: CalledProcessError when it failed.
    """
    command = [sys.executable, "-m", "benchmarks.path", operation, *map(str, arguments)]
    started_s = time.perf_counter()
    done = subprocess.run(command, cwd=TOP, stdout=subprocess.PIPE, text=True, check=True)
    process_s = time.perf_counter() - started_s
    return replace(Run(**json.loads(done.stdout)), process_s=process_s)


class _Meter:
    """Opens a repository through a counting layer and measures one call on it."""

    def __init__(self, operation: str, url: str) -> None:
        self._operation = operation
        self._url = url
        self._counted: Counted | None = None

    def open(self) -> Repository:
        return open_repository(self._url, layers=self._count)

    def measure(self, call: Callable[[], tuple[int, int, int]]) -> Run:
        """Measure a call that returns volume, read and new bytes."""
        data_bytes, map_bytes = self._packs()
        before, started_s = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        volume_bytes, read_bytes, new_bytes = call()
        duration_s = time.perf_counter() - started_s
        after = resource.getrusage(resource.RUSAGE_SELF)
        peak_rss_bytes, calls = _peak_rss_bytes(), self._calls()
        data_bytes_after, map_bytes_after = self._packs()
        return Run(
            operation=self._operation,
            duration_s=duration_s,
            process_s=0.0,
            user_s=after.ru_utime - before.ru_utime,
            system_s=after.ru_stime - before.ru_stime,
            peak_rss_bytes=peak_rss_bytes,
            volume_bytes=volume_bytes,
            read_bytes=read_bytes,
            new_bytes=new_bytes,
            data_bytes=data_bytes_after - data_bytes,
            map_bytes=map_bytes_after - map_bytes,
            calls=calls,
        )

    def _count(self, driver: Driver) -> Driver:
        self._counted = Counted(driver)
        return self._counted

    def _calls(self) -> dict[str, int]:
        counts = self._counted.report() if self._counted else {}
        return {name: count.call_count for name, count in counts.items()}

    def _packs(self) -> tuple[int, int]:
        with open_repository(self._url, read_only=True) as repository:
            info = describe(repository)
        return info.data_pack_bytes, info.map_pack_bytes


def _peak_rss_bytes() -> int:
    """Return the most memory the process has held.

    ru_maxrss survives exec and so counts the memory of the process that started this one.
    """
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    peak = next(line for line in lines if line.startswith("VmHWM:"))
    return int(peak.split()[1]) * KIB


def _tuning(given: argparse.Namespace) -> Tuning:
    if given.threads is None:
        return Tuning()
    return Tuning(workers=given.threads)


def _backup(given: argparse.Namespace) -> Run:
    grid = Grid(chunk_size_bytes=given.chunk_size)
    if given.create:
        create_repository(given.repository).close()
    meter = _Meter("backup", given.repository)
    request = BackupRequest(volume_id=given.volume_id, grid=grid, level=given.level)

    def call() -> tuple[int, int, int]:
        with open_volume(given.volume) as volume, meter.open() as repository:
            done = backup(
                volume,
                repository,
                base=None if given.full else "latest",
                request=request,
                tuning=_tuning(given),
            )
        return done.size_bytes, done.sums.read_bytes, done.new_bytes

    return meter.measure(call)


def _restore(given: argparse.Namespace) -> Run:
    meter = _Meter("restore", given.repository)
    extents, tuning = given.extents, _tuning(given)

    def call() -> tuple[int, int, int]:
        with meter.open() as repository:
            size_bytes = repository.find_backup(given.backup).size_bytes
            if given.stream:
                with open(given.target, "wb") as stream:
                    done = restore_to_stream(
                        repository, given.backup, stream, extents=extents, tuning=tuning
                    )
            elif given.in_place:
                with open_volume(given.target, access=Access.WRITE) as target:
                    done = restore_in_place(
                        repository, given.backup, target, extents=extents, tuning=tuning
                    )
            else:
                new = open_volume(given.target, access=Access.CREATE, size_bytes=size_bytes)
                with new as target:
                    done = restore(repository, given.backup, target, extents=extents, tuning=tuning)
        return size_bytes, done.got_bytes, done.written_bytes

    return meter.measure(call)


def _verify(given: argparse.Namespace) -> Run:
    meter = _Meter("verify", given.repository)

    def call() -> tuple[int, int, int]:
        with meter.open() as repository:
            found = verify(repository, depth=Depth(given.depth), tuning=_tuning(given))
            if not found.is_sound:
                raise SystemExit(f"{len(found.losses)} losses: {found.losses[0].reason}")
            return describe(repository).volume_bytes, found.read_bytes, 0

    return meter.measure(call)


def _extents(text: str) -> list[tuple[int, int]]:
    pairs = (pair.partition(":") for pair in text.split(","))
    return [(int(offset), int(length)) for offset, _, length in pairs]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.path",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    operations = parser.add_subparsers(required=True)
    out = operations.add_parser("backup")
    out.set_defaults(call=_backup)
    out.add_argument("volume")
    out.add_argument("repository")
    out.add_argument("--create", action="store_true", help="make the repository first")
    out.add_argument("--full", action="store_true")
    out.add_argument("--volume-id")
    out.add_argument("--chunk-size", type=parse_bytes, default=32 * KIB)
    out.add_argument("--level", type=int)
    back = operations.add_parser("restore")
    back.set_defaults(call=_restore)
    back.add_argument("repository")
    back.add_argument("target")
    back.add_argument("--backup", default="latest")
    back.add_argument("--extents", type=_extents, metavar="OFFSET:LENGTH,…")
    way = back.add_mutually_exclusive_group()
    way.add_argument("--stream", action="store_true", help="write one extent after another")
    way.add_argument("--in-place", action="store_true", help="write to what exists what differs")
    proof = operations.add_parser("verify")
    proof.set_defaults(call=_verify)
    proof.add_argument("repository")
    proof.add_argument("--depth", choices=list(Depth), default=Depth.DATA)
    for operation in (out, back, proof):
        operation.add_argument("--threads", type=int, help="workers, one a processor if not given")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    given = _parser().parse_args(arguments)
    print(json.dumps(asdict(given.call(given))))


if __name__ == "__main__":
    main()
