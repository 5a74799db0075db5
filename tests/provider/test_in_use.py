"""What another program uses is neither overwritten nor deleted, and is shown to be in use."""

from __future__ import annotations

from pathlib import Path

import pytest

from backupcore.errors import TargetBusy
from backupcore.provider import Access
from backupcore.provider.directory import DirectoryProvider
from tests.provider.conftest import content_of, content_of_snapshot, names
from tests.volume.image_user import (
    READER,
    WRITER,
    locked_bytes,
    machine_on,
    opened_by_qemu_io,
    try_qemu_io,
)


@pytest.fixture
def image(folder: Path) -> Path:
    (folder / "disk").write_bytes(b"data" * 4096)
    return folder / "disk"


def refuse_both(provider: DirectoryProvider) -> None:
    with pytest.raises(TargetBusy, match="disk: is in use by another program"):
        provider.open("disk", Access.WRITE)
    with pytest.raises(TargetBusy, match="disk: is in use by another program"):
        provider.delete("disk")


@pytest.mark.parametrize("places", [WRITER, READER], ids=["writer", "reader"])
def test_an_image_that_another_process_uses_is_neither_overwritten_nor_deleted(
    image: Path, provider: DirectoryProvider, places: tuple[int, ...]
) -> None:
    with locked_bytes(image, places):
        refuse_both(provider)
    assert image.exists()
    provider.delete("disk")


def test_an_image_is_shown_in_use_while_another_process_writes_to_it(
    image: Path, provider: DirectoryProvider
) -> None:
    with locked_bytes(image, WRITER):
        assert provider.show("disk").is_in_use
        assert [found.is_in_use for found in provider.list()] == [True]
    assert not provider.show("disk").is_in_use
    assert [found.is_in_use for found in provider.list()] == [False]


def test_an_image_that_another_process_only_reads_is_not_shown_in_use(
    image: Path, provider: DirectoryProvider
) -> None:
    with locked_bytes(image, READER):
        assert not provider.show("disk").is_in_use


def test_an_image_that_is_in_use_can_be_read_and_frozen(
    image: Path, provider: DirectoryProvider
) -> None:
    with locked_bytes(image, WRITER):
        assert content_of(provider, "disk") == image.read_bytes()
        assert content_of_snapshot(provider, provider.snapshot("disk", "one")) == image.read_bytes()


def test_a_machine_keeps_its_image(image: Path, provider: DirectoryProvider) -> None:
    with machine_on(image):
        refuse_both(provider)
        assert provider.show("disk").is_in_use
    assert not provider.show("disk").is_in_use


def test_qemu_io_keeps_its_image(image: Path, provider: DirectoryProvider) -> None:
    with opened_by_qemu_io(image):
        refuse_both(provider)


def test_qemu_does_not_start_on_an_image_that_is_restored_to(
    image: Path, provider: DirectoryProvider
) -> None:
    with provider.open("disk", Access.WRITE):
        refused = try_qemu_io(image)
        assert "lock" in refused.stdout + refused.stderr
    assert image.read_bytes() == b"data" * 4096


def test_a_snapshot_that_is_read_stays_until_it_is_closed(
    image: Path, folder: Path, provider: DirectoryProvider
) -> None:
    taken = provider.snapshot("disk", "one")
    with (
        DirectoryProvider("second", str(folder)) as second,
        provider.open_snapshot(taken),
        provider.open_snapshot(taken),
        pytest.raises(TargetBusy, match="is in use"),
    ):
        second.delete_snapshot(taken)
    provider.delete_snapshot(taken)
    assert names(folder / ".snapshots") == []
