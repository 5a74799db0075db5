"""What is promised of snapshots of image files: blocks shared, or data copied."""

from __future__ import annotations

import mmap
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from backupcore.errors import (
    BackupError,
    NotFound,
    Refused,
    Stopped,
    TargetBusy,
    TargetError,
    VolumeChanged,
)
from backupcore.provider import Access, ProvidedVolume
from backupcore.provider.directory import DirectoryProvider, Snapshots
from tests.provider.conftest import content_of, content_of_snapshot, names

MIB = 1 << 20
SNAPSHOTS = ".snapshots"

During = Callable[[Callable[[], None]], None]


@pytest.fixture
def during_the_copy(monkeypatch: pytest.MonkeyPatch, no_sharing: None) -> During:
    """What makes something happen once, after the first bytes were copied."""
    real = os.copy_file_range
    deeds: list[Callable[[], None]] = []

    def copy(source: int, target: int, count: int, *offsets: int) -> int:
        copied = real(source, target, min(count, 4096), *offsets)
        if deeds:
            deeds.pop()()
        return copied

    monkeypatch.setattr(os, "copy_file_range", copy)
    return deeds.append


def used_bytes(path: Path) -> int:
    return path.stat().st_blocks * 512


def make_sparse(path: Path) -> bytes:
    """Write a file of data, a hole, data and a hole; return its content."""
    content = os.urandom(MIB) + bytes(8 * MIB) + os.urandom(MIB + 1) + bytes(6 * MIB)
    with path.open("wb") as file:
        file.write(content[:MIB])
        file.seek(9 * MIB)
        file.write(content[9 * MIB : 10 * MIB + 1])
        file.truncate(len(content))
    return content


def test_a_snapshot_lies_beside_its_volume_under_both_names(
    folder: Path, provider: DirectoryProvider
) -> None:
    (folder / "a@b").write_bytes(b"content")
    (folder / "a").write_bytes(b"other")
    taken = provider.snapshot("a@b", "one")
    assert taken == "a@b@one"
    assert names(folder / SNAPSHOTS) == [taken]
    assert list(provider.list_snapshots("a@b")) == [ProvidedVolume(taken, 7, "one")]
    assert list(provider.list_snapshots("a")) == []
    assert stat.S_IMODE((folder / SNAPSHOTS).stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / SNAPSHOTS / taken).stat().st_mode) == 0o600


def test_what_else_lies_among_the_snapshots_is_none(
    folder: Path, provider: DirectoryProvider
) -> None:
    (folder / "a").write_bytes(b"content")
    (folder / SNAPSHOTS).mkdir()
    for name in ("a", "a@", "@one", "a@two words", ".a@one"):
        (folder / SNAPSHOTS / name).write_bytes(b"x")
    (folder / SNAPSHOTS / "a@link").symlink_to("../a")
    (folder / SNAPSHOTS / "a@folder").mkdir()
    assert list(provider.list_snapshots("a")) == []
    for name in ("a", "a@", "@one", "a@two words", ".a@one"):
        with pytest.raises(Refused, match="is no snapshot of provider local"):
            provider.open_snapshot(name)
    for name in ("a@link", "a@folder"):
        with pytest.raises(Refused, match=rf"{SNAPSHOTS}/{name}: is "):
            provider.open_snapshot(name)
    with pytest.raises(NotFound, match=rf"{SNAPSHOTS}/a@none: does not exist"):
        provider.open_snapshot("a@none")


def test_a_folder_of_snapshots_that_is_a_link_is_not_followed(
    folder: Path, provider: DirectoryProvider
) -> None:
    (folder / "a").write_bytes(b"content")
    (outside := folder.parent / "outside").mkdir()
    (folder / SNAPSHOTS).symlink_to(outside)
    with pytest.raises(Refused, match="a link, which is not followed"):
        provider.snapshot("a", "one")
    with pytest.raises(Refused, match="a link, which is not followed"):
        provider.delete("a")
    assert names(outside) == []


def test_a_volume_with_a_snapshot_stays(folder: Path, provider: DirectoryProvider) -> None:
    (folder / "a").write_bytes(b"content")
    provider.snapshot("a", "one")
    with pytest.raises(TargetBusy, match="a: has snapshot a@one: delete that first"):
        provider.delete("a")
    assert content_of(provider, "a") == b"content"


def test_a_snapshot_outlives_a_volume_that_is_removed_by_hand(
    folder: Path, provider: DirectoryProvider
) -> None:
    (folder / "a").write_bytes(b"content")
    taken = provider.snapshot("a", "one")
    (folder / "a").unlink()
    assert content_of_snapshot(provider, taken) == b"content"


