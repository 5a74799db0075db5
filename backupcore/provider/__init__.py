"""The provider contract: who makes, lists, freezes and opens the volumes of the service.

A provider calls each volume by its *place*: a text that it chooses, that stays as long as the
volume, and that the service keeps. `open_provider` in `registry` loads the plugin of a kind (an
entry point in group `backupcore.providers`); `backupcore.testing.provider` is the kit that proves
one, `docs/guide/volume-providers.md` the way in.

What comes from outside is checked once, before a provider sees it: places by `check_place`, what
is to be made by `check_hint`, sizes, and whether the provider claims to do it.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from backupcore.closing import Closing
from backupcore.errors import NotFound, Refused
from backupcore.plugin import hookimpl, hookspec
from backupcore.provider.option import check_options, take_texts
from backupcore.volume import Access, Volume

__all__ = [
    "GROUP",
    "PLACE_LENGTH_MAX",
    "Access",
    "ProvidedVolume",
    "Provider",
    "Volume",
    "backupcore_open_provider",
    "check_hint",
    "check_options",
    "check_place",
    "hookimpl",
    "is_hint",
    "is_place",
    "take_texts",
]

GROUP = "backupcore.providers"
PLACE_LENGTH_MAX = 255
_HINT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True, slots=True)
class ProvidedVolume:
    """One volume or snapshot: its place, its size and what people call it.

    name: of what the provider made, the hint that was given then; so what was made shortly before
    a crash is found again. is_in_use: whether somebody may be writing to it, such as a virtual
    machine, as far as the provider can tell.
    """

    place: str
    size_bytes: int
    name: str
    is_in_use: bool = False


class Provider(Closing, ABC):
    """A source of volumes. Every call may come from several threads at once.

    name: what the operator calls it. has_new_volumes: whether it makes and deletes volumes.
    has_snapshots: whether it freezes them. What is not claimed is never asked for.
    """

    name: str
    has_new_volumes: bool = False
    has_snapshots: bool = False

    @abstractmethod
    def list(self) -> Iterator[ProvidedVolume]:
        """Yield every volume, snapshots not among them, in any order. Raises: SourceError."""

    def show(self, place: str) -> ProvidedVolume:
        """Return what is known of a volume. Raises: NotFound, SourceError.

        Override it where the provider can tell without listing all.
        """
        for volume in self.list():
            if volume.place == place:
                return volume
        raise NotFound(f"provider {self.name}: no volume {place!r}: list its volumes")

    @abstractmethod
    def open(self, place: str, access: Access = Access.READ) -> Volume:
        """Open a volume for reading or for writing in place.

        Every opening has the same identity, whichever access and process.
        Raises: NotFound, SourceError, TargetBusy (in use), TargetError.
        """

    def create(self, hint: str, size_bytes: int) -> str:
        """Make a volume that reads as zeros and return its place: whole, durable, or not at all.

        hint: what it shall be called; a second volume of the same hint is refused. size_bytes:
        the least it holds; a provider may round up.
        Raises: TargetBusy when the hint is taken, TargetError when there is no room.
        """
        raise Refused(f"provider {self.name}: makes no volumes: use its own tools")

    def delete(self, place: str) -> None:
        """Remove a volume; one that does not exist is fine (NotFound says the same).

        One that has snapshots, or is written to, stays: TargetBusy. Raises: TargetError.
        """
        raise Refused(f"provider {self.name}: deletes no volumes: use its own tools")

    def snapshot(self, place: str, hint: str) -> str:
        """Freeze a volume at one point in time and return the snapshot's place.

        hint: what it shall be called; a second one of the same volume and hint is refused.
        Raises: NotFound, TargetBusy when the hint is taken, TargetError when there is no room,
        SourceError when it cannot be had as of one point in time.
        """
        raise Refused(f"provider {self.name}: has no snapshots")

    def list_snapshots(self, place: str) -> Iterator[ProvidedVolume]:
        """Yield the snapshots of a volume, in any order; none when there is no such volume."""
        return iter(())

    def open_snapshot(self, place: str) -> Volume:
        """Open a snapshot for reading, with the identity of the volume it was made of.

        Raises: NotFound, SourceError.
        """
        raise NotFound(f"provider {self.name}: no snapshot {place!r}: it has no snapshots")

    def delete_snapshot(self, place: str) -> None:
        """Remove a snapshot; one that does not exist is fine (NotFound says the same).

        One that is being read stays (TargetBusy), or goes on to be readable to whoever opened it.
        Raises: TargetBusy, TargetError.
        """
        raise Refused(f"provider {self.name}: has no snapshots")

    def close(self) -> None:
        """Let go of everything but volumes that are open; a call under way may end with Stopped."""


@hookspec(firstresult=True)
def backupcore_open_provider(
    kind: str, name: str, options: Mapping[str, object], folder: str
) -> Provider | None:
    """Return the provider of the kind this plugin is named after.

    name: what the operator calls it, for `Provider.name`. options: what the settings say, texts
    and numbers as TOML has them; `take_texts` refuses what is unknown, missing or no text.
    folder: relative paths among them start here. Leave out the arguments you do not need. The
    first plugin that returns a provider wins; there is one plugin a kind.
    """
    raise AssertionError("a hook specification is never called")


def is_place(text: str) -> bool:
    """Return whether a provider may call a volume so: 1 to 255 printable characters."""
    return 0 < len(text) <= PLACE_LENGTH_MAX and text.isprintable() and text == text.strip()


def check_place(place: str) -> str:
    """Return the place; raises Refused unless a provider may call a volume so."""
    if not is_place(place):
        raise Refused(
            f"place {place[:80]!r} is refused: a place has 1 to {PLACE_LENGTH_MAX} printable "
            "characters and no blank at its ends"
        )
    return place


def is_hint(text: str) -> bool:
    """Return whether every provider can call a volume or snapshot so."""
    return _HINT.fullmatch(text) is not None


def check_hint(hint: str) -> str:
    """Return the hint; raises Refused unless every provider can call a volume or snapshot so."""
    if not is_hint(hint):
        raise Refused(
            f"name {hint[:80]!r} is refused: use a-z A-Z 0-9 . _ -, a letter or digit first, at "
            "most 100 characters"
        )
    return hint
