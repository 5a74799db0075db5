"""What is promised of every provider that is opened by its kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from backupcore.errors import NotFound, ReadOnly, Refused, TargetBusy, UnknownScheme
from backupcore.provider import Access, ProvidedVolume, Provider, Volume, check_place
from backupcore.provider.layer import Checked
from backupcore.provider.registry import open_provider, provider_kinds
from backupcore.volume import open_volume


class Plain(Provider):
    """Claims nothing and knows one volume, which it cannot write to."""

    name = "plain"

    def __init__(self) -> None:
        self.calls: list[str] = []

    def list(self) -> Iterator[ProvidedVolume]:
        yield ProvidedVolume("one", 1 << 20, "one")
        yield ProvidedVolume("two\nlines", 1 << 20, "two")

    def open(self, place: str, access: Access = Access.READ) -> Volume:
        self.show(place)
        self.calls.append(f"open {access}")
        return open_volume("synthetic:?size=1MiB")

    def close(self) -> None:
        self.calls.append("close")


class Frozen(Plain):
    """Has a volume with a snapshot, and removes nothing twice."""

    has_snapshots = has_new_volumes = True

    def delete(self, place: str) -> None:
        raise NotFound(place)

    def delete_snapshot(self, place: str) -> None:
        raise NotFound(place)

    def list_snapshots(self, place: str) -> Iterator[ProvidedVolume]:
        if place == "one":
            yield ProvidedVolume("one@first", 1 << 20, "first")


@pytest.fixture
def below() -> Plain:
    return Plain()


@pytest.fixture
def provider(below: Plain) -> Checked:
    return Checked(below)


def test_kinds_are_told_with_the_distribution_that_brings_them() -> None:
    kinds = provider_kinds()
    assert [*kinds] == ["devices", "directory"]
    assert kinds["directory"].startswith("backupcore ")


def test_an_unknown_kind_is_refused_with_the_installed_ones() -> None:
    with pytest.raises(UnknownScheme, match=r"serves ceph: \(installed: devices, directory\)"):
        open_provider("ceph", name="ceph")


def test_a_name_that_the_catalog_cannot_keep_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="name 'two words' is refused"):
        open_provider("directory", name="two words", options={"path": str(tmp_path)})


def test_a_plugin_that_opens_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backupcore.provider.directory.DirectoryProvider", lambda *_, **__: None)
    with pytest.raises(Refused, match="the plugin of directory does not open it"):
        open_provider("directory", name="local", options={"path": "."})


def test_a_provider_that_only_lists_and_opens_shows_its_volumes(provider: Checked) -> None:
    assert provider.show("one").size_bytes == 1 << 20
    with pytest.raises(NotFound, match="provider plain: no volume 'three': list its volumes"):
        provider.show("three")
    with provider.open("one") as volume:
        assert volume.size_bytes == 1 << 20


def test_what_a_provider_does_not_say_it_can_do_is_refused(provider: Checked) -> None:
    attempts: list[Callable[[], object]] = [
        lambda: provider.create("new", 1000),
        lambda: provider.delete("one"),
        lambda: provider.snapshot("one", "first"),
        lambda: provider.delete_snapshot("one@first"),
    ]
    for attempt in attempts:
        with pytest.raises(Refused, match="provider plain: "):
            attempt()
    with pytest.raises(NotFound, match="provider plain: no snapshot"):
        provider.open_snapshot("one@first")
    assert list(provider.list_snapshots("one")) == []


def test_the_defaults_of_a_provider_refuse_too(below: Plain) -> None:
    with pytest.raises(Refused, match="has no snapshots"):
        below.snapshot("one", "first")


@pytest.mark.parametrize("place", ["", " a", "a ", "a\n", "a\0", "\udcff", "a" * 256])
def test_a_place_that_cannot_be_kept_never_reaches_a_provider(
    provider: Checked, below: Plain, place: str
) -> None:
    attempts: list[Callable[[], object]] = [
        lambda: check_place(place),
        lambda: provider.show(place),
        lambda: provider.open(place),
        lambda: provider.delete(place),
        lambda: provider.open_snapshot(place),
        lambda: provider.delete_snapshot(place),
        lambda: provider.list_snapshots(place),
    ]
    for attempt in attempts:
        with pytest.raises(Refused, match="is refused: a place has 1 to 255 printable characters"):
            attempt()
    assert not below.calls


def test_a_volume_whose_place_cannot_be_kept_is_left_out_with_a_warning(
    provider: Checked, caplog: pytest.LogCaptureFixture
) -> None:
    assert [volume.place for volume in provider.list()] == ["one"]
    assert "volume is left out: its place cannot be kept" in caplog.messages


def test_a_volume_that_cannot_be_written_to_is_not_opened_for_it(provider: Checked) -> None:
    with pytest.raises(ReadOnly, match="provider plain: its volumes can only be read"):
        provider.open("one", Access.WRITE)


def test_a_volume_with_a_snapshot_is_kept_whatever_its_provider_would_do() -> None:
    with pytest.raises(TargetBusy, match="one: has snapshot one@first: delete that first"):
        Checked(Frozen()).delete("one")


def test_what_is_gone_can_be_deleted_again() -> None:
    provider = Checked(Frozen())
    provider.delete("other")
    provider.delete_snapshot("other@first")


def test_a_provider_is_closed_once_and_asked_nothing_afterwards(
    provider: Checked, below: Plain
) -> None:
    with provider:
        provider.close()
    assert below.calls == ["close"]
    for attempt in (provider.list, lambda: provider.show("one")):
        with pytest.raises(Refused, match="provider plain: is closed"):
            attempt()
