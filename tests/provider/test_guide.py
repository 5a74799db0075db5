"""The guide's providers are installed and proven as a stranger would do it, step by step."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import pytest

GUIDE = Path(__file__).parents[2] / "docs/guide/volume-providers.md"
BLOCK = re.compile(r"^```\w+ file=(?P<file>\S+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
FIRST_LINES_MAX = 26
STEPS = (pytest.param(1, marks=pytest.mark.long), 2)

# memory where there is some: each volume is made durable
FAST = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def read_blocks(file: str) -> list[str]:
    """Return the blocks of the guide that are a file, or what is added to it."""
    found = BLOCK.finditer(GUIDE.read_text(encoding="utf-8"))
    return [block["text"] for block in found if block["file"] == file]


@pytest.fixture(params=STEPS, ids="step-{}".format)
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder with the guide's package, of one step, and its test."""
    [project] = map(tomllib.loads, read_blocks("pyproject.toml"))
    code = read_blocks("backupcore_plain.py")[: request.param]
    assert len(code) == request.param
    (tmp_path / "backupcore_plain.py").write_text("\n\n".join(code))
    (tmp_path / "test_plain.py").write_text(*read_blocks("test_plain.py"))
    about = project["project"]
    info = tmp_path / f"backupcore_plain-{about['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {about['name']}\nVersion: {about['version']}\n"
    )
    [(group, points)] = about["entry-points"].items()
    lines = [f"{kind} = {module}\n" for kind, module in points.items()]
    (info / "entry_points.txt").write_text(f"[{group}]\n{''.join(lines)}")
    return tmp_path


def test_the_first_provider_can_be_taken_in_at_once() -> None:
    first = read_blocks("backupcore_plain.py")[0]
    assert len([line for line in first.splitlines() if line.strip()]) <= FIRST_LINES_MAX


def test_the_guides_provider_keeps_every_promise_after_each_step(
    site: Path,
) -> None:
    options = ["-q", "-rs", "-p", "no:cacheprovider", "-W", "error", "--rootdir", "."]
    with tempfile.TemporaryDirectory(dir=FAST) as place:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *options, f"--basetemp={place}/base", "test_plain.py"],
            cwd=site,
            env={
                **os.environ,
                "PYTHONPATH": str(site),
                "PYTHONDONTWRITEBYTECODE": "1",
                "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            },
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    skipped = set(re.findall(r"not claimed: (.*)", done.stdout))
    is_first = "FreezingProvider" not in (site / "backupcore_plain.py").read_text()
    assert skipped == {"a fixed set of volumes", *(["has_snapshots"] if is_first else [])}
