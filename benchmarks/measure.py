"""What all measurements share: options, repetition, tables, JSON and the machine in it."""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median, median_low

from rich.console import Console
from rich.table import Table

from backupcore.units import MIB, parse_bytes
from benchmarks.path import Run

__all__ = [
    "alternate",
    "describe_machine",
    "file_system_of",
    "format_rate",
    "format_ratio",
    "median_run",
    "new_parser",
    "print_table",
    "processor_model",
    "settle",
    "write_json",
]

_LIBRARIES = ("blake3", "numpy", "zstandard", "xxhash")
_WIDTH = 132  # of a table when the output is no terminal


def new_parser(name: str, description: str | None) -> argparse.ArgumentParser:
    """Return a command line with the options that every measurement takes."""
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{name}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--folder", metavar="DIR", help="where work files go, and leave no trace")
    parser.add_argument("--json", metavar="OUT", help="also write everything to this file")
    parser.add_argument("--image", metavar="PATH", help="an image to use; it is not changed")
    parser.add_argument(
        "--size", type=parse_bytes, default=4096 * MIB, help="of the image that is made (4GiB)"
    )
    parser.add_argument("--rounds", type=int, default=1, help="how often to measure (1)")
    return parser


def settle() -> None:
    """Wait until everything written is on the disk, so that the next run does not pay for it."""
    os.sync()


def alternate(steps: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Take all steps in turn, so many rounds; return the seconds of each, by its name."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            settle()
            seconds[name].append(step())
    return seconds


def median_run(runs: Sequence[Run]) -> Run:
    """Return the run whose duration is in the middle."""
    wanted_s = median_low([run.duration_s for run in runs])
    return next(run for run in runs if run.duration_s == wanted_s)


def format_rate(size_bytes: float, duration_s: float) -> str:
    """Return a rate in 10^6 bytes a second."""
    return f"{size_bytes / duration_s / 1e6:,.0f} MB/s" if duration_s else ""


def format_ratio(ours: Sequence[float], bare: Sequence[float]) -> str:
    """Return the ratio of two medians, and its spread from round to round."""
    rounds = [first / second for first, second in zip(ours, bare, strict=True)]
    text = f"{median(ours) / median(bare):.2f}"
    return text if len(rounds) < 2 else f"{text} ({min(rounds):.2f} to {max(rounds):.2f})"


def print_table(title: str, rows: Sequence[Mapping[str, str]]) -> None:
    """Print rows as a table; the first row's keys head the columns."""
    table = Table(title=title, title_justify="left")
    for number, heading in enumerate(rows[0]):
        table.add_column(heading, justify="right" if number else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row.values())
    console = Console()
    console = console if console.is_terminal else Console(width=_WIDTH)
    console.print(table)


def write_json(path: str | None, results: Mapping[str, object]) -> None:
    """Write results and what they were measured with, if there is a path."""
    if path is not None:
        text = json.dumps({"setting": _setting(), **results}, indent=1)
        Path(path).write_text(text + "\n", encoding="utf-8")


def _setting() -> dict[str, object]:
    return {
        **describe_machine(),
        "libraries": {name: version(name) for name in _LIBRARIES},
    }


def describe_machine() -> dict[str, object]:
    """Return processor, cores, memory and kernel."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": processor_model(_read("/proc/cpuinfo")) or platform.processor(),
        "cpu_count": len(os.sched_getaffinity(0)),
        "memory_bytes": memory,
        "machine": platform.machine(),
        "kernel": platform.release(),
        "system": _system(),
        "python": platform.python_version(),
    }


def processor_model(cpuinfo: str) -> str:
    """Return the model that the kernel tells, or nothing."""
    found = re.search(r"^model name\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    return found[1].strip() if found else ""


def file_system_of(path: Path, mounts: str | None = None) -> str:
    """Return the kind of file system that a path lies on."""
    place, kind = Path("/"), "unknown"
    for line in (mounts or _read("/proc/self/mounts")).splitlines():
        _, point, name, *_ = line.split(" ")
        mounted = Path(point.replace("\\040", " "))
        if path.is_relative_to(mounted) and len(mounted.parts) >= len(place.parts):
            place, kind = mounted, name
    return kind


def _system() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())
    except OSError:
        return platform.system()


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
