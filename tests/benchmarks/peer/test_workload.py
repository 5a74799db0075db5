from __future__ import annotations

from pathlib import Path

import pytest

from backupcore.units import MIB
from benchmarks.image import is_same
from benchmarks.peer.workload import CLONE_COUNT, WORKLOADS, make_workload


@pytest.mark.parametrize("name", WORKLOADS)
def test_later_images_differ_but_have_the_name_and_size_of_the_first(
    tmp_path: Path, name: str
) -> None:
    workload = make_workload(name, None, 16 * MIB, tmp_path)
    assert workload.size_bytes == 16 * MIB
    for source in workload.later:
        assert source.path.name == workload.first.name
        assert source.path.stat().st_size == workload.size_bytes
        assert not is_same(source.path, workload.first)


@pytest.mark.parametrize("name", sorted(set(WORKLOADS) - {"clones"}))
def test_next_day_is_of_the_same_volume(tmp_path: Path, name: str) -> None:
    workload = make_workload(name, None, 4 * MIB, tmp_path)
    volumes = {workload.first_as("day1").volume, *(source.volume for source in workload.later)}
    assert volumes == {"disk"}


def test_clones_are_volumes_of_their_own(tmp_path: Path) -> None:
    workload = make_workload("clones", None, 4 * MIB, tmp_path)
    assert len({source.volume for source in workload.later} - {"disk"}) == CLONE_COUNT


def test_given_image_is_used_and_not_changed(tmp_path: Path) -> None:
    given = tmp_path / "given.img"
    given.write_bytes(b"text" * MIB)
    (tmp_path / "images").mkdir()
    workload = make_workload("os", str(given), 1, tmp_path / "images")
    assert given.read_bytes() == b"text" * MIB
    assert is_same(workload.first, given)
