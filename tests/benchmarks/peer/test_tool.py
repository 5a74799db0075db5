from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.peer.contest import TOOLS, find_tools
from benchmarks.peer.tool import Command, Source, Tool
from tests.benchmarks.peer.fake import Absent, Fake

SETTINGS = [(tool, setting) for tool in TOOLS for setting in tool.settings]
EACH = pytest.mark.parametrize(
    ("tool", "setting"), SETTINGS, ids=[f"{tool.name} {setting}" for tool, setting in SETTINGS]
)


def test_command_is_told_as_one_would_type_it() -> None:
    words = ("/usr/bin/tool", "make", "a file")
    command = Command(words, Path("/in"), Path("/out"), {"LEVEL": "a b"})
    assert command.text() == "cd /in && LEVEL='a b' tool make 'a file' > /out"


@EACH
def test_image_is_named_by_its_backup_and_so_is_the_target(
    tmp_path: Path, tool: type[Tool], setting: str
) -> None:
    made = tool(setting, tool.program, tmp_path / "state")
    source = Source("disk", "day1", tmp_path / "images" / "disk.img")
    target = tmp_path / "restored" / "disk.img"
    assert "disk.img" in made.backup(source).text()
    assert str(target.parent) in made.restore(source, target).text()


@EACH
def test_options_of_a_setting_are_given(tmp_path: Path, tool: type[Tool], setting: str) -> None:
    made = tool(setting, tool.program, tmp_path / "state")
    prepared = [*made.prepare(), made.backup(Source("disk", "day1", tmp_path / "disk.img"))]
    words = [word for command in prepared for word in command.words]
    config = tmp_path / "state" / "benji.yaml"
    text = config.read_text() if config.exists() else ""
    assert all(option in words or f'"{option}"' in text for option in made.options)


@pytest.mark.parametrize("tool", TOOLS)
def test_every_tool_says_how_to_install_it(tool: type[Tool]) -> None:
    assert "install" in tool.install


def test_second_backup_of_a_volume_names_the_first_as_its_parent(tmp_path: Path) -> None:
    cinder = next(tool for tool in TOOLS if tool.name == "cinder")("zlib", "python", tmp_path)
    first, second = (
        cinder.backup(Source("disk", label, tmp_path / "disk.img")).words for label in "ab"
    )
    assert "--parent=a" in second
    assert not [word for word in first if word.startswith("--parent")]


def test_tool_that_is_not_there_is_named_with_how_to_install_it(tmp_path: Path) -> None:
    lineup = find_tools([Fake, Absent], tmp_path)
    assert lineup.missing == {"absent": "apt-get install fake"}
    assert list(lineup.contenders) == ["fake plain", "fake best"]


def test_only_the_default_setting_takes_part_on_wish(tmp_path: Path) -> None:
    assert list(find_tools([Fake], tmp_path, only_default=True).contenders) == ["fake plain"]


def test_version_of_each_tool_is_told(tmp_path: Path) -> None:
    assert find_tools([Fake], tmp_path).versions == {"fake": "fake 1.0"}


def test_tools_in_virtual_environments_are_looked_for_there(tmp_path: Path) -> None:
    cinder = next(tool for tool in TOOLS if tool.name == "cinder")
    assert cinder.find(tmp_path) is None
    python = tmp_path / "cinder" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\n")
    python.chmod(0o700)
    assert cinder.find(tmp_path) == str(python)
