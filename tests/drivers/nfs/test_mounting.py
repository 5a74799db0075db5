from __future__ import annotations

import gc
import logging
import os
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from backupcore.errors import AccessDenied, Refused, StoreError, Unavailable
from backupcore_nfs.machine import Machine, Outcome
from backupcore_nfs.mounting import MOUNT_S_MAX
from tests.drivers.nfs.machine import EXPORT_URL, SOURCE, FakeMachine, opened


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary folders."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def machine(place: Path) -> FakeMachine:
    return FakeMachine()


def test_an_export_is_mounted_at_a_private_point_and_unmounted_at_the_end(
    machine: FakeMachine, place: Path
) -> None:
    with opened(f"{EXPORT_URL}?vers=4.1&options=soft,timeo=50", machine):
        (command,) = machine.commands
        point = Path(command[-1])
        assert stat.S_IMODE(point.parent.stat().st_mode) == 0o700
        assert point.parent.parent == place.resolve()
    options = "vers=4.1,lookupcache=positive,retry=0,nosuid,nodev,noexec,soft,timeo=50"
    assert command[:-1] == ("mount", "-t", "nfs", "-o", options, SOURCE)
    assert machine.commands[1:] == [("umount", str(point))]
    assert list(place.iterdir()) == []


def test_an_address_of_version_six_is_mounted_in_brackets(machine: FakeMachine) -> None:
    with opened("nfs://[2001:db8::7]:20049/export", machine):
        command = machine.commands[0]
    assert command[-2] == "[2001:db8::7]:/export"
    assert "port=20049" in command[4].split(",")


def test_the_default_is_the_newest_version(machine: FakeMachine) -> None:
    with opened(EXPORT_URL, machine):
        assert machine.commands[0][4].startswith("vers=4.2,hard,lookupcache=positive,")


def test_who_may_not_mount_is_told_of_the_option_for_a_mount(place: Path) -> None:
    machine = FakeMachine(is_root=False)
    with pytest.raises(Refused, match="mount="):
        opened(EXPORT_URL, machine)
    assert (machine.commands, list(place.iterdir())) == ([], [])


FAILURES: list[tuple[str, type[StoreError]]] = [
    ("mount.nfs: access denied by server while mounting server:/export/backups", AccessDenied),
    ("mount.nfs: Operation not permitted", AccessDenied),
    ("mount.nfs: Connection timed out", Unavailable),
    ("mount.nfs: Connection refused", Unavailable),
    ("mount.nfs: No route to host", Unavailable),
    ("mount.nfs: Network is unreachable", Unavailable),
    ("mount.nfs: Failed to resolve server nas: Temporary failure in name resolution", Unavailable),
    ("mount.nfs: Failed to resolve server nas: Name or service not known", StoreError),
    ("mount.nfs: mounting server:/export failed, reason given by server: No such file", StoreError),
    ("mount.nfs: Protocol not supported", StoreError),
    ("mount.nfs: No such device", StoreError),
    ("mount.nfs: rpc.statd is not running but is required for remote locking.", StoreError),
    ("mount: /mnt: bad option; you might need a /sbin/mount.<type> helper program.", StoreError),
    ("mount.nfs: something else", StoreError),
]


@pytest.mark.parametrize(("said", "kind"), FAILURES)
def test_a_failed_mount_says_what_mount_said_and_leaves_nothing(
    machine: FakeMachine, place: Path, said: str, kind: type[StoreError]
) -> None:
    machine.outcomes = [Outcome(32, f"{said}\n")]
    with pytest.raises(StoreError) as caught:
        opened(EXPORT_URL, machine)
    assert caught.type is kind
    assert said in str(caught.value)
    assert str(caught.value).startswith(f"{EXPORT_URL}: ")
    assert list(place.iterdir()) == []


def test_a_mount_that_takes_too_long_is_unavailable(machine: FakeMachine, place: Path) -> None:
    machine.outcomes = [Outcome(None)]
    with pytest.raises(Unavailable, match=f"within {MOUNT_S_MAX:.0f} s"):
        opened(EXPORT_URL, machine)
    assert list(place.iterdir()) == []


def test_what_is_mounted_is_unmounted_when_it_cannot_be_used(
    machine: FakeMachine, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        machine, "show", lambda point, source: FakeMachine.show(machine, point, "other:/export")
    )
    with pytest.raises(Refused, match="other:/export is mounted there"):
        opened(EXPORT_URL, machine)
    assert [command[0] for command in machine.commands] == ["mount", "umount"]
    assert list(place.iterdir()) == []


def test_a_mount_that_is_in_use_is_unmounted_when_its_last_user_is_done(
    machine: FakeMachine, place: Path
) -> None:
    with opened(EXPORT_URL, machine):
        machine.outcomes = [Outcome(32, "umount: target is busy.")]
    assert [command[:-1] for command in machine.commands[1:]] == [("umount",), ("umount", "-l")]
    assert list(place.iterdir()) == []


def test_what_cannot_be_unmounted_is_left_whole_and_told(
    machine: FakeMachine, place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(EXPORT_URL, machine):
        (folder,) = place.iterdir()
        (folder / "mount/config").write_bytes(b"x")
        machine.outcomes = [Outcome(None), Outcome(None)]
    assert (folder / "mount/config").read_bytes() == b"x"
    assert [(record.levelno, record.message) for record in caplog.records] == [
        (logging.ERROR, "an NFS mount is left behind: unmount it")
    ]


def test_closing_twice_unmounts_once(machine: FakeMachine) -> None:
    driver = opened(EXPORT_URL, machine)
    driver.close()
    driver.close()
    assert len(machine.commands) == 2


def test_a_forgotten_driver_unmounts(machine: FakeMachine, place: Path) -> None:
    driver = opened(EXPORT_URL, machine)
    del driver
    gc.collect()
    assert [command[0] for command in machine.commands] == ["mount", "umount"]
    assert list(place.iterdir()) == []


ENDING = """
import os, sys, tempfile
from backupcore_nfs import open_store
from tests.drivers.nfs.machine import EXPORT_URL, FakeMachine, opened
tempfile.tempdir = sys.argv[1]
driver = opened(EXPORT_URL, FakeMachine())
if sys.argv[2] == "forked":
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        print(len(driver._root._machine.commands), os.listdir(sys.argv[1]) != [])
"""


@pytest.mark.parametrize(("how", "said"), [("plain", ""), ("forked", "1 True\n")])
def test_a_process_that_ends_unmounts_its_own_mounts_only(place: Path, how: str, said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ENDING, str(place), how], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.returncode) == (said, 0), done.stderr
    assert list(place.iterdir()) == []


def test_a_command_is_told_to_speak_english() -> None:
    assert Machine().run("sh", "-c", "echo $LC_ALL; exit 3", time_s_max=10) == Outcome(3, "C")


def test_a_command_that_is_not_there_is_a_failure_not_a_crash() -> None:
    assert Machine().run("no-such-command", time_s_max=10).code == 127


def test_a_command_whose_time_is_up_is_killed_with_its_children(tmp_path: Path) -> None:
    script = f"sleep 60 & echo $! > {tmp_path}/child; wait"
    assert Machine().run("sh", "-c", script, time_s_max=1).code is None
    child = int((tmp_path / "child").read_text())
    deadline_s = time.monotonic() + 10
    while Path(f"/proc/{child}/stat").exists() and time.monotonic() < deadline_s:
        if ") Z " in Path(f"/proc/{child}/stat").read_text():
            break
        time.sleep(0.01)
    assert time.monotonic() < deadline_s


def test_root_may_mount_and_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert not Machine().may_mount()
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert Machine().may_mount()
