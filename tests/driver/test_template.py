"""The folder to begin a driver with: a copy installs without a network and keeps every promise."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("hatchling", reason="no hatchling: pip install 'backupcore[test]'")

TOP = Path(__file__).parents[2]
TEMPLATE = TOP / "drivers/template"
README_LINES_MAX = 14
# memory where there is some: SQLite syncs each of thousands of objects
FAST = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def run(python: str | Path, *words: str, folder: Path) -> str:
    done = subprocess.run(
        [str(python), *words],
        cwd=folder,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def copy() -> Iterator[Path]:
    """A copy of the folder, and beside it an environment that has it installed in editable mode.

    The environment sees the packages of this one.
    """
    with tempfile.TemporaryDirectory(dir=FAST) as place:
        folder = Path(place) / "driver"
        shutil.copytree(TEMPLATE, folder, ignore=shutil.ignore_patterns("__pycache__", ".*"))
        venv.create(Path(place) / "venv", with_pip=False, symlinks=True)
        python = python_of(folder)
        site = run(python, "-c", "import site; print(site.getsitepackages()[0])", folder=folder)
        seen = [sysconfig.get_path("purelib"), str(TOP), str(TOP / "drivers")]
        lines = "".join(f"import site; site.addsitedir({path!r})\n" for path in seen)
        (Path(site.strip()) / "outer.pth").write_text(lines)
        install = ["install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
        pip = ["-m", "pip", "--disable-pip-version-check", "--python", str(python), *install]
        run(sys.executable, *pip, "--editable", ".", folder=folder)
        yield folder


def python_of(folder: Path) -> Path:
    return folder.parent / "venv/bin/python"


def test_a_copy_keeps_every_promise_by_its_own_tests(copy: Path) -> None:
    place = copy.parent / "base"
    words = ["-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", f"--basetemp={place}"]
    shown = run(python_of(copy), *words, folder=copy)
    skipped = [line for line in shown.splitlines() if line.startswith("SKIPPED")]
    assert len(skipped) == 1, shown  # the largest object is too large to be tried
    assert "object_size_bytes_max" in skipped[0]


def test_what_is_edited_in_a_copy_is_what_is_opened(copy: Path) -> None:
    module = copy / "src/backupcore_example.py"
    program = (
        "from backupcore.driver.registry import open_driver;"
        "print(type(open_driver('example:x').below).__doc__)"
    )
    before = module.read_text(encoding="utf-8")
    module.write_text(before.replace("Objects as rows;", "Objects as edited;"), encoding="utf-8")
    try:
        assert run(python_of(copy), "-c", program, folder=copy).startswith("Objects as edited;")
    finally:
        module.write_text(before, encoding="utf-8")


def test_the_command_line_lists_a_copy(copy: Path) -> None:
    listed = run(python_of(copy), "-m", "backupcore.cli", "drivers", folder=copy)
    assert re.search(r"^driver +example: +backupcore-example 0\.1\.0 ", listed, re.MULTILINE)


def test_what_is_to_be_edited_is_marked() -> None:
    source = (TEMPLATE / "src/backupcore_example.py").read_text(encoding="utf-8")
    assert source.count("EDIT") >= 8


def test_the_readme_is_read_in_a_minute() -> None:
    text = (TEMPLATE / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= README_LINES_MAX
