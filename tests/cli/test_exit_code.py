"""Every exit code of the table, what goes with it on standard error, and the table itself."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from backupcore import errors
from backupcore.cli.exit_code import ExitCode, exit_code_of
from backupcore.cli.verb import inspect
from tests.cli.conftest import Place

TABLE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "exit-codes.md"

# What makes a command end with each code; stopping has tests of its own, with real signals.
CAUSES = {
    ExitCode.WRONG_USE: ("init",),
    ExitCode.NOT_FOUND: ("show", "00000000"),
    ExitCode.STORE: ("init", "-r", "nowhere/store"),
    ExitCode.SOURCE: ("backup", "missing.img"),
    ExitCode.TARGET: ("restore", "latest", "nowhere/new.img"),
}


@pytest.mark.parametrize("code", CAUSES, ids=lambda code: code.name)
def test_an_error_is_one_document_with_its_kind_and_code(place: Place, code: ExitCode) -> None:
    place.json("backup", "disk.img")
    result = place.run(*CAUSES[code], "--json")
    [line] = result.stderr.splitlines()
    error = json.loads(line)["error"]
    assert set(error) == {"kind", "message", "exit_code"}
    assert (result.exit_code, error["exit_code"]) == (code, code)
    assert result.stdout == ""


@pytest.mark.parametrize("code", CAUSES, ids=lambda code: code.name)
def test_an_expected_error_is_one_line_without_a_trace(place: Place, code: ExitCode) -> None:
    place.json("backup", "disk.img")
    result = place.run(*CAUSES[code], "-v")
    last = result.stderr.splitlines()[-1]
    assert result.exit_code == code
    assert last.startswith("backupcore: ")
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("backup",),
        ("backup", "disk.img", "--full", "--base", "latest"),
        ("backup", "disk.img", "--rate-limit", "0"),
        ("backup", "disk.img", "--label", "gold"),
        ("restore", "latest", "new.img", "--extent", "5"),
        ("restore", "latest", "new.img", "--extent", "1:many"),
        ("init", "--chunk-size", "5000", "-r", "other"),
        ("verify", "--volume-id", "one"),
        ("nonsense",),
    ],
    ids=" ".join,
)
def test_wrong_use_ends_with_two(place: Place, arguments: tuple[str, ...]) -> None:
    result = place.run(*arguments, "--json")
    assert result.exit_code == ExitCode.WRONG_USE
    assert json.loads(result.stderr)["error"]["exit_code"] == ExitCode.WRONG_USE


def test_a_missing_repository_option_names_the_variable(place: Place) -> None:
    del place.environment["BACKUPCORE_REPOSITORY"]
    assert "BACKUPCORE_REPOSITORY" in place.run("list").stderr


def test_our_own_bug_ends_with_one_and_asks_to_be_reported(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(url: str) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(inspect, "open_to_read", fail)
    plain, verbose = place.run("list"), place.run("list", "-v")
    assert (plain.exit_code, verbose.exit_code) == (ExitCode.BUG, ExitCode.BUG)
    assert "report" in plain.stderr
    assert "Traceback" not in plain.stderr
    assert "Traceback" in verbose.stderr


def test_the_table_for_people_has_every_code_and_every_branch_of_errors() -> None:
    rows = re.findall(r"^\| (\d+) \| (.+) \|$", TABLE.read_text(encoding="utf-8"), re.MULTILINE)
    told = {int(code): text for code, text in rows}
    assert set(told) == set(ExitCode)
    for branch in errors.BackupError.__subclasses__():
        assert f"`{branch.__name__}`" in told[exit_code_of(branch("x"))]


def test_each_error_has_the_code_of_its_branch() -> None:
    assert exit_code_of(errors.StoreFull("x")) == ExitCode.STORE
    assert exit_code_of(errors.BackupMissing("x")) == ExitCode.NOT_FOUND
    assert exit_code_of(KeyError("x")) == ExitCode.BUG
