from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.measure import (
    alternate,
    describe_machine,
    file_system_of,
    format_rate,
    format_ratio,
    median_run,
    new_parser,
    print_table,
    processor_model,
    write_json,
)
from benchmarks.path import Run


def run_of(duration_s: float) -> Run:
    return Run("backup", duration_s, 0, 0, 0, 0, 0, 0, 0, 3, 4, {})


def test_steps_are_taken_in_turn() -> None:
    taken: list[str] = []

    def step(name: str) -> float:
        taken.append(name)
        return float(len(taken))

    seconds = alternate({"a": lambda: step("a"), "b": lambda: step("b")}, 2)
    assert taken == ["a", "b", "a", "b"]
    assert seconds == {"a": [1.0, 3.0], "b": [2.0, 4.0]}


@pytest.mark.parametrize("durations", [[3.0, 1.0, 2.0], [2.0, 9.0], [2.0]])
def test_median_run_is_the_one_in_the_middle(durations: list[float]) -> None:
    assert median_run([run_of(duration_s) for duration_s in durations]).duration_s == 2.0


def test_stored_bytes_of_a_run_are_data_and_maps() -> None:
    assert run_of(1.0).stored_bytes == 7


def test_ratio_is_of_the_medians_with_the_spread_of_the_rounds() -> None:
    assert format_ratio([2.0, 4.0, 9.0], [2.0, 2.0, 3.0]) == "2.00 (1.00 to 3.00)"


def test_ratio_of_one_round_has_no_spread() -> None:
    assert format_ratio([3.0], [2.0]) == "1.50"


def test_rate_is_in_decimal_megabytes() -> None:
    assert format_rate(3_000_000_000, 2.0) == "1,500 MB/s"


def test_table_shows_every_cell(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("Sizes", [{"": "full", "new": "1 MiB"}, {"": "again", "new": "2 KiB"}])
    shown = capsys.readouterr().out
    assert all(text in shown for text in ("Sizes", "new", "full", "1 MiB", "again", "2 KiB"))


def test_json_says_what_it_was_measured_with(tmp_path: Path) -> None:
    write_json(str(tmp_path / "out.json"), {"ratio": 1.5})
    written = json.loads((tmp_path / "out.json").read_text())
    assert written["ratio"] == 1.5
    assert {"python", "cpu_count", "libraries"} <= set(written["setting"])


def test_sizes_on_the_command_line_carry_units() -> None:
    assert new_parser("limit", None).parse_args(["--size", "1MiB"]).size == 1 << 20


def test_machine_is_described() -> None:
    assert {"processor", "cpu_count", "memory_bytes", "kernel"} <= set(describe_machine())


def test_processor_is_named_as_the_kernel_names_it() -> None:
    assert processor_model("processor\t: 0\nmodel name\t: A 64\nflags\t: b\n") == "A 64"
    assert not processor_model("")


@pytest.mark.parametrize(
    ("path", "kind"), [("/data/x", "xfs"), ("/database", "ext4"), ("/a b/c", "tmpfs")]
)
def test_file_system_is_that_of_the_nearest_mount(path: str, kind: str) -> None:
    mounts = "a / ext4 rw 0 0\nb /data xfs rw 0 0\nc /a\\040b tmpfs rw 0 0\n"
    assert file_system_of(Path(path), mounts) == kind
