"""What a tool is to the contest: four methods that return commands, and where it is found."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, TypeAlias

__all__ = ["Command", "Settings", "Source", "Tool", "first_line"]

_VERSION_S_MAX = 60

Settings: TypeAlias = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Command:
    """One process: its words, where it runs, where its output goes, what is set for it."""

    words: tuple[str, ...]
    cwd: Path | None = None
    stdout: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict)

    def text(self) -> str:
        """Return the command as one would type it, the program by its name alone."""
        settings = [f"{name}={shlex.quote(value)}" for name, value in self.environment.items()]
        program, *words = self.words
        line = " ".join([*settings, shlex.join([Path(program).name, *words])])
        line = f"cd {shlex.quote(str(self.cwd))} && {line}" if self.cwd else line
        return f"{line} > {shlex.quote(str(self.stdout))}" if self.stdout else line


@dataclass(frozen=True, slots=True)
class Source:
    """An image to back up: the volume it is of, the name its backup gets, where it lies."""

    volume: str
    label: str
    path: Path


class Tool(ABC):
    """One tool in one of its settings, with a folder of its own for all it stores.

    settings: the options of each setting, by its name; the first is the tool's default.
    """

    name: ClassVar[str]
    program: ClassVar[str]
    install: ClassVar[str]
    settings: ClassVar[Settings]

    def __init__(self, setting: str, program: str, state: Path) -> None:
        self.setting = setting
        self.options = self.settings[setting]
        self.program_path = program
        self.state = state

    @classmethod
    def find(cls, venvs: Path) -> str | None:
        """Return the path of the program, or None when it is not installed."""
        return shutil.which(cls.program)

    @property
    def title(self) -> str:
        """The tool and its setting."""
        return f"{self.name} {self.setting}"

    def version(self) -> str:
        """Return what the program says of its version."""
        return first_line([self.program_path, "--version"])

    @abstractmethod
    def prepare(self) -> list[Command]:
        """Return what makes an empty repository; not timed."""

    @abstractmethod
    def backup(self, source: Source) -> Command:
        """Return what backs an image up."""

    @abstractmethod
    def restore(self, source: Source, target: Path) -> Command:
        """Return what restores a backup to a new file of the image's name in another folder."""

    def command(self, *words: str | Path, **environment: str) -> Command:
        """Return a command of this program."""
        return Command((self.program_path, *map(str, words)), environment=environment)

    def make_state(self) -> Command:
        """Return what makes the folder, for a tool that has nothing of its own to do so."""
        return Command(("mkdir", str(self.state)))


def first_line(words: list[str]) -> str:
    """Return the first line a command prints."""
    done = subprocess.run(
        words, capture_output=True, text=True, check=False, timeout=_VERSION_S_MAX
    )
    lines = (done.stdout or done.stderr).strip().splitlines()
    return lines[0].strip(" *") if lines else "unknown"
