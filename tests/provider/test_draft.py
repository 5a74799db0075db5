"""What is promised when a process dies while it makes a volume or a snapshot."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from backupcore.errors import TargetBusy, TargetError
from backupcore.provider.directory import DirectoryProvider
from backupcore.provider.directory.draft import Draft, sweep
from backupcore.runtime import Runtime
from tests.provider.conftest import names

SNAPSHOTS = ".snapshots"
LEFTOVER = ".0123456789abcdef0123456789abcdef.partial"
DIE = """
import os, signal, sys
from backupcore.provider.directory import DirectoryProvider

real = os.{call}

def die(*arguments, **options):
    if {after}:
        real(*arguments, **options)
    os.kill(os.getpid(), signal.SIGKILL)

provider = DirectoryProvider("local", sys.argv[1])
os.{call} = die
{deed}
"""


def die_while(folder: Path, deed: str, call: str, *, after: bool = False) -> None:
    """Let a process do something and be killed before or after it makes a call."""
    program = DIE.format(call=call, deed=deed, after=after)
    done = subprocess.run([sys.executable, "-c", program, str(folder)], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL


@pytest.mark.parametrize("call", ["ftruncate", "link"])
def test_a_volume_half_made_is_not_listed_and_is_removed_at_opening(
    folder: Path, provider: DirectoryProvider, call: str
) -> None:
    die_while(folder, "provider.create('new', 1 << 20)", call)
    (leftover,) = names(folder)
    assert leftover.startswith(".")
    assert list(provider.list()) == []
    with DirectoryProvider("other", str(folder)) as other:
        assert names(folder) == []
        other.create("new", 1000)


def test_a_volume_that_got_its_name_is_whole_whatever_follows(folder: Path) -> None:
    die_while(folder, "provider.create('new', 1 << 20)", "link", after=True)
    assert len(names(folder)) == 2
    with DirectoryProvider("other", str(folder)) as other:
        assert names(folder) == ["new"]
        assert (folder / "new").stat().st_nlink == 1
        assert other.show("new").size_bytes == 1 << 20
        with pytest.raises(TargetBusy, match="new: exists"):
            other.create("new", 1000)


def test_a_snapshot_half_made_is_not_listed_and_is_removed_at_opening(
    folder: Path, provider: DirectoryProvider
) -> None:
    (folder / "a").write_bytes(os.urandom(100_000))
    die_while(folder, "provider.snapshot('a', 'one')", "link")
    assert len(names(folder / SNAPSHOTS)) == 1
    assert list(provider.list_snapshots("a")) == []
    with DirectoryProvider("other", str(folder)) as other:
        assert names(folder / SNAPSHOTS) == []
        other.snapshot("a", "one")


def test_what_somebody_is_making_stays(folder: Path, provider: DirectoryProvider) -> None:
    here = os.open(folder, os.O_RDONLY)
    with Draft(here, Runtime()) as draft:
        DirectoryProvider("other", str(folder)).close()
        draft.resize(1000)
        draft.publish("new", "new")
    os.close(here)
    assert names(folder) == ["new"]


def test_hidden_files_of_others_stay(folder: Path) -> None:
    others = [".disk.img.x1y2z3.partial", ".config", f"{LEFTOVER}.txt", f"x{LEFTOVER}"]
    for name in [*others, LEFTOVER]:
        (folder / name).write_bytes(b"x")
    (folder / ".fedcba9876543210fedcba9876543210.partial").symlink_to("x")
    DirectoryProvider("other", str(folder)).close()
    assert set(names(folder)) == {*others, ".fedcba9876543210fedcba9876543210.partial"}


def test_a_folder_where_nothing_can_be_removed_can_be_opened(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / LEFTOVER).write_bytes(b"x")
    (folder / "disk").write_bytes(b"x")

    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "unlink", refuse)
    with DirectoryProvider("local", str(folder)) as provider:
        assert [volume.place for volume in provider.list()] == ["disk"]
        with pytest.raises(TargetError, match="disk: Read-only file system: check owner, mode"):
            provider.delete("disk")


def test_a_maker_that_is_swept_before_it_holds_its_lock_begins_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = os.open(folder, os.O_RDONLY)
    swept: list[str] = []
    real = os.fchmod

    def chmod(descriptor: int, mode: int) -> None:
        if not swept:
            swept.extend(names(folder))
            sweep(here)
        real(descriptor, mode)

    monkeypatch.setattr(os, "fchmod", chmod)
    with Draft(here, Runtime()) as draft:
        draft.resize(1000)
        draft.publish("new", "new")
    os.close(here)
    assert len(swept) == 1
    assert names(folder) == ["new"]


@pytest.mark.parametrize("call", ["fchmod", "fsync", "link"])
def test_a_volume_that_cannot_be_made_leaves_nothing(
    folder: Path, provider: DirectoryProvider, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, call, refuse)
    with pytest.raises(TargetError, match="new: Input/output error"):
        provider.create("new", 1000)
    assert names(folder) == []


def failing_for_folders(real: Callable[[int], None], code: int) -> Callable[[int], None]:
    def sync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(code, os.strerror(code))
        real(descriptor)

    return sync


def test_a_volume_whose_name_is_not_durable_leaves_nothing(
    folder: Path, provider: DirectoryProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", failing_for_folders(os.fsync, 5))
    with pytest.raises(TargetError, match="new: Input/output error"):
        provider.create("new", 1000)
    assert names(folder) == []


def test_a_file_system_that_syncs_no_folders_is_taken_as_it_is(
    folder: Path, provider: DirectoryProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", failing_for_folders(os.fsync, 22))
    provider.create("new", 1000)
    assert names(folder) == ["new"]
