"""Which stage everything waits for, and how busy it is: it should never wait itself.

    python -m benchmarks.bound [--image PATH | --size 4GiB] [--rounds 3] [--json OUT]

Full backups with one processor and two, of a volume that takes 5 ms for every call, and to a store
that takes 50 ms for every call. A stage's share is the time its threads spend in their work, out of
all the time they have; for the workers it is processor time.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from backupcore import (
    Driver,
    Role,
    Tuning,
    Volume,
    backup,
    create_repository,
    open_repository,
    open_volume,
)
from backupcore.driver.relay import Layer
from backupcore.extents import Extents
from backupcore.model import Buffer
from benchmarks.image import given_image, work_folder
from benchmarks.measure import new_parser, print_table, settle, write_json

__all__ = ["main"]


@dataclass(frozen=True, slots=True)
class Case:
    """One set of circumstances, and the threads that meet it."""

    name: str
    cores: int = 2
    read_s: float = 0.0
    put_s: float = 0.0
    readers: int = 0


CASES = [
    Case("1 processor", cores=1),
    Case("2 processors"),
    Case("volume of 5 ms a call, 1 reader", read_s=0.005, readers=1),
    Case("volume of 5 ms a call, 4 readers", read_s=0.005, readers=4),
    Case("store of 50 ms a call", put_s=0.05),
]


@dataclass(frozen=True, slots=True)
class Busy:
    """How one backup went: seconds, and of each stage the share of its threads' time at work."""

    duration_s: float
    shares: dict[str, float]


class Stopwatch:
    """Adds up what many threads spend in something."""

    def __init__(self, delay_s: float) -> None:
        self.spent_s = 0.0
        self._delay_s = delay_s
        self._lock = threading.Lock()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count the time inside, and wait first."""
        started_s = time.perf_counter()
        if self._delay_s:
            time.sleep(self._delay_s)
        try:
            yield
        finally:
            with self._lock:
                self.spent_s += time.perf_counter() - started_s


class WatchedVolume(Volume):
    """A volume whose reads take longer and are counted."""

    def __init__(self, below: Volume, watch: Stopwatch) -> None:
        self.name, self.identity, self.size_bytes = below.name, below.identity, below.size_bytes
        self._below = below
        self._watch = watch

    def read_into(self, offset: int, buffer: Buffer) -> None:
        """Read slowly."""
        with self._watch.running():
            self._below.read_into(offset, buffer)

    def extents(self, offset: int, length: int) -> Extents:
        """Ask the volume below."""
        return self._below.extents(offset, length)


class WatchedDriver(Layer):
    """A store whose puts take longer and are counted."""

    def __init__(self, below: Driver, watch: Stopwatch) -> None:
        super().__init__(below)
        self._watch = watch

    def put(
        self,
        key: str,
        parts: Sequence[Buffer],
        *,
        if_absent: bool = False,
        role: Role = Role.DATA,
    ) -> None:
        """Put slowly."""
        with self._watch.running():
            self.below.put(key, parts, if_absent=if_absent, role=role)


def run_one(image: Path, folder: Path, case: Case) -> Busy:
    """Back up once in this process."""
    os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[: case.cores]))
    tuning = Tuning(readers=case.readers)
    reads, puts = Stopwatch(case.read_s), Stopwatch(case.put_s)
    url = str(folder / "repository")
    create_repository(url).close()
    with (
        open_volume(str(image)) as below,
        open_repository(url, layers=lambda driver: WatchedDriver(driver, puts)) as repository,
    ):
        started_s, before_s = time.perf_counter(), time.process_time()
        backup(WatchedVolume(below, reads), repository, tuning=tuning)
        duration_s = time.perf_counter() - started_s
        cpu_s = time.process_time() - before_s
    readers = case.readers or tuning.workers
    shares = {
        "read": reads.spent_s / (readers * duration_s),
        "processors": cpu_s / (case.cores * duration_s),
        "put": puts.spent_s / (tuning.uploaders * duration_s),
    }
    return Busy(duration_s, shares)


def measure(image: Path, place: str | None, rounds: int) -> dict[str, list[Busy]]:
    """Run every case in turn, each in a process of its own."""
    found: dict[str, list[Busy]] = {case.name: [] for case in CASES}
    for _ in range(rounds):
        for number, case in enumerate(CASES):
            with work_folder(place) as folder:
                settle()
                command = [
                    sys.executable, "-m", "benchmarks.bound", "--image", str(image),
                    "--folder", str(folder), "--one", str(number),
                ]  # fmt: skip
                done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
                found[case.name].append(Busy(**json.loads(done.stdout)))
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    parser = new_parser("bound", __doc__)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.one is not None:
        busy = run_one(Path(given.image), Path(given.folder), CASES[given.one])
        print(json.dumps(asdict(busy)))
        return
    with work_folder(given.folder) as folder:
        image = given_image(given.image, given.size, folder)
        found = measure(image, given.folder, given.rounds)
    rows = []
    for name, runs in found.items():
        shares = {stage: median(run.shares[stage] for run in runs) for stage in runs[0].shares}
        slowest = max(shares, key=lambda stage: shares[stage])
        row = {"": name, "s": f"{median(run.duration_s for run in runs):.2f}"}
        row |= {stage: f"{share:.0%}" for stage, share in shares.items()}
        rows.append({**row, "slowest": slowest})
    print_table("How busy each stage is", rows)
    write_json(given.json, {"runs": {k: [asdict(run) for run in v] for k, v in found.items()}})


if __name__ == "__main__":
    main()
