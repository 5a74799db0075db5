"""Tools that live in virtual environments of their own: Benji, and Cinder's backup driver.

Both are looked for in one folder, `build/venvs` by default: `benji/bin/benji`, `cinder/bin/python`.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import ClassVar

from benchmarks.peer.tool import Command, Settings, Source, Tool, first_line

__all__ = ["VENV_TOOLS", "Benji", "Cinder"]

_RUNNER = Path(__file__).with_name("cinder_driver.py")
_MAKE = "python3 -m venv build/venvs/{0} && build/venvs/{0}/bin/pip install {1}"
_NEEDS_OF_BENJI = "benchmarks/peer/tool/benji.txt"


def _find_in(venvs: Path, folder: str, program: str) -> str | None:
    return shutil.which(str(venvs.resolve() / folder / "bin" / program))


class Benji(Tool):
    """Its settings and its database of backups lie beside what it stores."""

    name = "benji"
    program = "benji"
    install = (
        _MAKE.format("benji", f"-r {_NEEDS_OF_BENJI}")
        + " && build/venvs/benji/bin/pip install --no-deps benji"
    )
    settings: ClassVar[Settings] = {"plain": (), "zstd": ("zstd",)}

    @classmethod
    def find(cls, venvs: Path) -> str | None:
        return _find_in(venvs, "benji", cls.program)

    def version(self) -> str:
        python = str(Path(self.program_path).with_name("python"))
        code = "from importlib.metadata import version; print(version('benji'))"
        return first_line([python, "-c", code])

    def prepare(self) -> list[Command]:
        self.state.mkdir()
        (self.state / "objects").mkdir()
        # JSON is YAML.
        self._config().write_text(json.dumps(self._settings()), encoding="ascii")
        return [self._benji("database-init")]

    def backup(self, source: Source) -> Command:
        return self._benji("backup", "--uid", source.label, f"file:{source.path}", source.volume)

    def restore(self, source: Source, target: Path) -> Command:
        return self._benji("restore", "--sparse", source.label, f"file:{target}")

    def _benji(self, *words: str) -> Command:
        return self.command("--log-level=WARNING", f"--config-file={self._config()}", *words)

    def _config(self) -> Path:
        return self.state / "benji.yaml"

    def _settings(self) -> dict[str, object]:
        place: dict[str, object] = {"path": str(self.state / "objects")}
        if self.options:
            place["activeTransforms"] = list(self.options)
        zstd = {"name": "zstd", "module": "zstd", "configuration": {"level": 1}}
        return {
            "configurationVersion": "1",
            "databaseEngine": f"sqlite:///{self.state}/benji.sqlite",
            "defaultStorage": "file",
            "storages": [
                {"name": "file", "storageId": 1, "module": "file", "configuration": place}
            ],
            "transforms": [zstd],
            "ios": [{"name": "file", "module": "file"}],
        }


class Cinder(Tool):
    """Cinder's POSIX backup driver, called as its backup service calls it; objects of 50 MiB."""

    name = "cinder"
    program = "python"
    install = _MAKE.format("cinder", "cinder")
    settings: ClassVar[Settings] = {
        "zlib": ("--compression=zlib",),
        "zstd": ("--compression=zstd",),
    }

    def __init__(self, setting: str, program: str, state: Path) -> None:
        super().__init__(setting, program, state)
        self._latest: dict[str, str] = {}

    @classmethod
    def find(cls, venvs: Path) -> str | None:
        return _find_in(venvs, "cinder", cls.program)

    def version(self) -> str:
        code = "from importlib.metadata import version; print(version('cinder'))"
        return first_line([self.program_path, "-c", code])

    def prepare(self) -> list[Command]:
        self._latest.clear()
        return [self.make_state()]

    def backup(self, source: Source) -> Command:
        parent = self._latest.get(source.volume)
        self._latest[source.volume] = source.label
        base = () if parent is None else (f"--parent={parent}",)
        return self._driver("backup", source.label, source.path, f"--volume={source.volume}", *base)

    def restore(self, source: Source, target: Path) -> Command:
        return self._driver("restore", source.label, target)

    def _driver(self, verb: str, label: str, path: Path, *words: str) -> Command:
        state = f"--state={self.state}"
        return self.command(_RUNNER, verb, label, path, state, *self.options, *words)


VENV_TOOLS: tuple[type[Tool], ...] = (Benji, Cinder)
