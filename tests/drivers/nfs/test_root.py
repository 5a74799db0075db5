from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backupcore.errors import AccessDenied, ObjectMissing, Refused, Unavailable
from backupcore_nfs import NfsDriver
from backupcore_nfs.machine import Machine
from backupcore_nfs.table import Mount, parse_mounts
from backupcore_posix import PosixDriver
from tests.drivers.failing_call import raising
from tests.drivers.nfs.machine import EXPORT_URL, SOURCE, FakeMachine, line, opened


class MountedMachine(Machine):
    """This machine, on which every tmpfs seems to be an NFS mount."""

    def mounts(self) -> list[Mount]:
        table = Path("/proc/self/mountinfo").read_text().splitlines()
        lines = (text.partition(" - tmpfs ") for text in table)
        shown = (f"{here} - nfs4 {SOURCE} rw" if mark else here for here, mark, _ in lines)
        return parse_mounts("\n".join(shown).encode())


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    """A folder with a file system of its own, until it is unmounted."""
    point = tmp_path.resolve() / "point"
    point.mkdir()
    if os.geteuid():
        pytest.skip("only root may mount: run as root")
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "none", str(point)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"mounting is not allowed here: {done.stderr}")
    try:
        yield point
    finally:
        while unmount(point):
            pass


def unmount(point: Path) -> bool:
    done = subprocess.run(["umount", "-l", str(point)], capture_output=True, check=False)
    return done.returncode == 0


