"""What one command costs: time, processor, memory, and the bytes it leaves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from benchmarks.measure import settle
from benchmarks.peer.tool import Command

__all__ = ["CommandFailed", "Cost", "run_command", "stored_in", "sum_costs"]

_LAUNCH = Path(__file__).with_name("launch.py")
_MESSAGE_CHARACTERS_MAX = 400


class CommandFailed(Exception):
    """A command of a tool ended with an error; the message is its own."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a command, or a few in a row, cost.

    duration_s: from the start of the process to its end. sync_s: how long the system then took to
    bring to the disk what was not there yet. user_s, system_s: of the process and all it waited
    for. peak_rss_bytes: of the largest among these. stored_bytes, file_count: added to what the
    tool stores.
    """

    duration_s: float
    sync_s: float
    user_s: float
    system_s: float
    peak_rss_bytes: int
    stored_bytes: int
    file_count: int

    @property
    def durable_s(self) -> float:
        """Seconds until everything written is on the disk."""
        return self.duration_s + self.sync_s

    @property
    def cpu_s(self) -> float:
        """Seconds of processor time."""
        return self.user_s + self.system_s


def run_command(command: Command, state: Path, home: Path) -> Cost:
    """Run a command and return its cost.

    home: becomes the home of the process; caches go there and are not counted as stored.
    Raises: CommandFailed.
    """
    bytes_before, files_before = stored_in(state)
    settle()
    report = home / "cost.json"
    output: IO[bytes]
    with open(command.stdout or os.devnull, "wb") as output:
        done = subprocess.run(
            [sys.executable, "-I", "-S", str(_LAUNCH), str(report), *command.words],
            cwd=command.cwd,
            env={**os.environ, **_own_folders(home), **command.environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.PIPE,
            check=False,
        )
    if done.returncode:
        message = done.stderr.decode(errors="replace").strip()
        raise CommandFailed(f"{command.text()}: {message[-_MESSAGE_CHARACTERS_MAX:]}")
    started_s = time.perf_counter()
    settle()
    sync_s = time.perf_counter() - started_s
    bytes_after, files_after = stored_in(state)
    return Cost(
        sync_s=sync_s,
        stored_bytes=bytes_after - bytes_before,
        file_count=files_after - files_before,
        **json.loads(report.read_text(encoding="ascii")),
    )


def _own_folders(home: Path) -> dict[str, str]:
    return {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), "TMPDIR": str(home)}


def stored_in(state: Path) -> tuple[int, int]:
    """Return the bytes of all files below a folder, and how many there are."""
    sizes = [
        os.lstat(os.path.join(folder, name)).st_size
        for folder, _, names in os.walk(state)
        for name in names
    ]
    return sum(sizes), len(sizes)


def sum_costs(costs: Sequence[Cost]) -> Cost:
    """Return the cost of commands in a row; the memory is that of the largest."""
    return Cost(
        duration_s=sum(cost.duration_s for cost in costs),
        sync_s=sum(cost.sync_s for cost in costs),
        user_s=sum(cost.user_s for cost in costs),
        system_s=sum(cost.system_s for cost in costs),
        peak_rss_bytes=max(cost.peak_rss_bytes for cost in costs),
        stored_bytes=sum(cost.stored_bytes for cost in costs),
        file_count=sum(cost.file_count for cost in costs),
    )
