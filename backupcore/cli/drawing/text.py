"""Pictures as characters: ASCII everywhere, with colours where a terminal has them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from itertools import groupby
from typing import TypeAlias

from backupcore.cli.drawing.shade import NO_BEFORE, Shade, heading, lines, scale, totals
from backupcore.operation.picture import Picture
from backupcore.units import format_bytes

__all__ = ["LABEL_WIDTH", "picture_text"]

LABEL_WIDTH = 10  # of the offset before each line

Pieces: TypeAlias = Iterator[tuple[str, str]]  # text and its style


def picture_text(
    picture: Picture, before: Picture | None, columns: int, *, is_terminal: bool
) -> str:
    """Return both pictures, one below the other, and the legend.

    columns: buckets a line. is_terminal: whether to colour it; rich keeps to NO_COLOR and TERM.
    """
    # Rich costs a third of the time a short command takes, and JSON needs none of it.
    from rich.console import Console  # noqa: PLC0415 - extra `cli`
    from rich.text import Text  # noqa: PLC0415 - extra `cli`

    canvas = io.StringIO()
    console = Console(file=canvas, force_terminal=is_terminal, highlight=False)
    console.print(Text.assemble(*_pieces(picture, before, columns)), soft_wrap=True)
    return "\n".join(line.rstrip() for line in canvas.getvalue().splitlines())


def _pieces(picture: Picture, before: Picture | None, columns: int) -> Pieces:
    yield f"backup {heading(picture)}\n", ""
    yield from _drawn(picture, columns)
    if before is None:
        yield f"\n{NO_BEFORE}\n", ""
    else:
        yield f"\nbefore {heading(before)}\n", ""
        yield from _drawn(before, columns)
    yield "\n", ""
    for shade in Shade:
        if shade.meaning:
            yield shade.sign, shade.style
            yield f" {shade.meaning}  ", ""
    yield scale(picture), ""


def _drawn(picture: Picture, columns: int) -> Pieces:
    """Yield the lines of a picture and its totals."""
    for line in lines(picture, columns):
        yield f"{format_bytes(line.offset):>{LABEL_WIDTH - 1}} ", ""
        for shade, run in groupby(line.shades):
            yield shade.sign * len(list(run)), shade.style
        yield "\n", ""
    yield f"{totals(picture)}\n", ""