def test_a_name_that_gets_too_long_is_refused_and_leaves_nothing(
    folder: Path, provider: DirectoryProvider
) -> None:
    (folder / ("a" * 250)).write_bytes(b"content")
    with pytest.raises(Refused, match="is too long a name here: shorten it"):
        provider.snapshot("a" * 250, "monday")
    assert names(folder / SNAPSHOTS) == []


def test_shared_blocks_take_no_room(shared_folder: Path) -> None:
    content = make_sparse(shared_folder / "a")
    os.sync()  # what is not on the disk yet takes no room yet
    before = os.statvfs(shared_folder)
    with DirectoryProvider("local", str(shared_folder), snapshots=Snapshots.SHARED) as provider:
        assert provider.has_snapshots
        taken = provider.snapshot("a", "one")
        after = os.statvfs(shared_folder)
        assert (before.f_bfree - after.f_bfree) * before.f_frsize < MIB
        assert content_of_snapshot(provider, taken) == content


def test_shared_blocks_are_one_point_in_time_whoever_writes(shared_folder: Path) -> None:
    """A writer counts up at both ends, so the first is never behind, nor ahead by more than one."""
    size_bytes, is_done = 8 * MIB, threading.Event()
    with DirectoryProvider("local", str(shared_folder)) as provider:
        place = provider.create("a", size_bytes)
        (shared_folder / place).write_bytes(os.urandom(size_bytes))
        descriptor = os.open(shared_folder / place, os.O_RDWR)
        os.pwrite(descriptor, bytes(8), 0)
        os.pwrite(descriptor, bytes(8), size_bytes - 8)

        def count() -> None:
            number = 0
            while not is_done.is_set():
                number += 1
                os.pwrite(descriptor, number.to_bytes(8, "big"), 0)
                os.pwrite(descriptor, number.to_bytes(8, "big"), size_bytes - 8)

        writer = threading.Thread(target=count)
        writer.start()
        try:
            frozen = [
                content_of_snapshot(provider, provider.snapshot(place, f"s{number}"))
                for number in range(20)
            ]
        finally:
            is_done.set()
            writer.join()
            os.close(descriptor)
    ends = [(int.from_bytes(each[:8], "big"), int.from_bytes(each[-8:], "big")) for each in frozen]
    assert all(first - last in (0, 1) for first, last in ends)
    assert len(set(ends)) > 1


def test_a_file_system_that_cannot_share_claims_no_snapshots_when_told_to_share(
    small_folder: Path,
) -> None:
    with DirectoryProvider("local", str(small_folder), snapshots=Snapshots.SHARED) as provider:
        assert not provider.has_snapshots
        (small_folder / "a").write_bytes(b"content")
        with pytest.raises(Refused, match=r"cannot share blocks: keep volumes on XFS or Btrfs"):
            provider.snapshot("a", "one")
        assert names(small_folder / SNAPSHOTS) == []


