"""What is promised of image files in a folder."""

from __future__ import annotations

import fcntl
import logging
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from backupcore.errors import (
    NotFound,
    Refused,
    SourceError,
    TargetBusy,
    TargetError,
    VolumeShrunk,
)
from backupcore.provider import Access, ProvidedVolume
from backupcore.provider.directory import DirectoryProvider
from backupcore.provider.registry import open_provider
from backupcore.volume import open_volume
from tests.provider.conftest import content_of, names

TIB = 1 << 40


def test_regular_files_directly_in_the_folder_are_its_volumes_in_order(
    folder: Path, provider: DirectoryProvider
) -> None:
    for name in ("b.img", "a.img", "Ärger 2", ".hidden", ".x.partial", "empty", "a\nb"):
        (folder / name).write_bytes(b"" if name == "empty" else b"x" * len(name))
    (folder / "folder").mkdir()
    (folder / "folder" / "below").write_bytes(b"x")
    (folder / "link").symlink_to("a.img")
    os.mkfifo(folder / "pipe")
    (folder / os.fsdecode(b"no-utf8-\xff")).write_bytes(b"x")
    assert list(provider.list()) == [
        ProvidedVolume("a.img", 5, "a.img"),
        ProvidedVolume("b.img", 5, "b.img"),
        ProvidedVolume("Ärger 2", 7, "Ärger 2"),
    ]


def test_a_volume_that_vanishes_while_volumes_are_listed_is_passed_over(
    folder: Path, provider: DirectoryProvider
) -> None:
    for name in ("a", "b", "c"):
        (folder / name).write_bytes(b"x")
    listing = provider.list()
    assert next(listing).place == "a"
    (folder / "b").unlink()
    assert [volume.place for volume in listing] == ["c"]


def test_an_existing_file_is_a_volume_as_it_is(folder: Path, provider: DirectoryProvider) -> None:
    (folder / "disk.img").write_bytes(b"content")
    assert provider.show("disk.img") == ProvidedVolume("disk.img", 7, "disk.img")
    assert content_of(provider, "disk.img") == b"content"


def test_the_identity_is_that_of_the_file_itself(folder: Path, provider: DirectoryProvider) -> None:
    (folder / "disk.img").write_bytes(b"content")
    taken = provider.snapshot("disk.img", "one")
    with (
        open_volume(str(folder / "disk.img")) as file,
        provider.open("disk.img") as volume,
        provider.open_snapshot(taken) as snapshot,
    ):
        assert volume.identity == snapshot.identity == file.identity


def test_the_identity_is_the_same_by_whatever_link_the_folder_is_reached(folder: Path) -> None:
    (folder / "disk.img").write_bytes(b"content")
    (link := folder.parent / "link").symlink_to(folder)
    with (
        DirectoryProvider("one", str(folder)) as one,
        DirectoryProvider("two", str(link)) as two,
        one.open("disk.img") as volume,
        two.open("disk.img") as same,
    ):
        assert volume.identity == same.identity


def test_a_new_volume_is_sparse_and_its_owners_only(
    folder: Path, provider: DirectoryProvider
) -> None:
    before = os.umask(0)
    try:
        place = provider.create("new", TIB)
    finally:
        os.umask(before)
    status = (folder / place).stat()
    assert (status.st_size, stat.S_IMODE(status.st_mode), status.st_nlink) == (TIB, 0o600, 1)
    assert status.st_blocks * 512 < 1 << 20


def test_a_new_volume_never_takes_the_place_of_anything(
    folder: Path, provider: DirectoryProvider
) -> None:
    (folder / "file").write_bytes(b"mine")
    (folder / "link").symlink_to("nowhere")
    (folder / "folder").mkdir()
    for name in ("file", "link", "folder"):
        with pytest.raises(TargetBusy, match=f"{folder}/{name}: exists.*choose another name"):
            provider.create(name, 100)
    assert (folder / "file").read_bytes() == b"mine"
    assert names(folder) == ["file", "folder", "link"]


def test_a_size_that_the_file_system_cannot_hold_leaves_nothing(
    folder: Path, provider: DirectoryProvider
) -> None:
    with pytest.raises(TargetError, match=rf"{folder}/new: "):
        provider.create("new", (1 << 63) - 1)
    assert names(folder) == []


