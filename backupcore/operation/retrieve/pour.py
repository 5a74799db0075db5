"""A backup poured into a stream: window after window is put together in memory, then written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from backupcore.errors import TargetError
from backupcore.extents import Extents, clip_extents
from backupcore.model import ByteArray
from backupcore.operation.retrieve.fetch import Fetcher, FrameUse, cell_runs, plan_fetches
from backupcore.operation.retrieve.retrieval import Retrieval
from backupcore.operation.retrieve.walk import Stretch, leaf_of_extents
from backupcore.repository.map import Leaf
from backupcore.units import MIB

__all__ = ["pour"]

_WINDOW_BYTES = 64 * MIB  # in memory at once; a multiple of every chunk size
_ZEROS = memoryview(bytes(MIB))


def pour(run: Retrieval, stream: BinaryIO) -> None:
    """Write what is wanted, one extent after another. Raises: TargetError, as `Fetcher.run`."""
    window = np.empty(min(_WINDOW_BYTES, run.backup.size_bytes), np.uint8)
    with run.fetcher() as fetcher:
        for stretch in run.stretches():
            for piece in _pieces(stretch, run.wanted):
                if piece.leaf is not None:
                    part = window[: piece.length]
                    _assemble(run, fetcher, piece.leaf, piece.offset, part)
                _pour_piece(run, piece, window.data, stream)
    run.tell()


def _pieces(stretch: Stretch, wanted: Extents) -> Iterator[Stretch]:
    """Cut a leaf into pieces that fit the window, without what nobody wants; keep zeros whole."""
    if stretch.leaf is None:
        yield stretch
        return
    end = stretch.offset + stretch.length
    for offset in range(stretch.offset, end, _WINDOW_BYTES):
        length = min(_WINDOW_BYTES, end - offset)
        leaf = leaf_of_extents(stretch.leaf, clip_extents(wanted, offset, length))
        yield Stretch(offset, length, leaf, stretch.first_cell)


def _assemble(run: Retrieval, fetcher: Fetcher, leaf: Leaf, offset: int, window: ByteArray) -> None:
    """Collect the bytes of some cells of a leaf in memory."""
    window[:] = 0
    view = window.data

    def write(use: FrameUse, plain: memoryview) -> None:
        for at, part in cell_runs(use, plain, leaf.chunk_size_bytes):
            view[at - offset : at - offset + len(part)] = part

    for done in fetcher.run(plan_fetches([leaf]), write):
        run.tick(done)


def _pour_piece(run: Retrieval, piece: Stretch, window: memoryview, stream: BinaryIO) -> None:
    """Write the wanted parts of one piece."""
    for offset, length in clip_extents(run.wanted, piece.offset, piece.length).tolist():
        for start in range(offset, offset + length, len(_ZEROS)):
            run.tick()
            count = min(offset + length - start, len(_ZEROS))
            part = _ZEROS if piece.leaf is None else window[start - piece.offset :]
            try:
                _write_all(stream, part[:count])
            except OSError as error:
                done = run.tally.done_bytes
                raise TargetError(f"output failed after {done} bytes: {error}") from error
            run.tally.written_bytes += count


def _write_all(stream: BinaryIO, data: memoryview) -> None:
    """Write everything to a stream that may take less at a time. Raises: OSError."""
    while data:
        count = stream.write(data)
        if not count:
            raise BlockingIOError("it takes no more: open it blocking")
        data = data[count:]
