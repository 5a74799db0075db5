"""What only a real process shows: signals, closed pipes, full devices, terminals."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.conftest import Place

# Of 256 MiB, the first pack goes out after half a second and the last would after several.
SLOW = ("backup", "synthetic:?size=256MiB&data=256MiB", "--rate-limit", "48MiB", "--json")
WAIT_S = 60.0


def wait_for_pack(place: Place, process: subprocess.Popen[bytes]) -> None:
    """Return when the first data pack is stored, while the backup still runs."""
    end = time.monotonic() + WAIT_S
    while not any(path.is_file() for path in (place.folder / "store").glob("data/*/*")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_backup_ends_quickly_and_the_next_one_resumes_it(
    place: Place, number: signal.Signals
) -> None:
    process = place.start(*SLOW)
    wait_for_pack(place, process)
    process.send_signal(number)
    started = time.monotonic()
    stdout, stderr = process.communicate(timeout=WAIT_S)
    assert time.monotonic() - started < 10
    assert (process.returncode, stdout) == (130, b"")
    error = json.loads(stderr.splitlines()[-1])["error"]
    assert (error["kind"], error["exit_code"]) == ("Stopped", 130)
    assert place.run("list", "-q").stdout == ""
    done = place.json(*SLOW[:2])
    assert 0 < done["new_bytes"] < 256 << 20


def test_progress_is_json_lines_that_only_grow(place: Place) -> None:
    process = place.start(*SLOW[:2], "--json")
    stdout, stderr = process.communicate(timeout=WAIT_S)
    lines = [json.loads(line)["progress"] for line in stderr.splitlines()]
    done = [line["done_bytes"] for line in lines]
    assert json.loads(stdout)["size_bytes"] == 256 << 20
    assert done == sorted(done)
    assert done[-1] == lines[-1]["total_bytes"] == 256 << 20


def test_a_restore_whose_reader_stalls_hears_ctrl_c(place: Place) -> None:
    place.json("backup", "disk.img")
    process = place.start("restore", "latest", "-")
    assert process.stdout is not None
    process.stdout.read(1)  # it writes now, and the pipe is soon full
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=WAIT_S) == 130


def test_a_second_ctrl_c_kills_at_once(place: Place) -> None:
    script = (
        "import os, signal, time\n"
        "from backupcore.cli.stop import STOP\n"
        "with STOP.installed(), STOP.heard():\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    assert STOP.wait(1)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    time.sleep(60)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], timeout=WAIT_S, check=False)
    assert done.returncode == -signal.SIGINT


def test_a_reader_that_goes_away_is_no_error(place: Place) -> None:
    place.json("backup", "disk.img")
    reading, writing = os.pipe()
    os.close(reading)
    process = place.start("list", stdout=writing)
    os.close(writing)
    _, stderr = process.communicate(timeout=WAIT_S)
    assert (process.returncode, stderr) == (0, b"")


def test_no_backup_fails_because_nobody_reads_its_progress(place: Place) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    process = place.start("backup", "disk.img", "--json", stderr=writing)
    os.close(writing)
    stdout, _ = process.communicate(timeout=WAIT_S)
    assert (process.returncode, json.loads(stdout)["size_bytes"]) == (0, 4 << 20)


def test_a_restore_whose_reader_goes_away_is_no_restore(place: Place) -> None:
    place.json("backup", "disk.img")
    reading, writing = os.pipe()
    os.close(reading)
    process = place.start("restore", "latest", "-", stdout=writing)
    os.close(writing)
    _, stderr = process.communicate(timeout=WAIT_S)
    assert process.returncode == 7
    assert b"Traceback" not in stderr


def test_a_closed_standard_output_does_not_undo_a_backup(place: Place) -> None:
    closing = ("sh", "-c", 'exec "$0" -m backupcore.cli "$@" >&-', sys.executable)
    process = place.start("backup", "disk.img", program=closing)
    _, stderr = process.communicate(timeout=WAIT_S)
    assert (process.returncode, stderr) == (0, b"")
    assert place.run("list", "-q").stdout


def test_a_full_standard_output_is_told(place: Place) -> None:
    place.json("backup", "disk.img")
    with Path("/dev/full").open("wb") as full:
        process = place.start("list", stdout=full)
        _, stderr = process.communicate(timeout=WAIT_S)
    assert process.returncode == 7
    assert stderr.startswith(b"backupcore: standard output: ")


def test_a_terminal_gets_bars_and_no_volume(place: Place) -> None:
    place.json("backup", "disk.img")
    ours, theirs = pty.openpty()
    refused = place.start("restore", "latest", "-", stdout=theirs)
    assert b"terminal" in refused.communicate(timeout=WAIT_S)[1]
    assert refused.returncode == 2
    drawing = place.start("backup", "disk.img", "--full", stderr=theirs)
    drawing.communicate(timeout=WAIT_S)
    os.close(theirs)
    shown = os.read(ours, 1 << 16)
    os.close(ours)
    assert b"backup" in shown
    assert b"100%" in shown


def test_without_the_extra_one_line_says_what_to_install() -> None:
    script = "import sys; sys.modules['click'] = None\nfrom backupcore.cli import main\nmain()"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "pip install 'backupcore[cli]'" in done.stderr


def test_help_loads_no_tables_and_no_bars() -> None:
    script = (
        "import sys\nfrom backupcore.cli.tree import commands\n"
        "try:\n    commands.main(['--help'])\nexcept SystemExit:\n    pass\n"
        "assert 'rich.table' not in sys.modules and 'rich.progress' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)


def test_a_shell_completes_commands(place: Place) -> None:
    place.environment.update(
        _BACKUPCORE_COMPLETE="bash_complete", COMP_WORDS="backupcore res", COMP_CWORD="1"
    )
    process = place.start()
    stdout, _ = process.communicate(timeout=WAIT_S)
    assert stdout.split() == [b"plain,restore"]