def test_a_folder_where_sharing_cannot_be_tried_may_share_all_the_same(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def open_named(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(95, "Operation not supported")
        return real(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", open_named)
    with DirectoryProvider("local", str(folder), snapshots=Snapshots.SHARED) as provider:
        assert provider.has_snapshots


def test_sharing_that_fails_is_no_reason_to_copy(
    folder: Path, provider: DirectoryProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    (folder / "a").write_bytes(b"content")
    monkeypatch.setattr("fcntl.ioctl", fail)
    with pytest.raises(TargetError, match="a@one: no room: make some"):
        provider.snapshot("a", "one")
    assert names(folder / SNAPSHOTS) == []


def test_snapshots_that_are_not_wanted_are_not_claimed(folder: Path) -> None:
    with DirectoryProvider("local", str(folder), snapshots=Snapshots.NONE) as provider:
        assert not provider.has_snapshots


@pytest.mark.usefixtures("no_sharing")
def test_a_copy_has_the_same_bytes_and_holes(folder: Path, provider: DirectoryProvider) -> None:
    content = make_sparse(folder / "a")
    taken = provider.snapshot("a", "one")
    assert content_of_snapshot(provider, taken) == content
    assert used_bytes(folder / SNAPSHOTS / taken) <= used_bytes(folder / "a") + MIB // 4


@pytest.mark.usefixtures("no_sharing")
def test_a_copy_of_holes_only_takes_no_room(folder: Path, provider: DirectoryProvider) -> None:
    taken = provider.snapshot(provider.create("a", 1 << 40), "one")
    status = (folder / SNAPSHOTS / taken).stat()
    assert status.st_size == 1 << 40
    assert status.st_blocks * 512 < MIB


@pytest.mark.usefixtures("no_sharing")
@pytest.mark.parametrize("answer", [0, OSError(22, "Invalid argument"), OSError(18, "Cross-link")])
def test_data_is_copied_by_hand_where_the_kernel_cannot(
    folder: Path,
    provider: DirectoryProvider,
    monkeypatch: pytest.MonkeyPatch,
    answer: int | OSError,
) -> None:
    def cannot(*_: int) -> int:
        if isinstance(answer, OSError):
            raise answer
        return answer

    monkeypatch.setattr(os, "copy_file_range", cannot)
    content = make_sparse(folder / "a")
    assert content_of_snapshot(provider, provider.snapshot("a", "one")) == content


def check_change_is_noticed(
    folder: Path, provider: DirectoryProvider, during: During, change: Callable[[Path], None]
) -> None:
    path = folder / "a"
    path.write_bytes(os.urandom(64 * 1024))
    during(lambda: change(path))
    with pytest.raises(VolumeChanged, match=r"a: was written to while it was copied.*XFS, Btrfs"):
        provider.snapshot("a", "one")
    assert names(folder / SNAPSHOTS) == []


def overwrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"changed")


def overwrite_and_set_the_time_back(path: Path) -> None:
    before = path.stat()
    overwrite(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def cut_off(path: Path) -> None:
    os.truncate(path, 100)


@pytest.mark.parametrize("change", [overwrite, overwrite_and_set_the_time_back, cut_off])
def test_a_volume_that_is_written_to_while_it_is_copied_is_no_point_in_time(
    folder: Path,
    provider: DirectoryProvider,
    during_the_copy: During,
    change: Callable[[Path], None],
) -> None:
    check_change_is_noticed(folder, provider, during_the_copy, change)


def test_a_store_into_a_mapping_while_it_is_copied_is_noticed(
    folder: Path, provider: DirectoryProvider, during_the_copy: During
) -> None:
    path = folder / "a"
    path.write_bytes(bytes(64 * 1024))
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapping:
        mapping[0] = 1  # the page is writable from now on, until it is flushed

        def store() -> None:
            mapping[1] = 2

        during_the_copy(store)
        with pytest.raises(VolumeChanged, match="was written to while it was copied"):
            provider.snapshot("a", "one")


def test_a_volume_that_was_written_a_moment_ago_can_be_copied(
    provider: DirectoryProvider, no_sharing: None
) -> None:
    place = provider.create("a", 4096)
    for number in range(5):
        with provider.open(place, Access.WRITE) as volume:
            volume.write(0, bytes([number]))
            volume.finish()
        taken = provider.snapshot(place, f"s{number}")
        assert content_of_snapshot(provider, taken)[0] == number


@pytest.mark.usefixtures("no_sharing")
def test_a_copy_without_room_is_told_and_leaves_nothing(small_folder: Path) -> None:
    (small_folder / "a").write_bytes(os.urandom(200 * 1024))
    with DirectoryProvider("small", str(small_folder)) as provider:
        with pytest.raises(TargetError, match=rf"{SNAPSHOTS}/a@one: no room: make some"):
            provider.snapshot("a", "one")
        assert names(small_folder / SNAPSHOTS) == []
        assert content_of(provider, "a") == (small_folder / "a").read_bytes()


def test_a_copy_ends_when_the_provider_is_closed(
    folder: Path, provider: DirectoryProvider, during_the_copy: During
) -> None:
    (folder / "a").write_bytes(os.urandom(64 * 1024))
    during_the_copy(provider.close)
    with pytest.raises(Stopped, match="provider was closed while it copied"):
        provider.snapshot("a", "one")
    assert names(folder / SNAPSHOTS) == []


def test_a_volume_that_is_being_frozen_is_neither_written_nor_deleted(
    folder: Path, provider: DirectoryProvider, during_the_copy: During
) -> None:
    (folder / "a").write_bytes(os.urandom(64 * 1024))
    seen: list[BackupError] = []

    def meddle() -> None:
        for attempt in (lambda: provider.open("a", Access.WRITE), lambda: provider.delete("a")):
            with pytest.raises(TargetBusy) as caught:
                attempt()
            seen.append(caught.value)

    during_the_copy(meddle)
    provider.snapshot("a", "one")
    assert len(seen) == 2


def test_two_snapshots_of_a_volume_can_be_made_at_once(
    folder: Path, provider: DirectoryProvider, during_the_copy: During
) -> None:
    content = os.urandom(64 * 1024)
    (folder / "a").write_bytes(content)
    taken: list[str] = []
    during_the_copy(lambda: taken.append(provider.snapshot("a", "two")))
    taken.append(provider.snapshot("a", "one"))
    assert taken == ["a@two", "a@one"]
    assert [each.name for each in provider.list_snapshots("a")] == ["one", "two"]
    assert content_of_snapshot(provider, "a@two") == content
