from __future__ import annotations

import json
from pathlib import Path

import pytest

from backupcore.cli.exit_code import ExitCode
from tests.cli.conftest import Place

CHUNK = 32 * 1024


@pytest.fixture
def changed(place: Place) -> Path:
    """A disk that was backed up as `monday` and changed in one chunk, and the file that says so."""
    place.disk.write_bytes(bytes(range(256)) * 128 * 40)
    place.json("backup", str(place.disk), "--generation", "monday")
    with place.disk.open("r+b") as disk:
        disk.seek(5 * CHUNK)
        disk.write(b"tuesday")
    file = place.folder / "changed.json"
    file.write_text(json.dumps({"format": 1, "extents": [[5 * CHUNK, 7]], "since": "monday"}))
    return file


def test_a_backup_reads_only_what_the_file_says(place: Place, changed: Path) -> None:
    done = place.json("backup", str(place.disk), "--changed-extents", str(changed))
    assert (done["hint"], done["read_bytes"], done["generation"]) == ("used", CHUNK, None)
    place.json("restore", "latest", str(place.folder / "new.img"))
    assert (place.folder / "new.img").read_bytes() == place.disk.read_bytes()


def test_since_names_the_base_of_a_file_that_does_not(place: Place, changed: Path) -> None:
    changed.write_text(json.dumps([{"offset": 5 * CHUNK, "length": 7, "exists": "true"}]))
    arguments = ("backup", str(place.disk), "--changed-extents", str(changed))
    assert place.json(*arguments, "--since", "monday")["hint"] == "used"
    assert place.run(*arguments).exit_code == ExitCode.WRONG_USE


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--since", "tuesday"), "says what changed since 'monday'"),
        (("--full",), "full backup"),
    ],
)
def test_options_that_contradict_the_file_are_refused(
    place: Place, changed: Path, options: tuple[str, ...], text: str
) -> None:
    result = place.run("backup", str(place.disk), "--changed-extents", str(changed), *options)
    assert result.exit_code == ExitCode.WRONG_USE
    assert text in result.output


def test_since_without_a_file_is_a_mistake_in_usage(place: Place, changed: Path) -> None:
    assert place.run("backup", str(place.disk), "--since", "monday").exit_code == ExitCode.WRONG_USE


def test_a_file_that_left_something_out_is_told(place: Place, changed: Path) -> None:
    place.disk.write_bytes(bytes(reversed(range(256))) * 128 * 40)
    result = place.run("backup", str(place.disk), "--changed-extents", str(changed))
    assert result.exit_code == 0
    assert "everything was read" in result.output
