"""What is checked for every provider, before it is asked and of what it answers."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import suppress

from backupcore.errors import NotFound, ReadOnly, Refused, TargetBusy
from backupcore.model import SIZE_BYTES_MAX
from backupcore.provider import ProvidedVolume, Provider, check_hint, check_place, is_place
from backupcore.volume import Access, Volume

__all__ = ["Checked"]

log = logging.getLogger(__name__)


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
        return _places_of(self.name, self._open_below().list())

    def show(self, place: str) -> ProvidedVolume:
        """Show the volume of a checked place."""
        return self._open_below().show(check_place(place))

    def open(self, place: str, access: Access = Access.READ) -> Volume:
        """Open the volume of a checked place."""
        if access is Access.CREATE:
            raise Refused(f"provider {self.name}: {place!r}: create the volume, then open it")
        volume = self._open_below().open(check_place(place), access)
        if access is Access.WRITE and type(volume).write is Volume.write:
            volume.close()
            raise ReadOnly(f"provider {self.name}: its volumes can only be read: choose another")
        return volume

    def create(self, hint: str, size_bytes: int) -> str:
        """Make a volume of a checked name and size."""
        if not 0 < size_bytes <= SIZE_BYTES_MAX:
            raise Refused(f"{hint}: size of {size_bytes} bytes: new volumes have 1 to 2^62 bytes")
        return check_place(self._open_below().create(check_hint(hint), size_bytes))

    def delete(self, place: str) -> None:
        """Remove the volume of a checked place unless it has snapshots."""
        below = self._open_below()
        for found in below.list_snapshots(check_place(place)):
            raise TargetBusy(
                f"provider {self.name}: {place}: has snapshot {found.place}: delete that first"
            )
        with suppress(NotFound):
            below.delete(place)

    def snapshot(self, place: str, hint: str) -> str:
        """Freeze the volume of a checked place."""
        below = self._open_below()
        if not self.has_snapshots:
            raise Refused(f"provider {self.name}: has no snapshots: back up the volume itself")
        return check_place(below.snapshot(check_place(place), check_hint(hint)))

    def list_snapshots(self, place: str) -> Iterator[ProvidedVolume]:
        """Yield every snapshot whose place can be kept."""
        return _places_of(self.name, self._open_below().list_snapshots(check_place(place)))

    def open_snapshot(self, place: str) -> Volume:
        """Open the snapshot of a checked place."""
        return self._open_below().open_snapshot(check_place(place))

    def delete_snapshot(self, place: str) -> None:
        """Remove the snapshot of a checked place."""
        with suppress(NotFound):
            self._open_below().delete_snapshot(check_place(place))

    def close(self) -> None:
        """Close the provider once."""
        if not self._is_closed:
            self._is_closed = True
            self.below.close()

    def _open_below(self) -> Provider:
        if self._is_closed:
            raise Refused(f"provider {self.name}: is closed: open it again")
        return self.below


def _places_of(name: str, volumes: Iterable[ProvidedVolume]) -> Iterator[ProvidedVolume]:
    for volume in volumes:
        if is_place(volume.place):
            yield volume
        else:
            facts = {"provider": name, "place": repr(volume.place)}
            log.warning("volume is left out: its place cannot be kept", extra=facts)
