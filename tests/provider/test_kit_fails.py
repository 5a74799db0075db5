"""The kit must be able to fail: each broken provider breaks the promise that forbids it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from backupcore.errors import NotFound, TargetBusy
from backupcore.provider import Access, ProvidedVolume, Volume
from backupcore.provider.directory import DirectoryProvider
from backupcore.provider.layer import Checked
from backupcore.testing.promise import Outcome
from backupcore.testing.provider import PROMISES, run_promises
from backupcore.volume import open_volume

pytest_plugins = ["pytester"]


class Broke(DirectoryProvider):
    """A provider with a fault to be found."""

    def below(self, *names: str) -> str:
        return os.path.join(self._folder.path, *names)


class ListsNothing(Broke):
    def list(self) -> Iterator[ProvidedVolume]:
        return iter(())


class ForgetsWhatIsWritten(Broke):
    def open(self, place: str, access: Access = Access.READ) -> Volume:
        volume = super().open(place, access)
        if access is Access.WRITE:
            volume.write = lambda offset, buffer: None  # type: ignore[method-assign]
        return volume


class OpensToWriteAlways(Broke):
    def open(self, place: str, access: Access = Access.READ) -> Volume:
        return super().open(place, Access.WRITE)


class GivesEachOpeningAnIdentity(Broke):
    count = 0

    def open(self, place: str, access: Access = Access.READ) -> Volume:
        volume = super().open(place, access)
        self.count += 1
        volume.identity += str(self.count)
        return volume


class GivesAllOneIdentity(Broke):
    def open(self, place: str, access: Access = Access.READ) -> Volume:
        volume = super().open(place, access)
        volume.identity = "volume"
        return volume


class MakesWhatIsNotThere(Broke):
    def show(self, place: str) -> ProvidedVolume:
        if place not in os.listdir(self.below()):
            self.create(place, 1000)
        return super().show(place)


class FollowsPaths(Broke):
    def open(self, place: str, access: Access = Access.READ) -> Volume:
        return open_volume(self.below(place), access=access)


class MakesVolumesTooSmall(Broke):
    def create(self, hint: str, size_bytes: int) -> str:
        return super().create(hint, size_bytes // 2)


class MakesVolumesOfOldBytes(Broke):
    def create(self, hint: str, size_bytes: int) -> str:
        place = super().create(hint, size_bytes)
        with self.open(place, Access.WRITE) as volume:
            volume.write(100, b"somebody's secret")
        return place


class MakesVolumesOverOthers(Broke):
    def create(self, hint: str, size_bytes: int) -> str:
        if hint in os.listdir(self.below()):
            self.delete(hint)
        return super().create(hint, size_bytes)


class DeletesNothing(Broke):
    def delete(self, place: str) -> None:
        pass


class FreezesByLinking(Broke):
    def snapshot(self, place: str, hint: str) -> str:
        os.makedirs(self.below(".snapshots"), exist_ok=True)
        try:
            os.link(self.below(place), self.below(".snapshots", f"{place}@{hint}"))
        except FileExistsError as error:
            raise TargetBusy(hint) from error
        except FileNotFoundError as error:
            raise NotFound(place) from error
        return f"{place}@{hint}"


class GivesSnapshotsAnIdentity(Broke):
    def open_snapshot(self, place: str) -> Volume:
        volume = super().open_snapshot(place)
        volume.identity = place
        return volume


class ListsNoSnapshots(Broke):
    def list_snapshots(self, place: str) -> Iterator[ProvidedVolume]:
        return iter(())


class FreezesOverSnapshots(Broke):
    def snapshot(self, place: str, hint: str) -> str:
        if any(each.name == hint for each in self.list_snapshots(place)):
            self.delete_snapshot(f"{place}@{hint}")
        return super().snapshot(place, hint)


class ShowsAllInUse(Broke):
    def show(self, place: str) -> ProvidedVolume:
        return replace(super().show(place), is_in_use=True)


class EmptiesSnapshotsThatAreRead(Broke):
    def delete_snapshot(self, place: str) -> None:
        with open(self.below(".snapshots", place), "r+b") as frozen:
            frozen.write(bytes(100))


class KeepsSnapshots(Broke):
    def delete_snapshot(self, place: str) -> None:
        pass


@pytest.mark.parametrize(
    ("kind", "promise"),
    [
        (ListsNothing, "lists_and_shows_its_volumes"),
        (ForgetsWhatIsWritten, "keeps_what_was_written"),
        (OpensToWriteAlways, "opens_for_reading_unless_asked"),
        (GivesEachOpeningAnIdentity, "gives_each_opening_of_a_volume_the_same_identity"),
        (GivesAllOneIdentity, "tells_volumes_apart"),
        (MakesWhatIsNotThere, "knows_nothing_of_what_is_not_there"),
        (FollowsPaths, "opens_nothing_but_its_volumes"),
        (MakesVolumesTooSmall, "makes_volumes_that_are_large_enough_and_hold_zeros"),
        (MakesVolumesOfOldBytes, "makes_volumes_that_are_large_enough_and_hold_zeros"),
        (MakesVolumesOverOthers, "never_makes_a_volume_over_another"),
        (DeletesNothing, "deletes_a_volume_once_and_for_all"),
        (FreezesByLinking, "freezes_a_volume"),
        (GivesSnapshotsAnIdentity, "gives_a_snapshot_the_identity_of_its_volume"),
        (ListsNoSnapshots, "lists_snapshots_with_their_volume_only"),
        (FreezesOverSnapshots, "never_freezes_over_another_snapshot"),
        (ShowsAllInUse, "shows_no_volume_in_use_that_nobody_uses"),
        (EmptiesSnapshotsThatAreRead, "keeps_a_snapshot_readable_to_who_reads_it"),
        (KeepsSnapshots, "deletes_a_snapshot_and_keeps_the_volume"),
    ],
)
def test_a_broken_provider_breaks_the_promise_that_forbids_it(
    fast_folder: Path, kind: type[Broke], promise: str
) -> None:
    [tried] = [each for each in PROMISES if each.name == promise]
    opened = run_promises(lambda: Checked(kind("broken", str(fast_folder))), promises=[tried])
    assert [result.outcome for result in opened] == [Outcome.BROKEN]


def test_each_promise_says_why_it_matters() -> None:
    assert all(promise.why.endswith(".") for promise in PROMISES)
    assert len({promise.name for promise in PROMISES}) == len(PROMISES)


def test_a_failure_says_why_it_matters_and_what_is_not_claimed_is_skipped(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile(
        """
        import pytest
        from backupcore.provider.directory import DirectoryProvider, Snapshots
        from backupcore.testing.provider import ProviderConformance

        class ListsNothing(DirectoryProvider):
            def list(self):
                return iter(())

        class TestMine(ProviderConformance):
            @pytest.fixture
            def provider(self, tmp_path):
                with ListsNothing("mine", str(tmp_path), snapshots=Snapshots.NONE) as provider:
                    yield provider
        """
    )
    result = pytester.runpytest_inprocess("-rs", "-p", "no:cacheprovider", "-k", "lists or another")
    result.stdout.fnmatch_lines(
        ["*why it matters: A volume that is not listed is never backed up.*", "*not claimed: *"]
    )
