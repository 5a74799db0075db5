"""What is promised of listed block devices, on real ones."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path

import pytest

from backupcore.errors import NotFound, Refused, TargetBusy, VolumeMissing
from backupcore.provider import Access, ProvidedVolume, Provider
from backupcore.provider.registry import open_provider
from backupcore.volume import open_volume
from tests.provider.conftest import content_of
from tests.volume.block.conftest import CONTENT, Bay


def open_devices(**paths: str) -> Provider:
    rows = [{"name": name, "path": path} for name, path in paths.items()]
    return open_provider("devices", name="disks", options={"devices": rows})


def test_listed_devices_are_volumes_with_the_size_that_the_kernel_tells(bay: Bay) -> None:
    with open_devices(web=bay.make(), db=bay.make(bytes(1 << 20))) as provider:
        assert not provider.has_new_volumes
        assert not provider.has_snapshots
        assert list(provider.list()) == [
            ProvidedVolume("db", 1 << 20, "db"),
            ProvidedVolume("web", len(CONTENT), "web"),
        ]
        assert content_of(provider, "web") == CONTENT


def test_the_identity_is_that_of_the_device(bay: Bay, tmp_path: Path) -> None:
    path = bay.make()
    (link := tmp_path / "lv").symlink_to(path)
    with (
        open_devices(db=str(link)) as provider,
        provider.open("db") as volume,
        open_volume(path) as device,
    ):
        assert volume.identity == device.identity


def test_what_is_written_reaches_the_device(bay: Bay) -> None:
    path = bay.make()
    with open_devices(db=path) as provider:
        with provider.open("db", Access.WRITE) as volume:
            volume.write(1000, b"written")
            volume.finish()
        assert content_of(provider, "db")[1000:1007] == b"written"


def test_a_device_that_is_written_to_is_nobody_elses(bay: Bay) -> None:
    with (
        open_devices(db=bay.make()) as provider,
        provider.open("db", Access.WRITE),
        pytest.raises(TargetBusy, match="is in use"),
    ):
        provider.open("db", Access.WRITE)


def test_a_device_that_is_mounted_is_shown_without_a_warning_and_not_written_to(
    bay: Bay, caplog: pytest.LogCaptureFixture
) -> None:
    path = bay.make(bytes(4 << 20))
    bay.mount(path)
    with open_devices(db=path) as provider:
        assert provider.show("db").size_bytes == 4 << 20
        assert not caplog.messages
        provider.open("db").close()
        assert "crash-consistent at best" in caplog.text
        with pytest.raises(TargetBusy, match="mounted at"):
            provider.open("db", Access.WRITE)


def test_only_listed_devices_are_opened(bay: Bay) -> None:
    path = bay.make()
    with open_devices(db=bay.make()) as provider:
        for place in (path, path.removeprefix("/dev/"), "web"):
            for access in (Access.READ, Access.WRITE):
                with pytest.raises(NotFound, match="is listed, only db"):
                    provider.open(place, access)
            with pytest.raises(NotFound, match="provider disks: no device"):
                provider.show(place)


def test_a_listed_path_that_is_no_device_is_not_opened(tmp_path: Path) -> None:
    (image := tmp_path / "image").write_bytes(CONTENT)
    with open_devices(db=str(image)) as provider:
        for attempt in (provider.show, provider.open):
            with pytest.raises(VolumeMissing, match="image: is no block device"):
                attempt("db")
        with pytest.raises(TargetBusy, match="image: is no block device"):
            provider.open("db", Access.WRITE)
    assert image.read_bytes() == CONTENT


def test_devices_that_are_away_are_left_out_with_a_warning(
    bay: Bay, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    empty, there = bay.make_empty(), bay.make()
    with open_devices(a=str(tmp_path / "none"), b=empty, c=there) as provider:
        assert [volume.place for volume in provider.list()] == ["c"]
        records = [record.__dict__ for record in caplog.records]
        assert [record["place"] for record in records] == ["a", "b"]
        assert {record.levelno for record in caplog.records} == {logging.WARNING}
        with pytest.raises(VolumeMissing, match="none: cannot be opened: No such file"):
            provider.show("a")
        with pytest.raises(VolumeMissing, match="is empty"):
            provider.show("b")


def test_making_deleting_and_freezing_say_what_to_do_instead() -> None:
    with open_devices(db=os.devnull) as provider:
        with pytest.raises(Refused, match=r"cannot make new: .* make a device and list it"):
            provider.create("new", 1000)
        with pytest.raises(Refused, match=r"cannot delete db: .* take it off the list"):
            provider.delete("db")
        with pytest.raises(Refused, match="has no snapshots: back up the volume itself"):
            provider.snapshot("db", "one")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "option 'devices' is missing"),
        ({"device": []}, "unknown option 'device': did you mean 'devices'"),
        ({"devices": []}, "devices: give a list of tables with name and path"),
        ({"devices": "/dev/sdb"}, "devices: give a list of tables with name and path"),
        ({"devices": ["/dev/sdb"]}, "device 1: is no table: give it a name and a path"),
        ({"devices": [{"name": "a"}]}, "device 1: option 'path' is missing"),
        ({"devices": [{"name": "a", "path": 1}]}, "device 1: option 'path' is an empty or broken"),
        (
            {"devices": [{"name": "a", "path": "/a", "snapshot": "x"}]},
            "device 1: unknown option 'snapshot': known are name, path",
        ),
        (
            {"devices": [{"name": "a", "path": "/a"}, {"name": "a", "path": "/b"}]},
            "device 2: the name 'a' is taken",
        ),
        ({"devices": [{"name": "a", "path": "sdb"}]}, "device 1: sdb: write the whole path"),
    ],
)
def test_a_list_that_means_nothing_is_refused_by_name(
    options: dict[str, object], message: str
) -> None:
    with pytest.raises(Refused, match=re.escape(f"provider disks: {message}")):
        open_provider("devices", name="disks", options=options)


def test_a_name_that_the_catalog_cannot_keep_is_refused() -> None:
    with pytest.raises(Refused, match="name 'a b' is refused"):
        open_devices(**{"a b": "/dev/sdb"})
