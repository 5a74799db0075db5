"""`map`: the picture of a backup as text, as a document and as SVG."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from backupcore.cli.drawing import picture_svg, picture_text
from backupcore.cli.drawing.shade import Shade, lines
from backupcore.operation.picture import Picture
from backupcore.repository import open_repository
from tests.cli.conftest import Place
from tests.cli.test_verb import REFERENCE, documented_fields

CHUNK = 32 << 10
CELL_COUNT = (4 << 20) // CHUNK
SVG = "{http://www.w3.org/2000/svg}"
WAIT_S = 60.0


@pytest.fixture
def changed(place: Place) -> Place:
    """Two backups: 32 chunks of data and 96 of zeros, then the third chunk changed."""
    place.json("backup", "disk.img", "--name", "monday")
    with place.disk.open("r+b") as image:
        image.seek(70_000)
        image.write(b"changed")
    place.json("backup", "disk.img", "--name", "tuesday")
    return place


def drawn_lines(text: str) -> list[str]:
    """Return the lines that begin with an offset, without it."""
    return re.findall(r"^ *[\d.]+ [KMGT]?i?B ([#+=.-]+)$", text, re.MULTILINE)


def test_a_picture_has_a_character_for_each_cell(changed: Place) -> None:
    latest, before = "==#" + "=" * 29 + "." * 96, "#" * 32 + "." * 96
    drawn = drawn_lines(changed.run("map", "latest").stdout)
    assert drawn == [latest[:70], latest[70:], before[:70], before[70:]]


def test_a_picture_is_ascii_without_colours_and_80_wide_in_a_pipe(changed: Place) -> None:
    changed.environment.update(LANG="C", COLUMNS="200", FORCE_COLOR="1")
    stdout, stderr = changed.start("map", "latest").communicate(timeout=WAIT_S)
    assert stderr == b""
    assert b"\x1b" not in stdout
    assert max(len(line) for line in stdout.decode("ascii").splitlines()) == 80


def test_totals_are_told_in_bytes_and_shares(changed: Place) -> None:
    shown = changed.run("map", "latest").stdout
    assert "new 32.0 KiB (0.8%), inherited 992 KiB (24.2%), zeros 3.00 MiB (75.0%)" in shown


def test_rows_are_as_many_as_were_asked_for(changed: Place) -> None:
    drawn = drawn_lines(changed.run("map", "latest", "--rows", "1").stdout)
    assert [len(line) for line in drawn] == [70, 70]


def test_a_first_backup_has_none_before_it(place: Place) -> None:
    place.json("backup", "disk.img")
    assert "no backup of this volume was there before it" in place.run("map", "latest").stdout
    assert place.json("map", "latest")["before"] is None


def test_a_document_has_the_documented_fields_and_exact_sums(changed: Place) -> None:
    found = changed.json("map", "latest")
    before = found["before"]
    assert set(found) | set(found["buckets"][0]) == documented_fields("map")
    assert set(before) == set(found) - {"before"}
    assert before["id"] == changed.json("list")["backups"][0]["id"]
    assert len(found["buckets"]) == CELL_COUNT
    assert (found["new_bytes"], before["new_bytes"]) == (CHUNK, 32 * CHUNK)
    for picture in (found, before):
        check_sums(picture)


def check_sums(picture: dict[str, Any]) -> None:
    """Check that the parts of a picture follow each other and make its totals."""
    names = ("new_bytes", "inherited_bytes", "zero_bytes")
    offset = 0
    for bucket in picture["buckets"]:
        assert bucket["offset"] == offset
        assert bucket["length"] == sum(bucket[name] for name in names)
        offset += bucket["length"]
    assert offset == picture["size_bytes"] == sum(picture[name] for name in names)
    for name in names:
        assert sum(bucket[name] for bucket in picture["buckets"]) == picture[name]


def test_a_volume_that_shrank_shows_what_lay_beyond_its_end_before(place: Place) -> None:
    place.json("backup", "disk.img")
    os.truncate(place.disk, 1 << 20)
    place.json("backup", "disk.img")
    found = place.json("map", "latest")
    drawn = drawn_lines(place.run("map", "latest").stdout)
    assert (len(found["buckets"]), len(found["before"]["buckets"])) == (32, CELL_COUNT)
    assert [len(line) for line in drawn] == [32, 70, 58]


def test_a_quiet_map_writes_nothing(changed: Place) -> None:
    result = changed.run("map", "latest", "-q")
    assert (result.exit_code, result.output) == (0, "")


def test_an_svg_has_a_rectangle_for_each_bucket(changed: Place) -> None:
    changed.json("map", "latest", "--svg", "map.svg")
    root = ElementTree.fromstring(Path("map.svg").read_text(encoding="utf-8"))
    classes = {
        group.get("class"): [rect.get("class") for rect in group.iter(f"{SVG}rect")]
        for group in root.iter(f"{SVG}g")
    }
    data = ["inherited"] * 2 + ["new"] + ["inherited"] * 29
    assert classes["backup"] == data + ["zero"] * 96
    assert classes["before"] == ["new"] * 32 + ["zero"] * 96
    assert len(classes["legend"]) == 5


def test_a_rectangle_tells_its_bytes(changed: Place) -> None:
    changed.run("map", "latest", "--rows", "1", "--svg", "map.svg")
    root = ElementTree.parse("map.svg").getroot()
    titles = [title.text or "" for title in root.iter(f"{SVG}title")]
    assert titles[0] == f"at 0: 0 bytes new, {CHUNK} inherited, 0 zeros"
    assert len(titles) == 140


def test_names_cannot_break_the_svg_nor_steer_the_terminal(place: Place) -> None:
    place.json("backup", "disk.img", "--name", "<a>&\x1b[2J\nb")
    shown = place.run("map", "latest", "--svg", "map.svg").stdout
    root = ElementTree.parse("map.svg").getroot()
    assert any("<a>&\\x1b[2J\\nb" in (text.text or "") for text in root.iter(f"{SVG}text"))
    assert "<a>&\\x1b[2J\\nb" in shown


def test_an_svg_that_cannot_be_written_ends_with_the_code_of_the_target(changed: Place) -> None:
    result = changed.run("map", "latest", "--svg", "nowhere/map.svg")
    assert (result.exit_code, result.stdout) == (7, "")
    assert "nowhere/map.svg" in result.stderr


def test_a_damaged_map_ends_with_the_code_of_damage(place: Place) -> None:
    done = place.json("backup", "disk.img")
    [pack] = (path for path in (place.folder / "store/map").rglob("*") if path.is_file())
    pack.chmod(0o600)
    pack.write_bytes(b"x" * pack.stat().st_size)
    place.environment["XDG_CACHE_HOME"] = str(place.folder / "empty")
    result = place.run("map", done["id"], "--json")
    error = json.loads(result.stderr.splitlines()[-1])["error"]
    lost = json.loads(place.run("verify", done["id"], "--json").stdout)["losses"][0]
    assert (result.exit_code, error["kind"]) == (4, "MapDamaged")
    assert error["message"] == lost["reason"]


def test_a_backup_that_is_not_there_ends_with_the_code_of_that(place: Place) -> None:
    assert place.run("map", "latest").exit_code == 3
    assert place.run("map", "latest", "--rows", "0").exit_code == 2


def shown_on_terminal(place: Place, **environment: str) -> str:
    """Return what a terminal of 80 columns gets."""
    place.environment.update(TERM="xterm-256color", **environment)
    ours, theirs = pty.openpty()
    process = place.start("map", "latest", stdout=theirs, stderr=subprocess.DEVNULL)
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 1 << 16):
            shown += part
    except OSError:  # how a terminal ends on Linux
        pass
    finally:
        os.close(ours)
    assert process.wait(timeout=WAIT_S) == 0
    return shown.decode("utf-8")


def test_a_terminal_gets_colours_and_its_width(changed: Place) -> None:
    shown = shown_on_terminal(changed, COLUMNS="60")
    plain = re.sub(r"\x1b\[[\d;]*m", "", shown).replace("\r", "")
    assert "\x1b[" in shown
    assert [len(line) for line in drawn_lines(plain)] == [50, 50, 28, 50, 50, 28]


def test_a_terminal_without_colours_gets_the_same_signs(changed: Place) -> None:
    shown = shown_on_terminal(changed, COLUMNS="80", NO_COLOR="1")
    assert "\x1b" not in shown
    assert drawn_lines(shown.replace("\r", "")) == drawn_lines(changed.run("map", "latest").stdout)


def test_each_share_of_new_and_inherited_has_its_sign(changed: Place) -> None:
    with open_repository(changed.environment["BACKUPCORE_REPOSITORY"]) as repository:
        backup = repository.find_backup("latest")
    rows = [(5, 5, 0), (1, 0, 9), (4, 6, 0), (0, 5, 5), (0, 4, 6), (0, 0, 10), (0, 0, 0)]
    offsets = np.arange(0, 10 * len(rows) + 1, 10)
    picture = Picture(backup, offsets, np.array(rows, np.int64))
    [line] = lines(picture, 20)
    assert "".join(shade.sign for shade in line.shades) == "##+=-. "
    assert "##+=-.\n" in picture_text(picture, None, 20, is_terminal=False)
    assert picture_svg(picture, None, 20).count("<rect") == 6 + 5


def test_a_volume_without_bytes_has_a_picture_without_lines(place: Place) -> None:
    place.json("backup", "disk.img")
    with open_repository(place.environment["BACKUPCORE_REPOSITORY"]) as repository:
        backup = replace(repository.find_backup("latest"), size_bytes=0)
    picture = Picture(backup, np.zeros(1, np.int64), np.zeros((0, 3), np.int64))
    text = picture_text(picture, picture, 70, is_terminal=False)
    assert drawn_lines(text) == []
    assert text.count("0 B: new 0 B (0.0%), inherited 0 B (0.0%), zeros 0 B (0.0%)") == 2


def test_the_reference_tells_every_sign() -> None:
    text = (REFERENCE / "cli.md").read_text(encoding="utf-8")
    assert all(f"| `{shade.sign}` |" in text for shade in Shade if shade.meaning)
