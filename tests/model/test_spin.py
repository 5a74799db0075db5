"""An independent twin of the core rules, in Promela, searched by Spin with larger bounds."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

PROMELA = Path(__file__).with_name("prune.pml")
HAS_TOOLS = bool(shutil.which("spin") and shutil.which("gcc"))
ONE_EACH = ("NW=1", "NG=1")

# name: (errors that Spin must find, macros)
VARIANTS: dict[str, tuple[int, tuple[str, ...]]] = {
    "naive": (1, ("NO_TOMBS", *ONE_EACH)),
    "no-wait": (1, ("NO_WAIT", *ONE_EACH)),
    "scan-first": (1, ("SCAN_FIRST", *ONE_EACH)),
    "lease-late": (1, ("LEASE_LATE", *ONE_EACH)),
    "unfenced": (1, ("UNFENCED", *ONE_EACH)),
    "ignore-tombs": (1, ("IGNORE_TOMBS", "NG=1")),
    "resurrect": (1, ("RESURRECT",)),
    "protocol-1w1g": (0, ONE_EACH),
    "protocol-2w1g": (0, ("NG=1", "NDEL=3", "NKILL=2")),
    "protocol-1w2g": (0, ("NW=1",)),
    "protocol-2w2g": (0, ()),
}


@pytest.mark.long
@pytest.mark.skipif(not HAS_TOOLS, reason="install it: apt-get install spin gcc")
@pytest.mark.parametrize(("error_count", "macros"), VARIANTS.values(), ids=VARIANTS.keys())
def test_spin_agrees(error_count: int, macros: tuple[str, ...], tmp_path: Path) -> None:
    flags = [f"-D{macro}" for macro in macros]
    _run(["spin", "-a", *flags, str(PROMELA)], tmp_path)
    _run(["gcc", "-O2", "-DSAFETY", "-DCOLLAPSE", "-w", "-o", "pan", "pan.c"], tmp_path)
    report = _run(["./pan", "-m200000", "-w24"], tmp_path)
    found = re.search(r"errors: (\d+)", report)
    assert found, report
    assert "max search depth too small" not in report
    assert int(found[1]) == error_count, report


def _run(command: list[str], folder: Path) -> str:
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=True, timeout=600
    )
    return done.stdout
