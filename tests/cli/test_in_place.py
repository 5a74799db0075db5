"""A restore in place by command: what it changes, what it tells, what it refuses."""

from __future__ import annotations

import os

import pytest

from tests.cli.conftest import Place
from tests.cli.test_verb import documented_fields

CHUNK = 32 << 10
SIZE = 4 << 20


@pytest.fixture
def before(place: Place) -> bytes:
    """Back `disk.img` up, then change two chunks of it; returns what it held."""
    before = place.disk.read_bytes()
    place.json("backup", "disk.img")
    with place.disk.open("r+b") as image:
        image.seek(CHUNK + 5)
        image.write(b"changed")
        image.seek(SIZE - 1)
        image.write(b"\1")
    return before


def test_only_what_differs_is_written(place: Place, before: bytes) -> None:
    done = place.json("restore", "latest", "disk.img", "--in-place")
    assert set(done) == documented_fields("restore")
    assert (done["written_bytes"], done["zeroed_bytes"]) == (CHUNK, CHUNK)
    assert done["equal_bytes"] == done["restored_bytes"] - 2 * CHUNK
    assert place.disk.read_bytes() == before


def test_a_dry_run_tells_what_a_restore_does_then(place: Place, before: bytes) -> None:
    os.utime(place.disk, ns=(10**9, 10**9))
    place.disk.chmod(0o400)
    seen = place.json("restore", "latest", "disk.img", "--in-place", "--dry-run")
    assert set(seen) == documented_fields("restore --dry-run")
    assert (seen["to_write_bytes"], seen["to_zero_bytes"]) == (CHUNK, CHUNK)
    assert (seen["compared_bytes"], seen["equal_bytes"]) == (SIZE, SIZE - 2 * CHUNK)
    assert place.disk.stat().st_mtime_ns == 10**9
    assert place.disk.read_bytes() != before


def test_a_dry_run_is_told_to_people(place: Place, before: bytes) -> None:
    shown = place.run("restore", "latest", "disk.img", "--in-place", "--dry-run").stdout
    assert "would write 32.0 KiB, zero 32.0 KiB and leave 3.94 MiB alone" in shown


def test_an_extent_is_compared_alone(place: Place, before: bytes) -> None:
    options = ("--extent", f"{SIZE - 10}:10", "--in-place")
    foretold = place.json("restore", "latest", "disk.img", *options, "--dry-run")
    assert (foretold["to_write_bytes"], foretold["to_zero_bytes"]) == (0, 10)
    done = place.json("restore", "latest", "disk.img", *options)
    assert (done["restored_bytes"], done["zeroed_bytes"], done["got_bytes"]) == (10, 10, 0)
    assert place.disk.read_bytes()[CHUNK:] != before[CHUNK:]
    assert place.disk.read_bytes()[2 * CHUNK :] == before[2 * CHUNK :]


@pytest.mark.parametrize("options", [("--in-place",), ("--in-place", "--dry-run")])
def test_a_target_that_does_not_exist_is_no_target_in_place(
    place: Place, before: bytes, options: tuple[str, ...]
) -> None:
    result = place.run("restore", "latest", "new.img", *options)
    assert result.exit_code == 7
    assert not (place.folder / "new.img").exists()


@pytest.mark.parametrize(
    ("target", "options"), [("disk.img", ("--dry-run",)), ("-", ("--in-place",))]
)
def test_options_that_do_not_fit_are_wrong_use(
    place: Place, before: bytes, target: str, options: tuple[str, ...]
) -> None:
    result = place.run("restore", "latest", target, *options)
    assert result.exit_code == 2
    assert "--in-place" in result.stderr
