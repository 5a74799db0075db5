"""What threads do to one slab: read and name its chunks, then store the new ones as frames."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from backupcore.chunk.buffers import map_memory
from backupcore.chunk.digest import ID_LENGTH, checksum, chunk_ids, ids_equal, name_chunks
from backupcore.chunk.frame import FrameDecoder, FrameEncoder, FrameLabel
from backupcore.config import SelfCheck
from backupcore.errors import Damaged
from backupcore.model import ByteArray, Grid, Ids
from backupcore.operation.ingest.plan import Slab, neighbours
from backupcore.repository.pack import StoredFrame
from backupcore.units import MIB
from backupcore.volume import Volume

__all__ = ["NewFrame", "SlabFacts", "SlabWorker"]

_PIECE_BYTES = MIB  # read, tested and named while the processor's own cache holds it
_SAMPLE = 16  # of so many frames one is checked when only a sample is


@dataclass(frozen=True, slots=True)
class SlabFacts:
    """What is in a slab, for each of its cells.

    nonzero: bool[n]. kept: bool[n], what the base has in the same place; only the other chunks
    are in the buffer. ids: uint8[n, 32], zero where the chunk is.
    """

    nonzero: npt.NDArray[np.bool_]
    kept: npt.NDArray[np.bool_]
    ids: Ids


@dataclass(frozen=True, slots=True)
class NewFrame:
    """A frame to be made: positions int64[s] of its chunks in the slab, label and zstd level."""

    positions: npt.NDArray[np.int64]
    label: FrameLabel
    level: int


class SlabWorker:
    """Reads slabs and makes frames of them; may be called by many threads."""

    def __init__(self, volume: Volume, grid: Grid, id_key: bytes, *, self_check: SelfCheck) -> None:
        self._volume = volume
        self._grid = grid
        self._id_key = id_key
        self._self_check = self_check
        self._own = threading.local()

    def read(self, slab: Slab, buffer: ByteArray, known: Ids | None) -> SlabFacts:
        """Name a slab's chunks; put into the buffer, in their places, those not known.

        known: uint8[n, 32], the ids that the base has in these places, zero where it has none.
        What is known passes through the same few pages again and again, in the processor's cache.
        Raises: SourceError.
        """
        if len(buffer) < slab.length:
            raise AssertionError("a slab is longer than the buffer it is read into")
        chunk, count = self._grid.chunk_size_bytes, len(slab.cells)
        nonzero, kept = np.zeros(count, np.bool_), np.zeros(count, np.bool_)
        ids = np.zeros((count, ID_LENGTH), np.uint8)
        step = max(1, _PIECE_BYTES // chunk)
        for first in range(0, count, step):
            piece = slice(first, first + step)
            place = buffer[first * chunk : min((first + step) * chunk, slab.length)]
            is_likely_known = known is not None and bool(known[piece].any())
            run = self._tools().piece[: len(place)] if is_likely_known else place
            self._read_piece(slab.cells[piece], run)
            nonzero[piece], ids[piece] = name_chunks(run, chunk, self._id_key)
            if known is not None and is_likely_known:
                kept[piece] = nonzero[piece] & ids_equal(ids[piece], known[piece])
                for position in np.flatnonzero(nonzero[piece] & ~kept[piece]).tolist():
                    part = slice(position * chunk, (position + 1) * chunk)
                    place[part] = run[part]
        return SlabFacts(nonzero, kept, ids)

    def _read_piece(self, cells: npt.NDArray[np.int64], run: ByteArray) -> None:
        chunk = self._grid.chunk_size_bytes
        for start, count in neighbours(cells):
            view = run.data[start * chunk : (start + count) * chunk]
            self._volume.read_into(int(cells[start]) * chunk, view)

    def seal(
        self, slab: Slab, buffer: ByteArray, ids: Ids, frames: Sequence[NewFrame]
    ) -> list[StoredFrame]:
        """Return the frames of a slab. Raises: Damaged when one does not decode to its source."""
        run = buffer.data[: slab.length]
        return [self._seal_one(slab, run, ids, frame) for frame in frames]

    def _seal_one(self, slab: Slab, run: memoryview, ids: Ids, new: NewFrame) -> StoredFrame:
        tools = self._tools()
        plain = self._gather(run, new.positions, tools.gathered)
        frame = tools.encoder(new.level).encode(plain, new.label)
        wanted = ids[new.positions]
        if self._is_checked(new.label.number):
            decoded = memoryview(tools.decoded)[: len(plain)]
            tools.decoder.decode_parts(frame.header, frame.payload, decoded)
            found = chunk_ids(decoded, self._grid.chunk_size_bytes, self._id_key)
            if not ids_equal(found, wanted).all():
                first = int(slab.cells[new.positions[0]]) * self._grid.chunk_size_bytes
                raise Damaged(
                    f"a frame of the volume's extent from {first} on does not decode to what was "
                    "read: memory, processor or codec is faulty: nothing was committed"
                )
        cells = slab.cells[new.positions]
        return StoredFrame(frame, new.label.number, checksum(frame.parts), cells, wanted)

    def _gather(
        self, run: memoryview, positions: npt.NDArray[np.int64], scratch: bytearray
    ) -> memoryview:
        """Return the chunks at some positions as one run, without a copy where they are one."""
        chunk = self._grid.chunk_size_bytes
        first, last = int(positions[0]), int(positions[-1])
        if last - first == len(positions) - 1:
            return run[first * chunk : (last + 1) * chunk]
        filled = 0
        for position in positions.tolist():
            part = run[position * chunk : (position + 1) * chunk]
            scratch[filled : filled + len(part)] = part
            filled += len(part)
        return memoryview(scratch)[:filled]

    def _is_checked(self, number: int) -> bool:
        if self._self_check is SelfCheck.SAMPLE:
            return number % _SAMPLE == 0
        return self._self_check is SelfCheck.ALL

    def _tools(self) -> _Tools:
        """Return this thread's encoder, decoder and scratch memory."""
        tools: _Tools | None = getattr(self._own, "tools", None)
        if tools is None:
            tools = self._own.tools = _Tools(self._grid)
        return tools


class _Tools:
    """What one thread works with."""

    def __init__(self, grid: Grid) -> None:
        self._level = 0
        self._encoder: FrameEncoder | None = None
        self.decoder = FrameDecoder()
        self.gathered = bytearray(grid.frame_size_bytes)
        self.decoded = bytearray(grid.frame_size_bytes)
        self.piece = map_memory(max(_PIECE_BYTES, grid.chunk_size_bytes))

    def encoder(self, level: int) -> FrameEncoder:
        """Return the encoder of a level."""
        if self._encoder is None or level != self._level:
            self._encoder, self._level = FrameEncoder(level), level
        return self._encoder
