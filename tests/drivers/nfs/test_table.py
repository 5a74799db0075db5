from __future__ import annotations

import os

import pytest

from backupcore_nfs.machine import Machine
from backupcore_nfs.table import Mount, parse_mounts, topmost

REAL = rb"""22 27 0:21 / /proc rw,nosuid shared:12 - proc proc rw
29 1 254:0 / / rw,relatime shared:1 master:2 - ext4 /dev/vda rw,discard
40 29 0:33 / /mnt/with\040space\134 rw,nosuid - nfs4 nas:/a\040b rw,vers=4.2,acdirmax=5,hard
41 29 0:34 /sub /mnt/part rw,relatime - nfs nas:/export rw,vers=3,nolock
42 29 0:35 / /mnt/empty ro - tmpfs  rw
"""


def mount(options: str) -> Mount:
    (found,) = parse_mounts(f"40 29 0:33 / /mnt rw - nfs4 nas:/export {options}".encode())
    return found


def test_names_in_the_table_are_read_with_their_escapes() -> None:
    found = parse_mounts(REAL)[2]
    assert (found.point, found.source) == ("/mnt/with space\\", "nas:/a b")


def test_a_mount_has_its_device_as_files_on_it_tell_it() -> None:
    assert parse_mounts(REAL)[2].device == os.makedev(0, 33)


def test_a_mount_without_optional_fields_or_source_is_read() -> None:
    found = parse_mounts(REAL)[4]
    assert (found.kind, found.point, found.is_nfs) == ("tmpfs", "/mnt/empty", False)


def test_a_mounted_part_of_an_export_is_named_in_full() -> None:
    assert [found.export for found in parse_mounts(REAL)[2:4]] == ["nas:/a b", "nas:/export/sub"]


def test_the_table_of_this_machine_is_read() -> None:
    assert topmost(Machine().mounts(), "/proc") is not None


def test_of_mounts_on_one_point_the_last_one_is_on_top() -> None:
    table = b"""50 40 0:51 / /mnt rw - nfs4 nas:/new rw
40 29 0:33 / /mnt rw - nfs4 nas:/old rw
"""
    found = topmost(parse_mounts(table), "/mnt")
    assert found is not None
    assert found.source == "nas:/new"


def test_where_nothing_is_mounted_nothing_is_on_top() -> None:
    assert topmost(parse_mounts(REAL), "/mnt") is None


@pytest.mark.parametrize(
    ("options", "lag_s"),
    [
        ("rw,vers=4.2", 60.0),
        ("rw,acregmin=3,acdirmax=600", 600.0),
        ("rw,acdirmax=0", 0.0),
        ("rw,actimeo=7", 7.0),
        ("rw,sync,noac,acdirmax=60", 0.0),
        ("rw,acdirmax=", 60.0),
    ],
)
def test_a_listing_lags_as_long_as_directories_are_cached(options: str, lag_s: float) -> None:
    assert mount(options).list_lag_s == lag_s


@pytest.mark.parametrize(
    ("options", "is_local"),
    [
        ("rw,local_lock=none", False),
        ("rw,vers=3", False),
        ("rw,vers=3,nolock,local_lock=all", True),
        ("rw,local_lock=all", True),
        ("rw,local_lock=flock", True),
        ("rw,local_lock=posix", False),
    ],
)
def test_local_locks_are_recognized(options: str, is_local: bool) -> None:
    assert mount(options).has_local_locks is is_local
