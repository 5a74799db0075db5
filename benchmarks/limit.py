"""How near to the limit: our operations beside bare loops over the same image, in turn.

    python -m benchmarks.limit [--image PATH | --size 4GiB] [--rounds 5] [--json OUT]

A bare loop (benchmarks/loop.py) does with the same libraries what nobody can leave out. Ours run
in processes of their own, on repositories that are new in every round.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import median

from backupcore.units import format_bytes
from benchmarks import loop
from benchmarks.image import data_length, given_image, is_same, work_folder
from benchmarks.measure import (
    alternate,
    format_rate,
    format_ratio,
    median_run,
    new_parser,
    print_table,
    settle,
    write_json,
)
from benchmarks.path import Run, run

__all__ = ["main"]

# What of ours stands beside which loop.
PAIRS = {
    "full backup": "bare backup",
    "unchanged incremental": "bare read + id",
    "restore": "bare restore",
}


class _Ours:
    """Our operations on one image, each in a process of its own."""

    def __init__(self, image: Path, folder: Path, *, threads: int, level: int) -> None:
        self._image = image
        self._repository = folder / "repository"
        self._target = folder / "restored.img"
        self._threads = f"--threads={threads}"
        self._level = f"--level={level}"
        self.runs: dict[str, list[Run]] = {name: [] for name in PAIRS}

    def full(self) -> float:
        """Back up to a new repository."""
        shutil.rmtree(self._repository, ignore_errors=True)
        self._repository.mkdir()
        settle()
        return self._backup("full backup", "--create", "--full")

    def incremental(self) -> float:
        """Back up again."""
        return self._backup("unchanged incremental")

    def restore(self) -> float:
        """Restore the latest, and compare it the first time."""
        self._target.unlink(missing_ok=True)
        settle()
        done = run("restore", self._repository, self._target, self._threads)
        if not self.runs["restore"] and not is_same(self._image, self._target):
            raise SystemExit("the restored image differs from the source")
        self.runs["restore"].append(done)
        return done.duration_s

    def _backup(self, name: str, *options: str) -> float:
        paths = (self._image, self._repository)
        done = run("backup", *paths, self._threads, self._level, *options)
        self.runs[name].append(done)
        return done.duration_s


class _Bare:
    """The loops on one image."""

    def __init__(self, image: Path, folder: Path, *, threads: int, level: int) -> None:
        self._target = folder / "bare.img"
        self._frames = loop.make_frames(image, folder / "frames", level=level)
        self._threads = threads
        self._folder = folder
        self.loops: dict[str, Callable[[], float]] = {
            "bare backup": partial(loop.backup, image, threads, level=level),
            "bare read + id": partial(loop.read_and_name, image, threads),
            "bare restore": self.restore,
            "bare read": partial(loop.read, image, threads),
            "bare read + zstd": partial(loop.read_and_compress, image, threads, level=level),
            "bare write of frames": self.write,
        }

    def restore(self) -> float:
        """Restore to a new file."""
        duration_s = loop.restore(self._frames, self._target, self._threads)
        self._target.unlink()
        return duration_s

    def write(self) -> float:
        """Write as much as a full backup stores."""
        return loop.write(self._folder, self._frames.stored_bytes)


def measure(
    image: Path, folder: Path, *, threads: int, level: int, rounds: int
) -> tuple[dict[str, list[float]], dict[str, list[Run]]]:
    """Return the seconds of every loop and operation, and our runs, by name."""
    ours = _Ours(image, folder, threads=threads, level=level)
    bare = _Bare(image, folder, threads=threads, level=level)
    mine = {
        "full backup": ours.full,
        "unchanged incremental": ours.incremental,
        "restore": ours.restore,
    }
    steps: dict[str, Callable[[], float]] = {}
    for name, beside in PAIRS.items():
        steps |= {beside: bare.loops[beside], name: mine[name]}
    return alternate(steps | bare.loops, rounds), ours.runs


def _time_rows(
    seconds: dict[str, list[float]], runs: dict[str, list[Run]], size_bytes: int
) -> list[dict[str, str]]:
    rows = []
    for name, values in seconds.items():
        mine = median_run(runs[name]) if name in runs else None
        rows.append(
            {
                "": name,
                "median s": f"{median(values):.2f}",
                "fastest s": f"{min(values):.2f}",
                "of data": format_rate(size_bytes, median(values)),
                "process s": f"{mine.process_s:.2f}" if mine else "",
                "cpu s": f"{mine.user_s + mine.system_s:.2f}" if mine else "",
                "peak RSS": format_bytes(mine.peak_rss_bytes) if mine else "",
                "stored": format_bytes(mine.stored_bytes) if mine else "",
            }
        )
    return rows


def _ratio_rows(seconds: dict[str, list[float]]) -> list[dict[str, str]]:
    return [
        {
            "": f"{name} / {beside}",
            "seconds": format_ratio(seconds[name], seconds[beside]),
            "share of the limit": f"{median(seconds[beside]) / median(seconds[name]):.0%}",
        }
        for name, beside in PAIRS.items()
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = new_parser("limit", __doc__)
    parser.add_argument("--level", type=int, default=1, help="of zstd (1)")
    parser.add_argument("--threads", type=int, default=2, help="of loops and of ours (2)")
    given = parser.parse_args(arguments)
    with work_folder(given.folder) as folder:
        image = given_image(given.image, given.size, folder)
        size_bytes = data_length(image)
        seconds, runs = measure(
            image, folder, threads=given.threads, level=given.level, rounds=given.rounds
        )
    shown = f"{format_bytes(size_bytes)} of data, {given.threads} threads, {given.rounds} rounds"
    print_table(f"Bare loops and ours: {shown}", _time_rows(seconds, runs, size_bytes))
    print_table("Ours to the bare loop", _ratio_rows(seconds))
    results = {
        "image": {"data_bytes": size_bytes, "level": given.level, "threads": given.threads},
        "seconds": seconds,
        "runs": {name: [asdict(each) for each in mine] for name, mine in runs.items()},
        "ratios": {
            name: median(seconds[name]) / median(seconds[beside]) for name, beside in PAIRS.items()
        },
    }
    write_json(given.json, results)


if __name__ == "__main__":
    main()
