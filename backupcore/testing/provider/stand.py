"""What a promise of a provider is, and the stand it is tried on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from backupcore.provider import Access, Provider, Volume
from backupcore.testing.promise import Promise, make_promise
from backupcore.units import MIB

__all__ = [
    "NOBODY",
    "SIZE_BYTES",
    "Stand",
    "any_volume",
    "fixed_volumes",
    "new_volumes",
    "promise",
    "read",
    "snapshots",
    "two_openings",
    "write",
]

SIZE_BYTES = MIB
NOBODY = "backupcore-kit-nobody-has-this"


@dataclass(slots=True)
class Stand:
    """Where a promise is tried: two openings of one provider (perhaps the same).

    prefix: how the names of this promise begin. place: of a volume that may be overwritten, empty
    when none is given.
    """

    provider: Provider
    second: Provider
    prefix: str
    place: str
    made: list[str] = field(default_factory=list)
    frozen: list[str] = field(default_factory=list)

    def make(self, name: str = "volume", size_bytes: int = SIZE_BYTES) -> str:
        """Return the place of a new volume, to be removed in the end."""
        place = self.provider.create(self.prefix + name, size_bytes)
        self.made.append(place)
        return place

    def some(self, content: bytes = b"") -> str:
        """Return the place of a volume, new where that can be, that begins with some bytes."""
        place = self.make() if self.provider.has_new_volumes else self.place
        write(self.provider, place, content)
        return place

    def freeze(self, place: str, name: str = "snapshot") -> str:
        """Return the place of a new snapshot, to be removed in the end."""
        taken = self.provider.snapshot(place, self.prefix + name)
        self.frozen.append(taken)
        return taken

    def remove_all(self) -> None:
        """Remove what the promise made."""
        for taken in self.frozen:
            self.second.delete_snapshot(taken)
        for place in self.made:
            self.second.delete(place)


def promise(
    *needs: Callable[[Stand], str],
) -> Callable[[Callable[[Stand], None]], Promise[Stand]]:
    """Make a promise of a function; `needs` say what has to be claimed for it."""
    return lambda check: make_promise(check, *needs)


def any_volume(stand: Stand) -> str:
    """Say that there is no volume to work on."""
    is_there = stand.provider.has_new_volumes or stand.place
    return "" if is_there else "has_new_volumes, and no place of a volume to overwrite is given"


def new_volumes(stand: Stand) -> str:
    """Say that it makes no volumes."""
    return "" if stand.provider.has_new_volumes else "has_new_volumes"


def fixed_volumes(stand: Stand) -> str:
    """Say that it makes volumes."""
    return "" if new_volumes(stand) else "a fixed set of volumes"


def snapshots(stand: Stand) -> str:
    """Say that it has no snapshots."""
    return "" if stand.provider.has_snapshots else "has_snapshots"


def two_openings(stand: Stand) -> str:
    """Say that there is only one opening."""
    return "second_provider, another opening" if stand.second is stand.provider else ""


def write(provider: Provider, place: str, content: bytes, offset: int = 0) -> None:
    """Write bytes into a volume for good."""
    with provider.open(place, Access.WRITE) as volume:
        volume.write(offset, content)
        volume.finish()


def read(volume: Volume, length: int, offset: int = 0) -> bytes:
    """Return bytes of a volume, which is closed then."""
    with volume:
        buffer = bytearray(b"\xa5" * length)
        volume.read_into(offset, buffer)
        return bytes(buffer)
