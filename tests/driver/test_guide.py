"""The guide's driver is built, installed and proven as a stranger would do it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

pytest.importorskip("hatchling", reason="builds the guide's distribution; extra test")

GUIDE = Path(__file__).parents[2] / "docs/guide/write-a-driver.md"
BLOCK = re.compile(r"^```\w+ file=(\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


# memory where there is some: SQLite syncs each of thousands of objects
FAST = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def run(*command: str, directory: Path, python_path: str = "") -> str:
    environment = {**os.environ, "PYTHONPATH": python_path, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, *command],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the guide, its distribution installed beside them in `site`."""
    place = tmp_path_factory.mktemp("guide")
    source = place / "source"
    source.mkdir()
    for name, text in BLOCK.findall(GUIDE.read_text(encoding="utf-8")):
        (source / name).write_text(text, encoding="utf-8")
    install = ["install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    pip = ["-m", "pip", "--disable-pip-version-check", *install, "--target", str(place / "site")]
    run(*pip, str(source), directory=place)
    (source / "backupcore_sqlite.py").unlink()  # only the installed one shall be found
    return place


def test_the_guides_driver_keeps_every_promise(project: Path) -> None:
    pytest_call = ["-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "-W", "error"]
    options = ["-c", "pyproject.toml", "--rootdir", "."]
    with tempfile.TemporaryDirectory(dir=FAST) as place:
        output = run(
            *pytest_call,
            *options,
            f"--basetemp={place}/base",
            "test_sqlite.py",
            directory=project / "source",
            python_path=str(project / "site"),
        )
    skipped = [line for line in output.splitlines() if line.startswith("SKIPPED")]
    assert len(skipped) == 2, output  # the limit of size is too large to try, ranges not cheap


def test_the_guides_driver_is_found_by_its_scheme(project: Path) -> None:
    program = (
        "from backupcore.driver.registry import driver_schemes; print(driver_schemes()['sqlite'])"
    )
    output = run("-c", program, directory=project, python_path=str(project / "site"))
    assert output.strip() == "backupcore-sqlite 1.0"
