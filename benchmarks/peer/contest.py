"""The rounds: every contender in turn does every job on the same images."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from benchmarks.image import is_same
from benchmarks.path import TOP
from benchmarks.peer.meter import CommandFailed, Cost, run_command, sum_costs
from benchmarks.peer.tool import Command, Source, Tool
from benchmarks.peer.tool.ours import Ours
from benchmarks.peer.tool.program import PROGRAMS
from benchmarks.peer.tool.venv import VENV_TOOLS
from benchmarks.peer.workload import Workload

__all__ = ["TOOLS", "Entry", "Lineup", "find_tools", "run_contest"]

TOOLS: tuple[type[Tool], ...] = (Ours, *PROGRAMS, *VENV_TOOLS)


@dataclass(frozen=True, slots=True)
class Lineup:
    """Who takes part, and who is not installed.

    contenders: by title, what makes the tool with a folder for its state.
    versions: by tool. missing: how to install each tool that is not there.
    """

    contenders: dict[str, Callable[[Path], Tool]]
    versions: dict[str, str]
    missing: dict[str, str]


@dataclass(slots=True)
class Entry:
    """What one contender did on one workload.

    costs: by job, one per round. faults: what went wrong, restored bytes that differ included.
    commands: by job, as one would type them, of the first round.
    """

    title: str
    costs: dict[str, list[Cost]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    commands: dict[str, str] = field(default_factory=dict)


def find_tools(tools: Iterable[type[Tool]], venvs: Path, *, only_default: bool = False) -> Lineup:
    """Return who takes part of these tools, each in every setting or in its default."""
    contenders: dict[str, Callable[[Path], Tool]] = {}
    versions: dict[str, str] = {}
    missing: dict[str, str] = {}
    for tool in tools:
        program = tool.find(venvs)
        if program is None:
            missing[tool.name] = tool.install
            continue
        names = list(tool.settings)[:1] if only_default else list(tool.settings)
        for name in names:
            contenders[f"{tool.name} {name}"] = partial(tool, name, program)
        versions[tool.name] = tool(names[0], program, Path()).version()
    return Lineup(contenders, versions, missing)


class _Turn:
    """One contender's turn: a fresh folder, all jobs, and the folder is gone again."""

    def __init__(self, make: Callable[[Path], Tool], folder: Path, entry: Entry) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        self._folder = folder
        self._home = folder / "home"
        self._home.mkdir(parents=True)
        self._tool = make(folder / "state")
        self._entry = entry
        self._costs: dict[str, Cost] = {}

    def take(self, workload: Workload) -> None:
        """Do all jobs; what went wrong is noted and ends the turn without a cost."""
        try:
            for command in self._tool.prepare():
                run_command(command, self._tool.state, self._home)
            self._job("full", self._tool.backup(workload.first_as("day1")))
            self._job("unchanged", self._tool.backup(workload.first_as("again")))
            backups = [self._tool.backup(source) for source in workload.later]
            self._job(workload.later_job, *backups)
            self._restore(workload.later[-1])
        except CommandFailed as error:
            self._entry.faults.append(self._shown(str(error)))
        else:
            for job, cost in self._costs.items():
                self._entry.costs.setdefault(job, []).append(cost)
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _job(self, name: str, *commands: Command) -> None:
        self._entry.commands.setdefault(name, self._shown(commands[0].text()))
        costs = [run_command(command, self._tool.state, self._home) for command in commands]
        self._costs[name] = sum_costs(costs)

    def _restore(self, source: Source) -> None:
        target = self._folder / "restored" / source.path.name
        target.parent.mkdir()
        self._job("restore", self._tool.restore(source, target))
        if not target.exists() or not is_same(source.path, target):
            raise CommandFailed(f"{source.label}: the restored image differs from the source")

    def _shown(self, text: str) -> str:
        """Return a text without the folders of this machine."""
        return text.replace(str(self._folder.parent), "WORK").replace(f"{TOP}/", "")


def run_contest(
    contenders: dict[str, Callable[[Path], Tool]], workload: Workload, folder: Path, rounds: int
) -> list[Entry]:
    """Let all contenders take turns, so many rounds; each round begins with another one.

    Who has failed does not take part in later rounds.
    """
    entries = {title: Entry(title) for title in contenders}
    for number in range(rounds):
        taking_part = [title for title in contenders if not entries[title].faults]
        for title in _rotated(taking_part, number):
            _tell(f"{workload.name}, round {number + 1} of {rounds}: {title}")
            _Turn(contenders[title], folder / "turn", entries[title]).take(workload)
    return list(entries.values())


def _rotated(titles: Sequence[str], number: int) -> list[str]:
    start = number % max(1, len(titles))
    return [*titles[start:], *titles[:start]]


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
