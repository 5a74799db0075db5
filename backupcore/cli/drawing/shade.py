"""What one character of a picture says: its sign, its colours and its meaning, in text and SVG.

A bucket that holds anything new shows it, however large the bucket is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

import numpy as np

from backupcore.cli.talk import printable
from backupcore.operation.picture import INHERITED, NEW, Picture
from backupcore.units import format_bytes

__all__ = ["NO_BEFORE", "Line", "Shade", "heading", "lines", "scale", "totals"]

NO_BEFORE = "no backup of this volume was there before it"


@dataclass(frozen=True, slots=True)
class _Look:
    """ASCII sign, style of a terminal, colour of the web, meaning: docs/reference/cli.md."""

    sign: str
    style: str
    colour: str
    meaning: str


class Shade(Enum):
    """The kinds of buckets there are."""

    NEW = _Look("#", "black on bright_yellow", "#e8a200", "new")
    MIXED = _Look("+", "black on yellow", "#f6d98b", "some new")
    INHERITED = _Look("=", "white on blue", "#3b6ea5", "inherited")
    SPARSE = _Look("-", "bright_blue", "#a9c4e0", "some inherited")
    ZERO = _Look(".", "bright_black", "#eceff1", "zeros")
    BEYOND = _Look(" ", "", "none", "")

    @property
    def sign(self) -> str:
        """One ASCII character."""
        return self.value.sign

    @property
    def style(self) -> str:
        """How a terminal shows it."""
        return self.value.style

    @property
    def colour(self) -> str:
        """How a drawing fills it."""
        return self.value.colour

    @property
    def meaning(self) -> str:
        """What the legend says."""
        return self.value.meaning


@dataclass(frozen=True, slots=True)
class Line:
    """One row of a picture: the number of its first bucket, where that begins, and its shades."""

    first: int
    offset: int
    shades: tuple[Shade, ...]


def lines(picture: Picture, columns: int) -> Iterator[Line]:
    """Yield the rows of a picture, up to the end of its volume."""
    shades = _shades(picture)
    for first in range(0, len(shades), columns):
        offset = int(picture.offsets[first])
        if offset < picture.backup.size_bytes:
            yield Line(first, offset, tuple(shades[first : first + columns]))


def _shades(picture: Picture) -> list[Shade]:
    """Return the shade of each bucket."""
    new, lengths = picture.buckets[:, NEW], picture.buckets.sum(axis=1)
    data = new + picture.buckets[:, INHERITED]
    chosen = np.select(
        [lengths == 0, data == 0, new >= data - new, new > 0, data >= lengths - data],
        [5, 4, 0, 1, 2],
        default=3,
    )
    shades = list(Shade)
    return [shades[number] for number in chosen.tolist()]


def heading(picture: Picture) -> str:
    """Return which backup a picture is of."""
    backup = picture.backup
    at = backup.committed_at.astimezone().strftime("%Y-%m-%d %H:%M")
    name = f" {backup.name}" if backup.name else ""
    return printable(f"{backup.id} of {at}{name}").replace("\n", "\\n")


def totals(picture: Picture) -> str:
    """Return what the whole volume is made of, in bytes and shares."""
    names = ("new", "inherited", "zeros")
    size_bytes = picture.backup.size_bytes
    parts = (
        f"{name} {format_bytes(amount)} ({100 * amount / max(1, size_bytes):.1f}%)"
        for name, amount in zip(names, picture.totals, strict=True)
    )
    return f"{format_bytes(size_bytes)}: {', '.join(parts)}"


def scale(picture: Picture) -> str:
    """Return how large a bucket is."""
    count = len(picture.buckets)
    return f"each about {format_bytes(picture.offsets[-1] / count)}" if count else "no cells"
