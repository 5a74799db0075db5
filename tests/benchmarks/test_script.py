"""Each measurement runs from end to end on something small, and leaves nothing behind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backupcore.units import MIB
from benchmarks import churn, demo, limit, sparse

TOP = Path(__file__).resolve().parents[2]


@pytest.fixture
def image(tmp_path: Path) -> Path:
    random = np.random.Generator(np.random.PCG64(1))
    path = tmp_path / "given.img"
    path.write_bytes(random.bytes(3 * MIB) + b"text" * (MIB // 4))
    return path


def results(tmp_path: Path, image: Path) -> dict[str, Any]:
    """Return what was written, after making sure that nothing else was."""
    written: dict[str, Any] = json.loads((tmp_path / "out.json").read_text())
    assert {path.name for path in tmp_path.iterdir()} == {"out.json", image.name}
    return written


def options(tmp_path: Path, image: Path) -> list[str]:
    out = tmp_path / "out.json"
    return ["--folder", str(tmp_path), "--image", str(image), "--json", str(out)]


def test_limit_tells_the_ratio_of_each_pair(tmp_path: Path, image: Path) -> None:
    limit.main([*options(tmp_path, image), "--rounds=2"])
    written = results(tmp_path, image)
    assert set(written["ratios"]) == set(limit.PAIRS)
    assert all(len(values) == 2 for values in written["seconds"].values())


def test_churn_compares_every_chunk_size_and_level(tmp_path: Path, image: Path) -> None:
    churn.main([*options(tmp_path, image), "--chunk-size=16KiB,64KiB", "--level=-1"])
    days = results(tmp_path, image)["days"]
    assert [(day["chunk_size_bytes"], day["level"]) for day in days] == [(16384, -1), (65536, -1)]
    assert all(day["ratio"] > 0 for day in days)


def test_sparse_measures_every_volume_three_times(tmp_path: Path, image: Path) -> None:
    small = ["--size=8MiB", "--file-size=1GiB", "--volume-size=1GiB", "--data=2MiB", "--extents=9"]
    sparse.main([*options(tmp_path, image), *small])
    volumes = results(tmp_path, image)["volumes"]
    assert [len(runs) for runs in volumes.values()] == [3, 3, 3, 3]


def test_demo_ends_with_identical_images(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    demo.main(["--size=20MiB", "--folder", str(tmp_path)])
    assert capsys.readouterr().out.count("identical: ") == 3
    assert not list(tmp_path.iterdir())


def test_demo_fails_when_an_image_differs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "show", lambda folder, size_bytes: ["restored1.img"])
    with pytest.raises(SystemExit, match=r"restored1\.img"):
        demo.main(["--folder", str(tmp_path)])


def test_demo_notes_an_image_that_differs(tmp_path: Path, image: Path) -> None:
    (tmp_path / "disk.img").write_bytes(b"a" * MIB)
    shown = demo.Demo(tmp_path)
    shown.type("init")
    shown.restore("restore", shown.back_up("backup"), "restored.img", image.name)
    assert shown.differing == ["restored.img"]


@pytest.mark.long
def test_every_stage_can_be_measured() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "benchmarks"]
    subprocess.run([*command, "--benchmark-disable"], cwd=TOP, check=True, capture_output=True)
