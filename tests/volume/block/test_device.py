"""What is read from the tables of the system, on tables that a test writes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from backupcore.volume import device
from tests.volume.block.conftest import FakeSystem

NUMBER = os.makedev(8, 17)


class TestMounts:
    def test_only_file_systems_of_exactly_this_device_count(self, system: FakeSystem) -> None:
        system.mount(
            "1 2 8:17 / /data rw,relatime shared:1 master:2 - ext4 /dev/sdb1 rw,errors=continue",
            "1 2 8:16 / /whole rw - ext4 /dev/sdb rw",
            "1 2 8:1 / /other rw - ext4 /dev/sda1 rw",
        )
        assert device.mount_points(NUMBER) == ["/data"]

    def test_those_that_may_be_written_to_can_be_asked_for(self, system: FakeSystem) -> None:
        system.mount(
            "1 2 8:17 / /frozen ro - ext4 /dev/sdb1 ro",
            "1 2 8:17 / /odd ro,rwish - ext4 /dev/sdb1 ro,rwish",
        )
        assert device.mount_points(NUMBER, is_written=True) == []
        assert device.mount_points(NUMBER) == ["/frozen", "/odd"]

    def test_blanks_in_a_path_are_blanks(self, system: FakeSystem) -> None:
        system.mount(r"1 2 8:17 / /a\040b\134c\011 rw - ext4 /dev/sdb1 rw")
        assert device.mount_points(NUMBER) == ["/a b\\c\t"]

    def test_a_path_mounted_twice_is_told_once(self, system: FakeSystem) -> None:
        system.mount(*["1 2 8:17 / /data rw - ext4 /dev/sdb1 rw"] * 2)
        assert device.mount_points(NUMBER) == ["/data"]

    def test_btrfs_is_found_by_the_device_it_names(
        self, system: FakeSystem, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        system.mount(
            "1 2 0:33 / /pool rw - btrfs /dev/sdb1 rw", "1 2 0:34 / /net rw - nfs host:/x rw"
        )
        monkeypatch.setattr(device, "_number_at", {"/dev/sdb1": NUMBER}.get)
        assert device.mount_points(NUMBER) == ["/pool"]

    def test_a_line_of_another_form_is_passed_over(self, system: FakeSystem) -> None:
        system.mount("", "1 2 8:17", "1 2 8:17 / /data rw - ext4")
        assert device.mount_points(NUMBER) == []

    def test_without_a_table_nothing_is_mounted(self, system: FakeSystem) -> None:
        assert device.mount_points(NUMBER) == []


class TestUse:
    def test_a_partition_that_is_mounted_uses_the_disk(self, system: FakeSystem) -> None:
        system.write("8:16/sdb1/partition", "1")
        system.write("8:16/sdb1/dev", "8:17")
        system.mount("1 2 8:17 / /data rw - ext4 /dev/sdb1 rw")
        assert device.use_text(os.makedev(8, 16)) == "mounted at /data"

    def test_swap_space_is_told(self, system: FakeSystem, monkeypatch: pytest.MonkeyPatch) -> None:
        system.swap("/dev/sdb1")
        monkeypatch.setattr(device, "_number_at", {"/dev/sdb1": NUMBER}.get)
        assert device.use_text(NUMBER) == "swap space"

    def test_devices_on_top_are_named(self, system: FakeSystem) -> None:
        system.write("8:17/holders/md0", "")
        system.write("8:17/holders/dm-3", "")
        assert device.use_text(NUMBER) == "used by dm-3, md0"

    def test_anybody_else_is_another_program(self, system: FakeSystem) -> None:
        assert device.use_text(NUMBER) == "used by another program"


class TestMark:
    @pytest.mark.parametrize("name", ["serial", "device/serial", "wwid", "device/wwid", "dm/uuid"])
    def test_every_kind_of_serial_is_taken(self, system: FakeSystem, name: str) -> None:
        system.write(f"8:17/{name}", "abc ")
        assert device.mark_of(NUMBER) == {name: "abc"}

    def test_a_partition_has_the_marks_of_its_disk(self, system: FakeSystem) -> None:
        system.write("sdb/sdb1/partition", "1")
        system.write("sdb/diskseq", "7")
        os.symlink("sdb/sdb1", system.folder / "block/8:17")
        assert device.mark_of(NUMBER) == {"diskseq": "7"}

    def test_the_file_behind_a_loop_device_counts_where_media_are_not_counted(
        self, system: FakeSystem
    ) -> None:
        system.write("8:17/loop/backing_file", "/srv/disk.img")
        assert device.mark_of(NUMBER) == {"loop/backing_file": "/srv/disk.img"}
        system.write("8:17/diskseq", "7")
        assert device.mark_of(NUMBER) == {"diskseq": "7"}


class TestSectorSize:
    def test_a_partition_has_the_sectors_of_its_disk(self, system: FakeSystem) -> None:
        system.write("sdb/sdb1/partition", "1")
        system.write("sdb/queue/logical_block_size", "4096")
        os.symlink("sdb/sdb1", system.folder / "block/8:17")
        assert device.sector_size(NUMBER) == 4096

    def test_it_is_512_where_nobody_tells(self, system: FakeSystem) -> None:
        assert device.sector_size(NUMBER) == 512


class TestLastingName:
    def test_a_logical_volume_has_one_name_by_whatever_path(self, system: FakeSystem) -> None:
        system.write("8:17/dm/name", "vg0-data")
        for path in ("/dev/dm-3", "/dev/vg0/data", "/dev/disk/by-id/dm-uuid-x"):
            assert device.lasting_name(path, NUMBER) == "/dev/mapper/vg0-data"

    def test_a_link_that_is_made_to_last_is_kept(
        self, system: FakeSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = Path(os.path.realpath(tmp_path))
        monkeypatch.setattr(device, "_LASTING_LINKS", f"{folder}/by-id/")
        (folder / "by-id").mkdir()
        (folder / "sdb").touch()
        (folder / "by-id/ata-1").symlink_to("../sdb")
        (folder / "mine").symlink_to("by-id/ata-1")
        (folder / "plain").symlink_to("sdb")
        names = [
            device.lasting_name(str(folder / name), NUMBER)
            for name in ("by-id/ata-1", "mine", "plain", "sdb")
        ]
        kept, real = f"{folder}/by-id/ata-1", f"{folder}/sdb"
        assert names == [kept, kept, real, real]

    def test_a_link_to_itself_comes_to_an_end(self, system: FakeSystem, tmp_path: Path) -> None:
        (tmp_path / "a").symlink_to("a")
        assert device.lasting_name(str(tmp_path / "a"), NUMBER)


def test_only_block_devices_have_a_number(tmp_path: Path) -> None:
    assert device._number_at(str(tmp_path)) is None
    assert device._number_at(str(tmp_path / "none")) is None
