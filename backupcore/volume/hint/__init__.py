"""Changed-block hints: files in which a source says which extents of a volume changed.

Four formats, told apart by what they hold:

ours                {"format": 1, "extents": [[offset, length], …],
                     "since": …, "volume_id": …, "size_bytes": …}
rbd diff            [{"offset": 0, "length": 4194304, "exists": "true"}, …]
nbdinfo --map       [{"offset": 0, "length": 65536, "type": 1, "description": "dirty"}, …]
thin_delta          <superblock data_block_size="128" …><diff …>
                      <different begin="4" length="1"/> … </diff></superblock>

A hint that leaves out a change spoils a backup, so whatever is not understood is refused. A file
is read as a stream; memory is bounded by `EXTENT_COUNT_MAX`, not by its length.

Source: ceph src/tools/rbd/action/Diff.cc; libnbd info/map.c; thin-provisioning-tools
src/thin/delta_visitor.rs.
"""

from __future__ import annotations

import codecs
import os
from collections.abc import Callable
from typing import Protocol

from backupcore.errors import Refused
from backupcore.units import MIB
from backupcore.volume.hint.listing import read_list, read_own
from backupcore.volume.hint.row import (
    AGAIN,
    EXTENT_COUNT_MAX,
    VALUE_LENGTH_MAX,
    ChangedExtents,
    Wrong,
    gather,
    shown,
)
from backupcore.volume.hint.text import JsonText
from backupcore.volume.hint.thin_delta import ThinDelta

__all__ = ["EXTENT_COUNT_MAX", "ChangedExtents", "ReadableFile", "read_changed_extents"]

_READ_SIZE_BYTES = MIB


class ReadableFile(Protocol):
    """What is needed of an open file: it hands out bytes."""

    def read(self, size: int, /) -> bytes | None:
        """Return up to that many bytes, none at the end."""
        ...


def read_changed_extents(source: str | os.PathLike[str] | ReadableFile) -> ChangedExtents:
    """Read a file that says which extents of a volume changed, in any of the four formats.

    source: a path, or a file open in binary mode, which is read to its end and left open.
    Of more than EXTENT_COUNT_MAX extents, neighbours are melted on a grid of 4 KiB or more.
    Raises: Refused when the file cannot be read or anything in it is not understood.
    """
    if not isinstance(source, str | os.PathLike):
        given = getattr(source, "name", None)
        return _read_named(given if isinstance(given, str) else "changed extents", source)
    name = os.fspath(source)
    try:
        file = open(source, "rb")  # noqa: SIM115
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        fact = getattr(error, "strerror", None) or error
        raise Refused(f"{name}: cannot be read: {fact}: check the path and the user") from error
    with file:
        return _read_named(name, file)


def _read_named(name: str, file: ReadableFile) -> ChangedExtents:
    try:
        return _read(_reader(file))
    except Wrong as error:
        raise Refused(f"{name}: {error}") from error
    except OSError as error:
        raise Refused(f"{name}: cannot be read: {error.strerror or error}: try again") from error


def _reader(file: ReadableFile) -> Callable[[], bytes]:
    def read() -> bytes:
        piece: object = file.read(_READ_SIZE_BYTES)
        if not isinstance(piece, bytes):
            raise Wrong(f"gives {shown(piece)}, no bytes: open it in binary mode, blocking")
        return piece

    return read


def _read(read: Callable[[], bytes]) -> ChangedExtents:
    head = b""
    while len(head) < VALUE_LENGTH_MAX and (piece := read()):
        head += piece
    head = head.removeprefix(codecs.BOM_UTF8)
    start = head.lstrip(b" \t\r\n")[:16]
    if start[:1] == b"<":
        return ChangedExtents(gather(ThinDelta().rows(head, read))[0])
    if start[:1] == b"[":
        return read_list(JsonText(head, read))
    if start[:1] == b"{":
        return read_own(JsonText(head, read))
    if not start:
        raise Wrong(f"is empty: {AGAIN}")
    raise Wrong(
        f"begins with {start!r}, neither JSON nor XML: give the output of thin_delta, "
        "rbd diff --format json or nbdinfo --map --json"
    )
