"""The guide's driver is built, installed and proven as a stranger would do it, step by step."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import accumulate
from pathlib import Path

import pytest

from backupcore.driver import Driver, Url
from backupcore.errors import AccessDenied, Refused, StoreError, StoreFull, Unavailable

pytest.importorskip("hatchling", reason="builds the guide's distribution; extra test")

GUIDE = Path(__file__).parents[2] / "docs/guide/write-a-driver.md"
BLOCK = re.compile(
    r"^```\w+ file=(?P<file>\S+)(?: replaces=(?P<name>\S+))?\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
DRIVER = "backupcore_sqlite.py"
FIRST_LINES_MAX = 28
SQLITE_READS_ONLY = 3  # a version of the file format that SQLite reads and does not write

# memory where there is some: SQLite syncs each of thousands of objects
FAST = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def read_blocks() -> Iterator[re.Match[str]]:
    """Yield the blocks of the guide that are a file, or replace a function of one."""
    return BLOCK.finditer(GUIDE.read_text(encoding="utf-8"))


def replace_function(code: str, block: re.Match[str]) -> str:
    """Return the code with the function that a block replaces replaced, as deep as it was."""
    nodes = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.FunctionDef)]
    (found,) = (node for node in nodes if node.name == block["name"])
    first = min([found.lineno, *(node.lineno for node in found.decorator_list)])
    lines = code.splitlines(keepends=True)
    text = textwrap.indent(block["text"], " " * found.col_offset)
    return "".join([*lines[: first - 1], text, *lines[found.end_lineno :]])


def read_steps() -> list[str]:
    """Return the code of the driver after each step of the guide."""
    first, *later = (block for block in read_blocks() if block["file"] == DRIVER)
    return list(accumulate(later, replace_function, initial=first["text"]))


STEPS = read_steps()


def run(*command: str, directory: Path, python_path: str = "") -> str:
    environment = {
        **os.environ,
        "PYTHONPATH": python_path,
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }
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


# The middle ones take long and claim less than the last.
EACH_STEP = [
    pytest.param(
        number,
        id=f"step-{number}",
        marks=[pytest.mark.long] * (0 < number < len(STEPS) - 1),
    )
    for number in range(len(STEPS))
]


@pytest.fixture(scope="module", params=range(len(STEPS)), ids="step-{}".format)
def project(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the guide, the distribution of one step installed beside them in `site`."""
    place = tmp_path_factory.mktemp("guide")
    source = place / "source"
    source.mkdir()
    for block in read_blocks():
        (source / block["file"]).write_text(block["text"], encoding="utf-8")
    (source / DRIVER).write_text(STEPS[request.param], encoding="utf-8")
    install = ["install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    pip = ["-m", "pip", "--disable-pip-version-check", *install, "--target", str(place / "site")]
    run(*pip, str(source), directory=place)
    (source / DRIVER).unlink()  # only the installed one shall be found
    return place


@pytest.fixture
def final(tmp_path: Path) -> Callable[[str], Driver]:
    """What the guide's driver is in the end: its hook, which takes a URL."""
    path = tmp_path / DRIVER
    path.write_text(STEPS[-1], encoding="utf-8")
    specification = importlib.util.spec_from_file_location("backupcore_sqlite", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)

    def open_driver(url: str) -> Driver:
        driver: Driver = module.backupcore_open_driver(Url.parse(url, default_scheme="posix"), {})
        return driver

    return open_driver


@pytest.fixture
def restless(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """SQLite that waits for no lock, and does as it is told at each connection."""
    connect = sqlite3.connect
    told: list[str] = []

    def connect_at_once(path: str, timeout: float) -> sqlite3.Connection:
        connection = connect(path, timeout=0)
        for statement in told:
            connection.execute(statement)
        return connection

    monkeypatch.setattr(sqlite3, "connect", connect_at_once)
    return told.append


def test_the_guide_begins_with_a_driver_that_one_can_take_in_at_once() -> None:
    lines = [line for line in STEPS[0].splitlines() if line.strip()]
    assert next(read_blocks())["file"] == DRIVER
    assert len(lines) <= FIRST_LINES_MAX


@pytest.mark.parametrize("project", EACH_STEP, indirect=True)
def test_the_guides_driver_keeps_every_promise_after_each_step(project: Path) -> None:
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
    assert len(skipped) == 1, output  # ranges are not cheap


def test_the_guides_driver_is_found_by_its_scheme(project: Path) -> None:
    program = (
        "from backupcore.driver.registry import driver_schemes; print(driver_schemes()['sqlite'])"
    )
    output = run("-c", program, directory=project, python_path=str(project / "site"))
    assert output.strip() == "backupcore-sqlite 1.0"


def test_a_locked_store_is_unavailable(
    final: Callable[[str], Driver], restless: Callable[[str], None], tmp_path: Path
) -> None:
    driver = final(f"sqlite:{tmp_path}/store.db")
    driver.put("key", [b"data"])
    with closing(sqlite3.connect(f"{tmp_path}/store.db", timeout=0)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(Unavailable, match=r"store\.db: .*try again later"):
            driver.get("key")


def test_a_store_without_room_is_full(
    final: Callable[[str], Driver], restless: Callable[[str], None], tmp_path: Path
) -> None:
    restless("PRAGMA max_page_count = 8")
    with pytest.raises(StoreFull, match=r"store\.db: .*free some space"):
        final(f"sqlite:{tmp_path}/store.db").put("key", [bytes(100_000)])


def test_a_store_that_may_only_be_read_denies_access(
    final: Callable[[str], Driver], tmp_path: Path
) -> None:
    driver = final(f"sqlite:{tmp_path}/store.db")
    driver.put("key", [b"data"])
    with (tmp_path / "store.db").open("r+b") as file:
        file.seek(18)  # the version that is needed to write, whoever runs this
        file.write(bytes([SQLITE_READS_ONLY]))
    assert driver.get("key") == b"data"
    with pytest.raises(AccessDenied, match=r"store\.db: .*check owner"):
        driver.put("key", [b"other"])


@pytest.mark.parametrize("path", ["no/such/directory/store.db", DRIVER])
def test_a_store_that_cannot_be_opened_is_a_store_error(
    final: Callable[[str], Driver], path: str, tmp_path: Path
) -> None:
    with pytest.raises(StoreError, match="check the file and its directory"):
        final(f"sqlite:{tmp_path}/{path}").get("key")


@pytest.mark.parametrize("url", ["sqlite:", "sqlite://var/backups.db", "sqlite:store.db?size=1"])
def test_a_url_that_names_no_file_is_refused(final: Callable[[str], Driver], url: str) -> None:
    with pytest.raises(Refused):
        final(url)
