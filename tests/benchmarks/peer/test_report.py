from __future__ import annotations

import json
from pathlib import Path

from benchmarks.peer.contest import Lineup
from benchmarks.peer.markdown import contest_page, table
from benchmarks.peer.plot import write_plots
from benchmarks.peer.result import OURS, Ratio, paired_ratio, seconds_of
from tests.benchmarks.peer.fake import cost_of, outcome_of

OURS_KEY = OURS.replace(" ", "_")
LINEUP = Lineup({}, {"fake": "fake 1.0"}, {"absent": "apt-get install absent"})


def page_of(**seconds: list[float]) -> str:
    return contest_page([outcome_of(**seconds)], LINEUP, {"memory_bytes": 1 << 30}, rounds=2)


def test_ratio_pairs_what_was_measured_in_the_same_round() -> None:
    theirs, ours = [cost_of(2), cost_of(30), cost_of(4)], [cost_of(1), cost_of(10), cost_of(1)]
    assert paired_ratio(theirs, ours) == Ratio(3.0, 2.0, 4.0)


def test_ratio_shows_its_spread() -> None:
    assert str(Ratio(3.0, 2.0, 4.0)) == "3.00 (2.00 to 4.00)"
    assert str(Ratio(3.0, 3.0, 3.0)) == "3.00"


def test_without_ours_there_is_no_ratio() -> None:
    outcome = outcome_of(fake=[1.0])
    assert outcome.ratio(outcome.entries[0], "full") is None


def test_ratio_is_to_ours_in_its_default_setting() -> None:
    outcome = outcome_of(**{OURS_KEY: [2.0, 4.0], "fake": [3.0, 6.0]})
    assert outcome.ratio(outcome.entries[1], "full") == Ratio(1.5, 1.5, 1.5)


def test_document_can_be_written_as_json() -> None:
    document = json.loads(json.dumps(outcome_of(**{OURS_KEY: [2.0]}).document()))
    assert document["contenders"][OURS]["costs"]["full"][0]["duration_s"] == 2.0
    assert document["contenders"][OURS]["ratios"]["restore"]["median"] == 1.0


def test_seconds_are_named_by_workload_job_and_contender() -> None:
    seconds = seconds_of([outcome_of(fake=[1.0, 2.0])])
    assert seconds["os: day 2: fake"] == [1.0, 2.0]


def test_table_puts_its_first_column_to_the_left() -> None:
    assert table([{"": "a", "s": "1"}]) == ["|  | s |", "| --- | --: |", "| a | 1 |"]


def test_page_has_a_row_for_each_contender_and_job() -> None:
    page = page_of(**{OURS_KEY: [2.0, 2.0], "fake": [3.0, 5.0]})
    assert page.count(f"| {OURS} | 2.00 | 1.00 |") == 4
    assert page.count("| fake | 4.00 | 2.00 (1.50 to 2.50) |") == 4


def test_page_names_what_is_not_installed_and_what_ran() -> None:
    page = page_of(fake=[1.0])
    assert "- absent: `apt-get install absent`" in page
    assert "    fake job" in page
    assert "| memory | 1.00 GiB |" in page


def test_page_tells_of_faults() -> None:
    outcome = outcome_of(fake=[1.0])
    outcome.entries[0].faults.append("day2: the restored image differs from the source")
    page = contest_page([outcome], LINEUP, {}, rounds=1)
    assert "- fake: day2: the restored image differs from the source" in page


def test_contender_without_figures_has_neither_row_nor_bar(tmp_path: Path) -> None:
    outcome = outcome_of(fake=[1.0])
    outcome.entries[0].costs.clear()
    assert "Nobody did this." in contest_page([outcome], LINEUP, {}, rounds=1)
    assert len(write_plots(tmp_path, [outcome])) == 3


def test_pictures_of_the_same_figures_are_the_same(tmp_path: Path) -> None:
    outcome = outcome_of(**{OURS_KEY: [2.0, 2.0], "fake": [3.0, 5.0]})
    first, second = (write_plots(tmp_path / name, [outcome]) for name in "ab")
    assert [path.name for path in first] == ["os-seconds.svg", "os-stored.svg", "os-memory.svg"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
