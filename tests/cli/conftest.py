"""What the tests of the command line share: a folder, a volume, a repository, and two ways in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import pytest
from click.testing import CliRunner, Result

from backupcore.cli.tree import commands


@dataclass(frozen=True, slots=True)
class Place:
    """A folder with `disk.img` and a repository in `store`; both ways in use it."""

    folder: Path
    environment: dict[str, str]
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def disk(self) -> Path:
        return self.folder / "disk.img"

    def run(self, *arguments: str) -> Result:
        """Run a command in this process."""
        return CliRunner().invoke(commands, arguments, env=self.environment)

    def json(self, *arguments: str) -> Any:
        """Return the one document a command writes; it must succeed."""
        result = self.run(*arguments, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    def start(
        self,
        *arguments: str,
        stdout: int | IO[bytes] = subprocess.PIPE,
        stderr: int | IO[bytes] = subprocess.PIPE,
        program: tuple[str, ...] = (sys.executable, "-m", "backupcore.cli"),
    ) -> subprocess.Popen[bytes]:
        """Start a command as a process of its own; signals go to it and nobody else."""
        process = subprocess.Popen(
            [*program, *arguments],
            env={**os.environ, **self.environment},
            cwd=self.folder,
            stdout=stdout,
            stderr=stderr,
        )
        self.started.append(process)
        return process

    def end(self) -> None:
        """End what was started here and still runs, and close its pipes."""
        for process in self.started:
            process.kill()
            process.wait()
            for pipe in (process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.chdir(tmp_path)
    with (tmp_path / "disk.img").open("wb") as image:
        image.write(bytes(range(256)) * 4096)
        image.truncate(4 << 20)
    environment = {
        "PYTHONUNBUFFERED": "",  # buffers are what breaks when a reader goes away
        "BACKUPCORE_REPOSITORY": str(tmp_path / "store"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    found = Place(tmp_path, environment)
    assert found.run("init").exit_code == 0
    yield found
    found.end()
