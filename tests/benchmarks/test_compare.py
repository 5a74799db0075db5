from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from benchmarks.compare import Sample, Verdict, differing_facts, judge, main, read_samples

STEADY = [1.0, 1.0, 1.0, 1.0, 1.0]
NOISY = [0.8, 0.9, 1.0, 1.15, 1.3]


def verdict_of(old: list[float], new: list[float], least: float = 0.05) -> Verdict:
    return judge("it", Sample.of_rounds(old), Sample.of_rounds(new), least).verdict


def scaled(seconds: list[float], factor: float) -> list[float]:
    return [each * factor for each in seconds]


@pytest.mark.parametrize(
    ("factor", "expected"),
    [
        (1.0, Verdict.SAME),
        (1.04, Verdict.SAME),
        (1.06, Verdict.SLOWER),
        (0.96, Verdict.SAME),
        (0.94, Verdict.FASTER),
    ],
)
def test_of_steady_rounds_a_twentieth_counts(factor: float, expected: Verdict) -> None:
    assert verdict_of(STEADY, scaled(STEADY, factor)) is expected


@pytest.mark.parametrize(
    ("old", "new"),
    [(NOISY, STEADY), (STEADY, NOISY), (NOISY, NOISY)],
    ids=["old", "new", "both"],
)
def test_what_lies_within_the_spread_of_either_side_does_not_count(
    old: list[float], new: list[float]
) -> None:
    assert verdict_of(old, scaled(new, 1.2)) is Verdict.SAME


def test_what_lies_beyond_the_spread_of_both_counts() -> None:
    assert verdict_of(NOISY, scaled(NOISY, 1.6)) is Verdict.SLOWER


def test_one_outlier_changes_nothing() -> None:
    assert verdict_of(STEADY, [*STEADY, 9.0]) is Verdict.SAME


def test_what_counts_at_least_can_be_chosen() -> None:
    assert verdict_of(STEADY, scaled(STEADY, 1.06), least=0.1) is Verdict.SAME


@pytest.mark.parametrize(("seconds", "expected"), [(1.3, Verdict.SAME), (1.5, Verdict.SLOWER)])
def test_single_rounds_must_differ_by_far(seconds: float, expected: Verdict) -> None:
    assert verdict_of([1.0], [seconds]) is expected


def test_few_rounds_spread_over_their_whole_range() -> None:
    assert Sample.of_rounds([1.0, 1.5, 2.0]).spread == math.log(2.0)


def test_what_only_one_side_has_is_told_and_not_judged() -> None:
    sample = Sample.of_rounds(STEADY)
    assert judge("it", sample, None).verdict is Verdict.GONE
    assert judge("it", None, sample).verdict is Verdict.NEW


def test_statistics_of_pytest_benchmark_are_read() -> None:
    stats = {"median": 2.0, "q1": 1.0, "q3": 3.0, "rounds": 9}
    samples = read_samples({"benchmarks": [{"fullname": "a::b", "stats": stats}]})
    assert samples == {"a::b": Sample(2.0, math.log(3.0), 9)}


def test_seconds_of_our_own_files_are_read() -> None:
    assert read_samples({"seconds": {"full": STEADY, "none": []}}) == {"full": Sample(1.0, 0.0, 5)}


def test_another_machine_is_told() -> None:
    old = {"setting": {"kernel": "6.1", "cpu_count": 2}}
    new = {"setting": {"kernel": "6.9", "cpu_count": 2}}
    assert differing_facts(old, new) == ["kernel: 6.1 before, 6.9 now"]


def test_processor_of_pytest_benchmark_is_compared() -> None:
    files = [{"machine_info": {"cpu": {"brand_raw": name}}} for name in ("A", "B")]
    assert differing_facts(*files) == ["processor: A before, B now"]


def file_of(path: Path, results: dict[str, Any]) -> str:
    path.write_text(json.dumps(results))
    return str(path)


def test_exit_code_is_one_when_something_got_slower(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = file_of(tmp_path / "old", {"seconds": {"full": STEADY, "restore": STEADY}})
    new = file_of(tmp_path / "new", {"seconds": {"full": [2.0] * 5, "restore": STEADY}})
    with pytest.raises(SystemExit) as caught:
        main([old, new])
    assert caught.value.code == 1
    assert "slower: full\n" in capsys.readouterr().out


def test_nothing_slower_ends_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = file_of(tmp_path / "old", {"seconds": {"full": STEADY}})
    new = file_of(tmp_path / "new", {"seconds": {"full": [0.5] * 5}})
    main([old, new])
    assert "faster" in capsys.readouterr().out


@pytest.mark.parametrize("content", ["{}", "[", '{"seconds": {}}'])
def test_file_that_says_nothing_is_an_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "file").write_text(content)
    with pytest.raises(SystemExit) as caught:
        main([str(tmp_path / "file")] * 2)
    assert caught.value.code == 2