def stale_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the held root be stale the next time it is used."""
    real = os.open
    failures = [OSError(errno.ESTALE, os.strerror(errno.ESTALE))]

    def open_stale(path: str, *given: Any, **named: Any) -> int:
        if path == "." and failures:
            raise failures.pop()
        return real(path, *given, **named)

    monkeypatch.setattr(os, "open", open_stale)


def test_a_mount_that_is_there_is_used_and_kept(folder: Path, machine: FakeMachine) -> None:
    with opened(f"{EXPORT_URL}?mount={folder}", machine) as driver:
        driver.put("config", [b"x"])
    assert (folder / "config").read_bytes() == b"x"
    assert machine.commands == []


def test_a_mount_is_found_through_a_link_to_it(
    folder: Path, tmp_path: Path, machine: FakeMachine
) -> None:
    (tmp_path / "link").symlink_to(folder)
    with opened(f"{EXPORT_URL}?mount={tmp_path}/link", machine) as driver:
        driver.put("config", [b"x"])
    assert (folder / "config").exists()


def test_a_mount_point_may_have_any_name(folder: Path, machine: FakeMachine) -> None:
    point = folder / "a b\\c"
    point.mkdir()
    machine.show(point)
    with opened(f"{EXPORT_URL}?mount={folder}/a%20b%5Cc", machine) as driver:
        driver.put("config", [b"x"])
    assert (point / "config").exists()


def test_a_folder_with_nothing_mounted_is_refused(folder: Path) -> None:
    with pytest.raises(Refused, match="nothing is mounted there"):
        opened(f"{EXPORT_URL}?mount={folder}", FakeMachine())


def test_a_folder_below_the_mount_is_refused(folder: Path, machine: FakeMachine) -> None:
    (folder / "below").mkdir()
    with pytest.raises(Refused, match="nothing is mounted there"):
        opened(f"{EXPORT_URL}?mount={folder}/below", machine)


def test_a_mount_of_something_else_is_refused_by_its_name(folder: Path) -> None:
    machine = FakeMachine()
    machine.lines["x"] = line(folder, "/dev/sdb1", "rw", kind="ext4")
    with pytest.raises(Refused, match="ext4 of /dev/sdb1 is mounted there, no NFS"):
        opened(f"{EXPORT_URL}?mount={folder}", machine)


def test_a_mount_of_another_export_is_refused_by_its_name(folder: Path) -> None:
    machine = FakeMachine()
    machine.show(folder, "server:/export/other")
    with pytest.raises(Refused, match="server:/export/other is mounted there"):
        opened(f"{EXPORT_URL}?mount={folder}", machine)


def test_a_mount_hidden_by_another_file_system_is_refused(
    folder: Path, tmp_path: Path, machine: FakeMachine
) -> None:
    elsewhere = "/proc"  # surely another device
    machine.lines[str(folder)] = line(elsewhere).replace(" /proc ", f" {folder} ")
    with pytest.raises(Refused, match="hides"):
        opened(f"{EXPORT_URL}?mount={folder}", machine)


def test_a_mount_point_that_is_missing_is_refused(tmp_path: Path, machine: FakeMachine) -> None:
    with pytest.raises(Refused, match="no such directory"):
        opened(f"{EXPORT_URL}?mount={tmp_path}/missing", machine)
    assert not (tmp_path / "missing").exists()


@pytest.mark.parametrize(
    "query", ["mount=point", "mount=/mnt&vers=3", "mount=/mnt&options=soft", "mount=/mnt&port=1"]
)
def test_what_would_be_ignored_is_refused(machine: FakeMachine, query: str) -> None:
    with pytest.raises(Refused):
        opened(f"{EXPORT_URL}?{query}", machine)


def test_what_only_the_server_can_create_is_refused(folder: Path, machine: FakeMachine) -> None:
    with pytest.raises(Refused, match="only the server"):
        opened(f"{EXPORT_URL}?mount={folder}&create_container=yes", machine)


def test_a_port_with_a_mount_of_ones_own_is_refused(folder: Path, machine: FakeMachine) -> None:
    with pytest.raises(Refused, match="port"):
        opened(f"nfs://server:2049/export/backups?mount={folder}", machine)


def test_a_mount_on_which_opening_asks_nothing_is_refused(folder: Path) -> None:
    machine = FakeMachine()
    machine.show(folder, options="rw,nocto")
    with pytest.raises(Refused, match="nocto"):
        opened(f"{EXPORT_URL}?mount={folder}", machine)


def test_a_root_one_may_not_open_is_access_denied(
    folder: Path, machine: FakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "open", raising(errno.EACCES))
    with pytest.raises(AccessDenied, match="how the export maps users"):
        opened(f"{EXPORT_URL}?mount={folder}", machine)


def test_opening_creates_nothing(driver: NfsDriver, folder: Path) -> None:
    with pytest.raises(ObjectMissing):
        driver.get("config")
    assert list(driver.list()) == []
    assert list(folder.iterdir()) == []


def test_a_mount_that_went_before_first_use_is_unavailable(
    driver: NfsDriver, folder: Path, machine: FakeMachine
) -> None:
    machine.lines.clear()
    with pytest.raises(Unavailable, match="nothing is mounted there"):
        driver.put("config", [b"x"])
    with pytest.raises(Unavailable):
        driver.get("config")
    with pytest.raises(Unavailable):
        list(driver.list())
    assert list(folder.iterdir()) == []


def test_a_mount_point_that_went_is_unavailable_not_a_missing_object(
    driver: NfsDriver, folder: Path
) -> None:
    folder.rmdir()
    try:
        for call in (driver.get, driver.stat):
            with pytest.raises(Unavailable, match="no such directory"):
                call("config")
        with pytest.raises(Unavailable):
            driver.put("config", [b"x"])
        assert not folder.exists()
    finally:
        folder.mkdir()


def test_a_root_that_went_stale_is_opened_again_when_it_is_the_same_mount(
    driver: NfsDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver.put("register", [b"x"])
    before = len(os.listdir("/proc/self/fd"))
    stale_once(monkeypatch)
    driver.put("other", [b"y"], if_absent=True)
    stale_once(monkeypatch)
    assert driver.get("other") == b"y"
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_root_that_stays_stale_is_unavailable(
    driver: NfsDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver.put("config", [b"x"])
    real = os.open

    def open_stale(path: str, *given: Any, **named: Any) -> int:
        if path == ".":
            raise OSError(errno.ESTALE, "Stale file handle")
        return real(path, *given, **named)

    monkeypatch.setattr(os, "open", open_stale)
    for call in (driver.get, driver.stat):
        with pytest.raises(Unavailable, match="Stale"):
            call("config")


def test_a_stale_root_is_not_replaced_by_the_empty_folder_beneath(
    mounted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(f"{EXPORT_URL}?mount={mounted}", MountedMachine()) as driver:
        driver.put("config", [b"x"])
        unmount(mounted)
        stale_once(monkeypatch)
        with pytest.raises(Unavailable, match="nothing is mounted there"):
            driver.put("manifest", [b"y"])
        stale_once(monkeypatch)
        with pytest.raises(Unavailable):
            driver.get("config")
    assert list(mounted.iterdir()) == []


def test_calls_stay_on_the_mount_that_was_opened_also_when_it_is_detached(mounted: Path) -> None:
    with opened(f"{EXPORT_URL}?mount={mounted}", MountedMachine()) as driver:
        driver.put("config", [b"x"])
        unmount(mounted)
        driver.put("manifest", [b"y"], if_absent=True)
        assert (driver.get("config"), driver.get("manifest")) == (b"x", b"y")
    assert list(mounted.iterdir()) == []


def test_a_mount_that_has_gone_is_refused_when_it_is_opened(mounted: Path) -> None:
    with opened(f"{EXPORT_URL}?mount={mounted}", MountedMachine()) as driver:
        driver.put("config", [b"x"])
    unmount(mounted)
    with pytest.raises(Refused, match="nothing is mounted there"):
        opened(f"{EXPORT_URL}?mount={mounted}", MountedMachine())


def test_a_mount_for_reading_only_can_be_read_and_says_so_at_the_first_put(mounted: Path) -> None:
    (mounted / "config").write_bytes(b"x")
    subprocess.run(["mount", "-o", "remount,ro", str(mounted)], check=True)
    with opened(f"{EXPORT_URL}?mount={mounted}", MountedMachine()) as driver:
        assert driver.get("config") == b"x"
        with pytest.raises(AccessDenied, match="for reading only"):
            driver.put("manifest", [b"y"])


@pytest.mark.parametrize(
    ("options", "kept"), [("rw,local_lock=none", False), ("rw,nolock,local_lock=all", True)]
)
def test_dead_writers_are_cleaned_up_after_only_where_locks_tell_them(
    folder: Path, options: str, kept: bool
) -> None:
    machine = FakeMachine()
    machine.show(folder, options=options)
    (folder / ".temporary").mkdir()
    (folder / ".temporary/dead").write_text("x")
    with opened(f"{EXPORT_URL}?mount={folder}", machine) as driver:
        driver.put("config", [b"x"])
    assert (folder / ".temporary/dead").exists() is kept


def test_a_directory_of_this_machine_is_not_looked_up_again_when_it_goes_stale(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with PosixDriver(str(folder)) as driver:
        driver.put("config", [b"x"])
        stale_once(monkeypatch)
        with pytest.raises(Unavailable, match="Stale"):
            driver.get("config")
        assert driver.get("config") == b"x"