def test_a_new_volume_without_room_is_told_and_leaves_nothing(small_folder: Path) -> None:
    made: list[str] = []

    def make_too_many(provider: DirectoryProvider) -> None:
        for number in range(9):
            made.append(provider.create(f"v{number}", 1000))  # noqa: PERF401 - kept when it fails

    with DirectoryProvider("small", str(small_folder)) as provider:
        with pytest.raises(TargetError, match=r"small/v\d: no room: make some \(No space left"):
            make_too_many(provider)
        assert made
        assert names(small_folder) == made


def test_what_is_written_when_the_room_ends_is_told(small_folder: Path) -> None:
    with DirectoryProvider("small", str(small_folder)) as provider:
        place = provider.create("new", 1 << 20)
        with (
            provider.open(place, Access.WRITE) as volume,
            pytest.raises(TargetError, match=r"no room at offset .*make room"),
        ):
            volume.write(0, bytes(1 << 20))


def test_a_link_is_never_followed(folder: Path, provider: DirectoryProvider) -> None:
    (outside := folder.parent / "outside").write_bytes(b"secret")
    (folder / "link").symlink_to(outside)
    for attempt in (provider.show, provider.open, lambda place: provider.snapshot(place, "one")):
        with pytest.raises(Refused, match="link: is a symbolic link, which is not followed"):
            attempt("link")
    with pytest.raises(Refused, match="is a symbolic link"):
        provider.open("link", Access.WRITE)
    with pytest.raises(Refused, match="is a symbolic link"):
        provider.delete("link")
    assert names(folder) == ["link"]


def test_what_is_no_file_is_no_volume(folder: Path, provider: DirectoryProvider) -> None:
    (folder / "folder").mkdir()
    os.mkfifo(folder / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(folder / "socket"))
    for name in ("folder", "pipe", "socket"):
        for access in (Access.READ, Access.WRITE):
            with pytest.raises(Refused, match=f"{folder}/{name}: "):
                provider.open(name, access)
        with pytest.raises(Refused, match=f"{folder}/{name}: "):
            provider.show(name)
        with pytest.raises(Refused, match=f"{folder}/{name}: "):
            provider.delete(name)
    assert names(folder) == ["folder", "pipe", "socket"]


@pytest.mark.parametrize("place", ["..", ".hidden", "a/b", "/etc/passwd", "../volumes/a"])
def test_what_is_no_name_of_a_file_here_is_refused(
    folder: Path, provider: DirectoryProvider, place: str
) -> None:
    (folder / ".hidden").write_bytes(b"x")
    attempts: list[Callable[[str], object]] = [
        provider.show,
        provider.open,
        provider.delete,
        lambda place: next(provider.list_snapshots(place)),
    ]
    for attempt in attempts:
        with pytest.raises(Refused, match=f"is no volume of provider local: .* {folder}, without"):
            attempt(place)
    with pytest.raises(Refused, match="is no snapshot of provider local"):
        provider.open_snapshot(f"{place}@one")
    assert names(folder) == [".hidden"]


def test_an_empty_file_is_no_volume_and_can_be_deleted(
    folder: Path, provider: DirectoryProvider
) -> None:
    (folder / "empty").touch()
    for access in (Access.READ, Access.WRITE):
        with pytest.raises(NotFound, match="is empty: a volume has at least one byte"):
            provider.open("empty", access)
    provider.delete("empty")
    assert names(folder) == []


def test_a_volume_that_is_written_to_is_nobody_elses(
    folder: Path, provider: DirectoryProvider
) -> None:
    place = provider.create("new", 1000)
    with provider.open(place, Access.WRITE):
        for attempt in (
            lambda: provider.open(place, Access.WRITE),
            lambda: provider.snapshot(place, "one"),
            lambda: provider.delete(place),
        ):
            with pytest.raises(TargetBusy, match=f"{folder}/new: is in use: it is written"):
                attempt()
        provider.open(place).close()
    provider.open(place, Access.WRITE).close()
    provider.delete(place)


def test_a_volume_that_is_deleted_can_be_read_to_its_end(provider: DirectoryProvider) -> None:
    place = provider.create("new", 1000)
    with provider.open(place) as volume:
        provider.delete(place)
        volume.read_into(0, bytearray(1000))


