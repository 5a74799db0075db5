"""Holes of files: find them with SEEK_HOLE, make them with fallocate."""

from __future__ import annotations

import ctypes
import errno
import os
from array import array
from collections.abc import Iterator

import numpy as np

from backupcore.extents import Extents, melt_extents, single_extent

__all__ = ["find_data", "punch_hole"]

# Shorter holes are reported as data: they save no chunk, and the rows of a 64 GiB window then
# take 16 MiB at most.
HOLE_LENGTH_MIN = 1 << 16
_KEEP_SIZE, _PUNCH_HOLE = 1, 2  # linux/falloc.h


def find_data(descriptor: int, offset: int, length: int) -> Extents:
    """Return the extents of a window of a file that are no holes, short holes included.

    int64[n, 2], clean. The whole window where the file system cannot tell. What lies beyond the
    file's end counts as a hole.
    """
    edges = array("q")
    try:
        for start, end in _walk_data(descriptor, offset, offset + length):
            if edges and start - edges[-1] < HOLE_LENGTH_MIN:
                edges[-1] = end
            else:
                edges.extend((start, end))
    except OSError:
        return single_extent(offset, length)
    table = np.array(edges, np.int64).reshape(-1, 2)
    return melt_extents(np.stack((table[:, 0], table[:, 1] - table[:, 0]), axis=1))


def _walk_data(descriptor: int, offset: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of each run of data in a window."""
    while offset < end:
        try:
            start = os.lseek(descriptor, offset, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # no data from here to the file's end
                return
            raise
        if start >= end:
            return
        offset = min(os.lseek(descriptor, start, os.SEEK_HOLE), end)
        yield start, offset


_libc = ctypes.CDLL(None, use_errno=True)
_fallocate = getattr(_libc, "fallocate64", None) or _libc.fallocate
_fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)


def punch_hole(descriptor: int, offset: int, length: int) -> bool:
    """Make an extent of a file a hole, its size unchanged; return whether the kernel did it."""
    return bool(_fallocate(descriptor, _PUNCH_HOLE | _KEEP_SIZE, offset, length) == 0)
