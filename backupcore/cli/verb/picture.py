"""`backupcore map`: a picture of where on the volume data is new, inherited or zero."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import click

from backupcore import TargetError
from backupcore.cli.drawing import LABEL_WIDTH, picture_svg, picture_text
from backupcore.cli.opening import open_to_read
from backupcore.cli.parameter import (
    backup_argument,
    repository_option,
    speaking,
    volume_id_option,
)
from backupcore.cli.progress import showing_progress
from backupcore.cli.stop import STOP
from backupcore.cli.talk import Document, Talk
from backupcore.operation.picture import Picture, depict

__all__ = ["map_command"]

_ROW_COUNT = 8  # two pictures, headings and legend fit a terminal of 24 lines
_ROW_COUNT_MAX = 1000
_WIDTH = 80  # of what is no terminal
_WIDTH_MIN, _WIDTH_MAX = LABEL_WIDTH + 10, 1000


@click.command("map")
@backup_argument
@repository_option
@volume_id_option
@click.option(
    "--rows",
    type=click.IntRange(1, _ROW_COUNT_MAX),
    default=_ROW_COUNT,
    show_default=True,
    help="Lines of each picture.",
)
@click.option(
    "--svg",
    "svg_path",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Draw it in an SVG file, too.",
)
@speaking
def map_command(
    talk: Talk, backup: str, url: str, *, volume_id: str | None, rows: int, svg_path: Path | None
) -> None:
    """Draw where on the volume the data of BACKUP is new, inherited or zero.

    Beneath it is the same picture of the backup before, if there is one.
    """
    is_terminal = not talk.is_json and sys.stdout is not None and sys.stdout.isatty()
    width = shutil.get_terminal_size().columns if is_terminal else _WIDTH
    columns = max(_WIDTH_MIN, min(width, _WIDTH_MAX)) - LABEL_WIDTH
    with (
        open_to_read(url) as repository,
        STOP.heard() as stop,
        showing_progress(talk, "map") as progress,
    ):
        picture, before = depict(
            repository,
            backup,
            volume_id=volume_id,
            bucket_count=rows * columns,
            progress=progress,
            stop=stop,
        )
    if svg_path is not None:
        _write_svg(svg_path, picture_svg(picture, before, columns))
    document = {**_document(picture), "before": _document(before) if before else None}
    text = ""
    if not (talk.is_json or talk.is_quiet):
        text = picture_text(picture, before, columns, is_terminal=is_terminal)
    talk.tell(document, text)


def _write_svg(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise TargetError(f"{path}: cannot be written: {error.strerror}") from error


def _document(picture: Picture) -> Document:
    """Return what a picture shows; buckets beyond the volume's end are left out."""
    new, inherited, zero = picture.totals
    backup = picture.backup
    rows = zip(picture.offsets.tolist(), picture.buckets.tolist(), strict=False)
    return {
        "id": backup.id,
        "volume_id": backup.volume_id,
        "committed_at": backup.committed_at.isoformat(),
        "size_bytes": backup.size_bytes,
        "new_bytes": new,
        "inherited_bytes": inherited,
        "zero_bytes": zero,
        "buckets": [
            {
                "offset": offset,
                "length": sum(row),
                "new_bytes": row[0],
                "inherited_bytes": row[1],
                "zero_bytes": row[2],
            }
            for offset, row in rows
            if offset < backup.size_bytes
        ],
    }
