"""Backups of devices and restores to devices, through the command line and the library."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from backupcore import Progress, backup, create_repository, open_volume
from backupcore.cli.tree import commands
from backupcore.errors import VolumeChanged
from tests.volume.block.conftest import Bay

MIB = 1 << 20
CONTENT = os.urandom(MIB) + bytes(3 * MIB) + os.urandom(MIB + 4096) + bytes(MIB - 4096)

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    environment = {
        "BACKUPCORE_REPOSITORY": str(tmp_path / "store"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    runner = CliRunner()

    def run(*arguments: str) -> Result:
        return runner.invoke(commands, arguments, env=environment)

    assert run("init").exit_code == 0
    return run


def document(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def read(path: str) -> bytes:
    with open(path, "rb") as device:
        return device.read()


@pytest.mark.parametrize("sector_size", [512, 4096])
@pytest.mark.parametrize("direct", [(), ("--direct",)], ids=["cached", "direct"])
def test_a_device_comes_back_on_a_larger_dirty_device(
    bay: Bay, run: Run, sector_size: int, direct: tuple[str, ...]
) -> None:
    source = bay.make(CONTENT, sector_size=sector_size)
    target = bay.make(b"\xa5" * (9 * MIB), sector_size=sector_size)
    done = document(run("backup", source, "--json", *direct))
    assert (done["volume_id"], done["sector_size_bytes"]) == (source, sector_size)
    document(run("restore", "latest", target, "--json"))
    assert read(target) == CONTENT + b"\xa5" * (9 * MIB - len(CONTENT))


def test_an_unchanged_device_stores_nothing_however_it_is_read(bay: Bay, run: Run) -> None:
    source = bay.make(CONTENT)
    run("backup", source)
    again = document(run("backup", source, "--json", "--direct"))
    assert (again["is_incremental"], again["new_bytes"]) == (True, 0)


def test_reading_past_the_page_cache_is_told(bay: Bay, run: Run) -> None:
    source = bay.make(CONTENT)
    assert "read past the page cache" in run("backup", source, "--direct").stdout
    assert "page cache" not in run("backup", source).stdout


def test_a_mounted_target_needs_force(bay: Bay, run: Run) -> None:
    source, target = bay.make(CONTENT), bay.make(bytes(len(CONTENT)))
    bay.mount(target)
    run("backup", source)
    refused = run("restore", "latest", target)
    assert (refused.exit_code, "mounted at" in refused.stderr) == (7, True)
    forced = run("restore", "latest", target, "--force")
    assert (forced.exit_code, "warning: target is in use" in forced.stderr) == (0, True)


def test_a_restore_through_a_link_reaches_the_device(bay: Bay, run: Run, tmp_path: Path) -> None:
    source, target = bay.make(CONTENT), bay.make(b"\xa5" * len(CONTENT))
    (tmp_path / "lv").symlink_to(target)
    run("backup", source)
    document(run("restore", "latest", str(tmp_path / "lv"), "--json"))
    assert read(target) == CONTENT


def test_a_device_is_mended_in_place(bay: Bay, run: Run) -> None:
    source = bay.make(CONTENT)
    run("backup", source)
    with open(source, "r+b") as device:
        for offset in (5, 2 * MIB + 9, 4 * MIB):
            device.seek(offset)
            device.write(b"wrong")
    done = document(run("restore", "latest", source, "--in-place", "--json"))
    assert done["written_bytes"] < 3 * 32768
    assert read(source) == CONTENT


def test_a_name_that_leads_to_another_device_at_the_end_commits_nothing(
    bay: Bay, tmp_path: Path
) -> None:
    first, second = bay.make(CONTENT), bay.make(CONTENT)
    link = tmp_path / "snapshot"
    link.symlink_to(first)

    def swap(progress: Progress) -> None:
        link.unlink(missing_ok=True)
        link.symlink_to(second)

    with create_repository(str(tmp_path / "store")) as repository:
        with open_volume(str(link)) as volume, pytest.raises(VolumeChanged):
            backup(volume, repository, progress=swap)
        assert list(repository.backups()) == []
