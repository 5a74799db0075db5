"""The command from end to end, with tools that copy."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.peer import __main__ as script
from benchmarks.peer.result import OURS
from benchmarks.peer.tool.ours import Ours
from tests.benchmarks.peer.fake import Absent, Fake, Spoiling


def run(folder: Path, *tools: type[Fake], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script, "TOOLS", (Ours, *tools))
    outputs = [f"--json={folder}/out.json", f"--markdown={folder}/out.md", f"--plots={folder}/p"]
    names = ",".join(tool.name for tool in tools)
    options = ["--workload=random", "--size=2MiB", f"--tools={names}", "--default-settings"]
    script.main([*options, *outputs, "--folder", str(folder)])


def test_everything_is_written_and_nothing_else_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path, Fake, Absent, monkeypatch=monkeypatch)
    assert {path.name for path in tmp_path.iterdir()} == {"out.json", "out.md", "p"}
    written = json.loads((tmp_path / "out.json").read_text())
    assert list(written["workloads"]["random"]["contenders"]) == [OURS, "fake plain"]
    assert written["not_installed"] == {"absent": "apt-get install fake"}
    assert {"processor", "memory_bytes", "kernel", "cpu_count"} <= set(written["setting"])
    assert str(tmp_path) not in (tmp_path / "out.md").read_text()
    assert "absent is not installed: apt-get install fake" in capsys.readouterr().err


def test_exit_code_tells_of_an_image_that_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit, match="spoiling plain: day2: the restored image differs"):
        run(tmp_path, Spoiling, monkeypatch=monkeypatch)
    assert (tmp_path / "out.json").exists()


@pytest.mark.parametrize("option", ["--workload=tape", "--tools=tar"])
def test_unknown_names_are_refused(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        script.main([option])
    assert "choose from" in capsys.readouterr().err
