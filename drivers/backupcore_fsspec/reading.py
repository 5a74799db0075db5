"""Ranges: what is served is checked, because a file system may send less, or all of the object."""

from __future__ import annotations

from collections.abc import Iterator

from backupcore.errors import Unavailable
from backupcore_fsspec.listing import object_info
from backupcore_fsspec.protocol import FileSystem, Manner
from backupcore_fsspec.translation import PastEnd, is_past_end

__all__ = ["read_file_into", "read_range"]

LENGTH_MAX = 64 << 20  # a file system may make room for all that is asked for
PIECE_BYTES = 1 << 20  # paramiko copies what it has already with every 32 KiB that come


def read_range(
    files: FileSystem, path: str, offset: int, length: int | None, manner: Manner
) -> bytes:
    """Return a range of an object, less at its end.

    A protocol that is only read from may be served by something that knows no ranges, so for it
    the right length proves nothing before the size is known.
    Raises: PastEnd, Unavailable (other bytes than asked for).
    """
    is_sure = manner is not Manner.NEVER
    if is_sure and length and length <= LENGTH_MAX:
        served = _cat(files, path, offset, offset + length, manner)
        if len(served) == length:
            return served
    left = _size_bytes_left(files, path, offset)
    wanted = left if length is None else min(length, left)
    if not wanted:
        return b""
    served = _cat(files, path, offset, offset + wanted, manner)
    if not is_sure and len(served) == offset + left:
        served = served[offset : offset + wanted]
    if len(served) != wanted:
        raise _other(path, offset, wanted, len(served))
    return served


def read_file_into(files: FileSystem, path: str, offset: int, view: memoryview) -> int:
    """Fill a view with bytes of a file; return how many there were. Raises as `read_range`."""
    done = 0
    for piece in _pieces(files, path, offset, offset + len(view)):
        view[done : done + len(piece)] = piece
        done += len(piece)
    if done < len(view) or not len(view):
        wanted = min(len(view), _size_bytes_left(files, path, offset))
        if done != wanted:
            raise _other(path, offset, wanted, done)
    return done


def _size_bytes_left(files: FileSystem, path: str, offset: int) -> int:
    size_bytes = object_info(path, files.info(path)).size_bytes
    if offset > size_bytes:
        raise PastEnd(f"{path}: offset {offset} is past the end, size {size_bytes}")
    return size_bytes - offset


def _cat(files: FileSystem, path: str, start: int, end: int, manner: Manner) -> bytes:
    if manner is Manner.RENAME:
        return b"".join(_pieces(files, path, start, end))
    try:
        return bytes(files.cat_file(path, start=start, end=end))
    except Exception as error:
        if not is_past_end(error):
            raise
        return b""


def _pieces(files: FileSystem, path: str, start: int, end: int) -> Iterator[bytes]:
    """Yield what an open file has between two offsets."""
    with files.open(path, "rb") as file:
        file.seek(start)
        while start < end and (piece := file.read(min(PIECE_BYTES, end - start))):
            yield piece
            start += len(piece)


def _other(path: str, offset: int, wanted: int, served: int) -> Unavailable:
    return Unavailable(
        f"{path}: asked for {wanted} bytes from {offset}, served {served}: try again later"
    )
