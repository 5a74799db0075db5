from __future__ import annotations

from pathlib import Path

import pytest

from backupcore.units import MIB
from benchmarks.peer.contest import TOOLS, find_tools, run_contest
from benchmarks.peer.tool import Tool
from benchmarks.peer.workload import Workload, make_workload
from tests.benchmarks.peer.fake import Failing, Fake, Forgetting, Spoiling, contenders

JOBS = ["full", "unchanged", "day 2", "restore"]


@pytest.fixture
def workload(tmp_path: Path) -> Workload:
    (tmp_path / "images").mkdir()
    return make_workload("random", None, 2 * MIB, tmp_path / "images")


def test_every_job_is_done_in_every_round(tmp_path: Path, workload: Workload) -> None:
    (entry,) = run_contest(contenders(Fake), workload, tmp_path, 2)
    assert list(entry.costs) == JOBS
    assert [len(costs) for costs in entry.costs.values()] == [2] * 4
    assert not entry.faults


def test_each_round_begins_with_an_empty_store(tmp_path: Path, workload: Workload) -> None:
    (entry,) = run_contest(contenders(Fake), workload, tmp_path, 2)
    assert [cost.stored_bytes for cost in entry.costs["full"]] == [2 * MIB] * 2


def test_nothing_is_left_but_the_images(tmp_path: Path, workload: Workload) -> None:
    run_contest(contenders(Fake, Failing), workload, tmp_path, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["images"]


def test_each_round_begins_with_another_contender(
    tmp_path: Path, workload: Workload, capsys: pytest.CaptureFixture[str]
) -> None:
    class Second(Fake):
        name = "second"

    run_contest(contenders(Fake, Second), workload, tmp_path, 2)
    order = [line.split(": ")[1] for line in capsys.readouterr().err.splitlines()]
    assert order == ["fake", "second", "second", "fake"]


@pytest.mark.parametrize("tool", [Spoiling, Forgetting])
def test_restored_image_that_differs_or_is_missing_is_a_fault(
    tmp_path: Path, workload: Workload, tool: type[Fake]
) -> None:
    (entry,) = run_contest(contenders(tool), workload, tmp_path, 1)
    assert entry.faults == ["day2: the restored image differs from the source"]
    assert not entry.costs


def test_who_has_failed_is_not_asked_again(tmp_path: Path, workload: Workload) -> None:
    failed, sound = run_contest(contenders(Failing, Fake), workload, tmp_path, 3)
    assert len(failed.faults) == 1
    assert failed.faults[0].endswith("no such thing")
    assert len(sound.costs["full"]) == 3


def test_commands_do_not_name_the_work_folder(tmp_path: Path, workload: Workload) -> None:
    (entry,) = run_contest(contenders(Fake), workload, tmp_path, 1)
    assert list(entry.commands) == JOBS
    shown = " ".join(entry.commands.values())
    assert "WORK/images/disk.img" in shown
    assert str(tmp_path) not in shown


@pytest.mark.parametrize("tool", TOOLS, ids=[tool.name for tool in TOOLS])
def test_tool_that_is_installed_restores_what_it_stored(tmp_path: Path, tool: type[Tool]) -> None:
    lineup = find_tools([tool], Path("build/venvs"), only_default=True)
    if lineup.missing:
        pytest.skip(f"install it: {tool.install}")
    (tmp_path / "images").mkdir()
    workload = make_workload("pages", None, 2 * MIB, tmp_path / "images")
    for entry in run_contest(lineup.contenders, workload, tmp_path, 1):
        assert not entry.faults
        assert list(entry.costs) == JOBS
