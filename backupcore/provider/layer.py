"""What is checked for every provider, before it is asked and of what it answers.

A plugin may fail in any way a program can. What it raises that is no `BackupError` is logged with
its trace and becomes one here, so that whoever asked can go on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

from backupcore.errors import (
    BackupError,
    NotFound,
    ReadOnly,
    Refused,
    SourceError,
    TargetBusy,
    TargetError,
)
from backupcore.model import SIZE_BYTES_MAX
from backupcore.provider import ProvidedVolume, Provider, check_hint, check_place, is_place
from backupcore.volume import Access, Volume

__all__ = ["Checked", "guarded"]

log = logging.getLogger(__name__)

T = TypeVar("T")


@contextmanager
def guarded(name: str, what: str, failure: type[BackupError] = SourceError) -> Iterator[None]:
    """Turn whatever a plugin raises in the block into an error of ours, `failure` by default.

    name: of the provider. what: was asked of it, for the message.
    """
    try:
        yield
    except BackupError:
        raise
    except (Exception, SystemExit) as error:
        log.exception("provider failed", extra={"provider": name, "call": what})
        raise failure(
            f"provider {name}: {what}: its plugin failed ({type(error).__name__}: {error}): see "
            "the log"
        ) from error


class Checked(Provider):
    """Lets nothing pass that no provider can do, nor what this one does not claim."""

    def __init__(self, below: Provider) -> None:
        self.below = below
        self.name = below.name
        self.has_new_volumes = below.has_new_volumes
        self.has_snapshots = below.has_snapshots
        self._is_closed = False

    def list(self) -> Iterator[ProvidedVolume]:
        """Yield every volume whose place can be kept."""
        return self._listed("list", self._open_below().list)

    def show(self, place: str) -> ProvidedVolume:
        """Show the volume of a checked place."""
        below, checked = self._open_below(), check_place(place)
        with guarded(self.name, f"show {place}"):
            return _of_kind(below.show(checked), ProvidedVolume)

    def open(self, place: str, access: Access = Access.READ) -> Volume:
        """Open the volume of a checked place."""
        if access is Access.CREATE:
            raise Refused(f"provider {self.name}: {place!r}: create the volume, then open it")
        below, checked = self._open_below(), check_place(place)
        failure = SourceError if access is Access.READ else TargetError
        with guarded(self.name, f"open {place}", failure):
            volume = _of_kind(below.open(checked, access), Volume)
            if access is Access.WRITE and type(volume).write is Volume.write:
                volume.close()
                text = f"provider {self.name}: its volumes can only be read: choose another"
                raise ReadOnly(text)
            return volume

    def create(self, hint: str, size_bytes: int) -> str:
        """Make a volume of a checked name and size."""
        if not 0 < size_bytes <= SIZE_BYTES_MAX:
            raise Refused(f"{hint}: size of {size_bytes} bytes: new volumes have 1 to 2^62 bytes")
        below, checked = self._open_below(), check_hint(hint)
        with guarded(self.name, f"create {hint}", TargetError):
            return check_place(_of_kind(below.create(checked, size_bytes), str))

    def delete(self, place: str) -> None:
        """Remove the volume of a checked place unless it has snapshots."""
        below, checked = self._open_below(), check_place(place)
        with guarded(self.name, f"delete {place}", TargetError), suppress(NotFound):
            for found in below.list_snapshots(checked):  # those that are left out of lists, too
                named = _of_kind(found, ProvidedVolume).place
                raise TargetBusy(
                    f"provider {self.name}: {place}: has snapshot {named}: delete that first"
                )
            below.delete(checked)

    def snapshot(self, place: str, hint: str) -> str:
        """Freeze the volume of a checked place."""
        below = self._open_below()
        if not self.has_snapshots:
            raise Refused(f"provider {self.name}: has no snapshots: back up the volume itself")
        checked, checked_hint = check_place(place), check_hint(hint)
        with guarded(self.name, f"snapshot {place}", TargetError):
            return check_place(_of_kind(below.snapshot(checked, checked_hint), str))

    def list_snapshots(self, place: str) -> Iterator[ProvidedVolume]:
        """Yield every snapshot whose place can be kept."""
        below, checked = self._open_below(), check_place(place)
        return self._listed(f"list snapshots of {place}", lambda: below.list_snapshots(checked))

    def open_snapshot(self, place: str) -> Volume:
        """Open the snapshot of a checked place."""
        below, checked = self._open_below(), check_place(place)
        with guarded(self.name, f"open snapshot {place}"):
            return _of_kind(below.open_snapshot(checked), Volume)

    def delete_snapshot(self, place: str) -> None:
        """Remove the snapshot of a checked place."""
        below, checked = self._open_below(), check_place(place)
        with guarded(self.name, f"delete snapshot {place}", TargetError), suppress(NotFound):
            below.delete_snapshot(checked)

    def close(self) -> None:
        """Close the provider once; that this fails is logged."""
        if not self._is_closed:
            self._is_closed = True
            with suppress(BackupError), guarded(self.name, "close"):
                self.below.close()

    def _open_below(self) -> Provider:
        if self._is_closed:
            raise Refused(f"provider {self.name}: is closed: open it again")
        return self.below

    def _listed(
        self, what: str, ask: Callable[[], Iterable[ProvidedVolume]]
    ) -> Iterator[ProvidedVolume]:
        """Yield what the provider lists, but for places that cannot be kept."""
        with guarded(self.name, what):
            listing = iter(ask())
        while True:
            with guarded(self.name, what):
                found = next(listing, None)
                if found is None:
                    return
                is_kept = is_place(_of_kind(found, ProvidedVolume).place)
            if is_kept:
                yield found
            else:
                facts = {"provider": self.name, "place": repr(found.place)}
                log.warning("volume is left out: its place cannot be kept", extra=facts)


def _of_kind(answer: T, kind: type[object]) -> T:
    """Return an answer of the kind that was promised. Raises: TypeError."""
    if not isinstance(answer, kind):
        raise TypeError(f"it answered {type(answer).__name__} instead of {kind.__name__}")
    return answer