def test_a_volume_that_is_deleted_while_it_is_opened_is_not_written_to(
    folder: Path, provider: DirectoryProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, real = provider.create("new", 1000), fcntl.flock

    def lock(descriptor: int, operation: int) -> None:
        (folder / place).unlink()
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", lock)
    with pytest.raises(NotFound, match="new: was deleted a moment ago"):
        provider.open(place, Access.WRITE)


def test_a_volume_outlives_its_provider(provider: DirectoryProvider) -> None:
    with provider.open(provider.create("new", 1000)) as volume:
        provider.close()
        volume.read_into(0, bytearray(1000))


def test_a_closed_provider_opens_nothing(provider: DirectoryProvider) -> None:
    place = provider.create("new", 1000)
    provider.close()
    provider.close()
    with pytest.raises(Refused, match="the provider is closed"):
        provider.open(place)


def test_a_file_that_is_cut_off_is_noticed_by_who_reads_it(
    folder: Path, provider: DirectoryProvider
) -> None:
    place = provider.create("new", 1000)
    with provider.open(place) as volume:
        os.truncate(folder / place, 10)
        with pytest.raises(VolumeShrunk):
            volume.read_into(0, bytearray(1000))


def test_a_folder_that_is_missing_is_told(folder: Path) -> None:
    with pytest.raises(NotFound, match=f"{folder}/none: does not exist: .* mounted"):
        DirectoryProvider("local", str(folder / "none"))


def test_a_folder_that_is_a_file_is_told(folder: Path) -> None:
    (folder / "file").touch()
    with pytest.raises(Refused, match=f"{folder}/file: it or what it lies in is no directory"):
        DirectoryProvider("local", str(folder / "file"))


def test_opening_makes_nothing(folder: Path) -> None:
    DirectoryProvider("local", str(folder)).close()
    assert names(folder) == []


def test_the_folder_stays_the_one_that_was_opened(
    folder: Path, provider: DirectoryProvider
) -> None:
    place = provider.create("new", 1000)
    folder.rename(folder.parent / "moved")
    folder.mkdir()
    assert provider.show(place).size_bytes == 1000


def test_a_relative_path_begins_at_the_folder_of_the_settings(folder: Path) -> None:
    (folder / "disk").write_bytes(b"x")
    options = {"path": folder.name}
    with open_provider(
        "directory", name="local", options=options, folder=folder.parent
    ) as provider:
        assert provider.show("disk").size_bytes == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "option 'path' is missing: add it to the settings"),
        ({"path": ""}, "option 'path' is an empty or broken text"),
        ({"path": 3}, r"option 'path' is an empty or broken text or no text \(int\)"),
        ({"path": "a", "snapshot": "auto"}, "unknown option 'snapshot': did you mean 'snapshots'"),
        ({"path": "a", "zzz": 1}, "unknown option 'zzz': known are mounted, path, snapshots"),
        ({"path": "a", "snapshots": "yes"}, "snapshots 'yes' is unknown: known are auto, shared"),
    ],
)
def test_options_that_mean_nothing_are_refused_by_name(
    options: dict[str, object], message: str
) -> None:
    with pytest.raises(Refused, match=f"provider local: {message}"):
        open_provider("directory", name="local", options=options)


def test_a_file_that_may_not_be_read_is_a_source_error(
    folder: Path, provider: DirectoryProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "disk").write_bytes(b"x")
    real = os.open

    def denied(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if path == "disk":
            raise PermissionError(13, "Permission denied")
        return real(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", denied)
    with pytest.raises(SourceError, match="disk: Permission denied: check owner, mode and mount"):
        provider.open("disk")
    with pytest.raises(TargetError, match="disk: Permission denied: check owner, mode and mount"):
        provider.open("disk", Access.WRITE)


def test_locks_that_the_file_system_does_not_know_are_done_without(
    provider: DirectoryProvider, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def unknown(descriptor: int, operation: int) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.flock", unknown)
    caplog.set_level(logging.DEBUG)
    place = provider.create("new", 1000)
    provider.open(place, Access.WRITE).close()
    assert "image cannot be locked" in caplog.messages
    provider.delete(place)


def test_a_folder_that_has_to_be_mounted_and_is_not_is_told(folder: Path) -> None:
    options = {"path": str(folder), "mounted": "yes"}
    with pytest.raises(NotFound, match="nothing is mounted there"):
        open_provider("directory", name="local", options=options)


def test_a_folder_that_has_to_be_mounted_and_is_can_be_used(small_folder: Path) -> None:
    options = {"path": str(small_folder), "mounted": "yes"}
    with open_provider("directory", name="local", options=options) as provider:
        assert list(provider.list()) == []
