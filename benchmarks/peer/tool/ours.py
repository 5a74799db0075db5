"""Our own command line, as anybody would type it."""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path
from typing import ClassVar

from benchmarks.peer.tool import Command, Settings, Source, Tool

__all__ = ["Ours"]


class Ours(Tool):
    """As many threads as there are processors, which is the default."""

    name = "backupcore"
    program = sys.executable
    install = "pip install 'backupcore[cli]'"
    settings: ClassVar[Settings] = {
        "level 1": ("--level=1",),
        "level -5": ("--level=-5",),
        "level 3": ("--level=3",),
        "level 1 domain": ("--level=1", "--dedup=domain"),
    }

    def version(self) -> str:
        return version("backupcore")

    def prepare(self) -> list[Command]:
        return [self._ours("init")]

    def backup(self, source: Source) -> Command:
        return self._ours("backup", *self.options, f"--volume-id={source.volume}", str(source.path))

    def restore(self, source: Source, target: Path) -> Command:
        return self._ours("restore", f"--volume-id={source.volume}", "latest", str(target))

    def _ours(self, verb: str, *words: str) -> Command:
        return self.command("-m", "backupcore.cli", verb, f"--repository={self.state}", *words)
