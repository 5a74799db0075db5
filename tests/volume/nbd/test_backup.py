"""Whole ways: an image served by a real server, backed up by the command line and restored."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from backupcore.cli.tree import commands
from tests.servers.nbd_server import nbdkit, qemu_img, qemu_nbd, unix_url, write_qcow2
from tests.servers.process import need

MIB = 1 << 20
pytestmark = need("qemu-nbd", "qemu-img", "qemu-io", "nbdkit")


@dataclass(frozen=True, slots=True)
class Machine:
    """A guest's qcow2 image, a repository, and a folder for both."""

    folder: Path
    environment: dict[str, str]

    @property
    def image(self) -> Path:
        return self.folder / "disk.qcow2"

    def run(self, *arguments: str) -> Any:
        """Run a command; return its document."""
        done = CliRunner().invoke(commands, [*arguments, "--json"], env=self.environment)
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    def add_bitmap(self, name: str) -> None:
        qemu_img("bitmap", "--add", str(self.image), name)

    def back_up(self, *options: str, query: str = "", bitmap: str = "") -> Any:
        """Back the image up through a server that exports one of its bitmaps."""
        words = [f"--bitmap={bitmap}"] if bitmap else []
        with qemu_nbd(self.folder, self.image, "--read-only", "--shared=4", *words):
            return self.run("backup", unix_url(self.folder / "qemu.sock", query=query), *options)

    def check_restored(self, backup: Any) -> None:
        """Restore to a raw file and compare with what qemu-img makes of the image."""
        restored, expected = self.folder / "restored.raw", self.folder / "expected.raw"
        restored.unlink(missing_ok=True)
        self.run("restore", backup["id"], str(restored))
        qemu_img("convert", "-f", "qcow2", "-O", "raw", str(self.image), str(expected))
        assert restored.read_bytes() == expected.read_bytes()
        qemu_img("compare", "-f", "raw", "-F", "qcow2", str(restored), str(self.image))


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine with an image of 24 MiB, 9 MiB of it data."""
    environment = {
        "BACKUPCORE_REPOSITORY": str(tmp_path / "store"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    made = Machine(tmp_path, environment)
    raw = tmp_path / "disk.raw"
    with raw.open("wb") as disk:
        disk.write(os.urandom(8 * MIB))
        disk.truncate(24 * MIB)
    qemu_img("convert", "-f", "raw", "-O", "qcow2", str(raw), str(made.image))
    write_qcow2(made.image, "write -P 0xaa 20M 1M")
    made.run("init")
    return made


def test_a_served_image_is_restored_as_qemu_sees_it(machine: Machine) -> None:
    done = machine.back_up()
    assert done["size_bytes"] == 24 * MIB
    assert done["read_bytes"] == 9 * MIB
    machine.check_restored(done)


def test_an_incremental_backup_reads_what_the_bitmap_names(machine: Machine) -> None:
    machine.add_bitmap("monday")
    machine.back_up("--generation", "monday")
    write_qcow2(machine.image, "write -P 0xbb 3M 192k", "write -z 20M 64k", "discard 21M 64k")
    machine.add_bitmap("tuesday")
    done = machine.back_up("--generation", "tuesday", query="&bitmap=monday", bitmap="monday")
    assert done["hint"] == "used"
    assert done["read_bytes"] < 2 * MIB
    machine.check_restored(done)


def test_every_day_goes_from_bitmap_to_bitmap(machine: Machine) -> None:
    machine.add_bitmap("day0")
    machine.back_up("--generation", "day0")
    for day in (1, 2, 3):
        write_qcow2(machine.image, f"write -P {day} {day}M 128k")
        machine.add_bitmap(f"day{day}")
        before = f"day{day - 1}"
        done = machine.back_up(
            "--generation", f"day{day}", query=f"&bitmap={before}", bitmap=before
        )
        assert done["hint"] == "used"
        qemu_img("bitmap", "--remove", str(machine.image), before)
    machine.check_restored(done)


def test_a_missing_bitmap_reads_everything(machine: Machine) -> None:
    machine.add_bitmap("monday")
    machine.back_up("--generation", "monday")
    write_qcow2(machine.image, "write -P 0xbb 3M 192k")
    done = machine.back_up(query="&bitmap=monday")
    assert done["hint"] is None
    assert done["read_bytes"] == 9 * MIB
    machine.check_restored(done)


def test_a_bitmap_of_an_unknown_generation_reads_everything(machine: Machine) -> None:
    machine.back_up()
    machine.add_bitmap("monday")
    write_qcow2(machine.image, "write -P 0xbb 3M 192k")
    done = machine.back_up(query="&bitmap=monday", bitmap="monday")
    assert done["hint"] is None
    machine.check_restored(done)


def test_a_bad_sector_fails_the_backup_and_is_named(machine: Machine) -> None:
    words = ["--filter=error", "memory", "4M", "error-pread=EIO", "error-pread-rate=100%"]
    with nbdkit(machine.folder, "--filter=noextents", *words):
        url = unix_url(machine.folder / "nbdkit.sock")
        done = CliRunner().invoke(commands, ["backup", url], env=machine.environment)
    assert done.exit_code != 0
    assert "sector at offset 0 cannot be read" in done.stderr
