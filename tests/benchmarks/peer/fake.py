"""Tools for tests: a script that copies, and the same with faults."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import ClassVar

from benchmarks.peer.contest import Entry
from benchmarks.peer.meter import Cost
from benchmarks.peer.result import Outcome
from benchmarks.peer.tool import Command, Settings, Source, Tool
from benchmarks.peer.workload import Workload

SCRIPT = str(Path(__file__).with_name("faketool.py"))


class Fake(Tool):
    name = "fake"
    program = sys.executable
    install = "apt-get install fake"
    settings: ClassVar[Settings] = {"plain": (), "best": ("--best",)}
    restore_verb = "restore"

    def version(self) -> str:
        return "fake 1.0"

    def prepare(self) -> list[Command]:
        return [self.make_state()]

    def backup(self, source: Source) -> Command:
        return self.command(SCRIPT, "backup", source.path, self.state, source.label)

    def restore(self, source: Source, target: Path) -> Command:
        return self.command(SCRIPT, self.restore_verb, self.state, source.label, target)


class Spoiling(Fake):
    name = "spoiling"
    restore_verb = "spoil"


class Failing(Fake):
    name = "failing"
    restore_verb = "fail"


class Forgetting(Fake):
    name = "forgetting"
    restore_verb = "do nothing"


class Absent(Fake):
    name = "absent"
    program = "a-program-that-is-nowhere"


def contenders(*tools: type[Fake]) -> dict[str, Callable[[Path], Tool]]:
    return {tool.name: partial(tool, "plain", sys.executable) for tool in tools}


def cost_of(duration_s: float, stored_bytes: int = 100) -> Cost:
    return Cost(duration_s, 0.0, 1.0, 0.5, 10 << 20, stored_bytes, 2)


def outcome_of(**seconds: list[float]) -> Outcome:
    """Return what contenders did who took so many seconds for each job, by round."""
    jobs = ("full", "unchanged", "day 2", "restore")
    entries = [
        Entry(
            name.replace("_", " "),
            {job: [cost_of(each) for each in rounds] for job in jobs},
            commands=dict.fromkeys(jobs, f"{name} job"),
        )
        for name, rounds in seconds.items()
    ]
    workload = Workload("os", Path("disk.img"), "day 2", (), 4 << 20, 3 << 20)
    return Outcome(workload, entries)
