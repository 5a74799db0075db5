from __future__ import annotations

import sys
from pathlib import Path

import pytest

from backupcore.units import MIB
from benchmarks.peer.meter import CommandFailed, Cost, run_command, stored_in, sum_costs
from benchmarks.peer.tool import Command


def run(folder: Path, code: str, **options: Path) -> Cost:
    (folder / "state").mkdir(exist_ok=True)
    (folder / "home").mkdir(exist_ok=True)
    command = Command((sys.executable, "-c", code), **options)  # type: ignore[arg-type]
    return run_command(command, folder / "state", folder / "home")


def test_time_is_that_of_the_process(tmp_path: Path) -> None:
    assert run(tmp_path, "import time; time.sleep(0.2)").duration_s >= 0.2


def test_memory_of_a_child_of_the_process_counts(tmp_path: Path) -> None:
    child = (
        "import sys, subprocess; subprocess.run([sys.executable, '-c', 'b = b\"1\" * (96 << 20)'])"
    )
    assert run(tmp_path, child).peak_rss_bytes > 96 * MIB


def test_memory_of_who_measures_does_not_count(tmp_path: Path) -> None:
    ballast = bytearray(b"\1") * (160 * MIB)
    cost = run(tmp_path, "pass")
    ballast.clear()
    assert cost.peak_rss_bytes < 96 * MIB


def test_processor_time_is_told(tmp_path: Path) -> None:
    assert run(tmp_path, "sum(range(3_000_000))").cpu_s > 0.01


def test_stored_bytes_are_those_that_were_added(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "before").write_bytes(b"1234")
    cost = run(tmp_path, "open('new', 'w').write('123')", cwd=tmp_path / "state")
    assert (cost.stored_bytes, cost.file_count) == (3, 1)


def test_output_goes_to_a_file_on_wish(tmp_path: Path) -> None:
    run(tmp_path, "print('here')", stdout=tmp_path / "out")
    assert (tmp_path / "out").read_text() == "here\n"


def test_home_of_the_process_is_a_folder_of_its_own(tmp_path: Path) -> None:
    run(tmp_path, "import os; print(os.environ['HOME'])", stdout=tmp_path / "out")
    assert (tmp_path / "out").read_text().strip() == str(tmp_path / "home")


def test_message_of_a_command_that_fails_is_told(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match="no room left"):
        run(tmp_path, "raise SystemExit('no room left')")


def test_folder_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    assert stored_in(tmp_path / "nowhere") == (0, 0)


def test_costs_in_a_row_add_up_but_for_the_memory() -> None:
    total = sum_costs([Cost(1, 2, 3, 4, 50, 6, 7), Cost(10, 20, 30, 40, 5, 60, 70)])
    assert total == Cost(11, 22, 33, 44, 50, 66, 77)
    assert (total.durable_s, total.cpu_s) == (33, 77)
