"""What threads do to one slab: read and name its chunks, then store the new ones as frames."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from backupcore.chunk.digest import ID_LENGTH, checksum, chunk_ids, ids_equal, nonzero_chunks
from backupcore.chunk.frame import FrameDecoder, FrameEncoder, FrameLabel
from backupcore.config import SelfCheck
from backupcore.errors import Damaged
from backupcore.model import ByteArray, Grid, Ids
from backupcore.operation.ingest.plan import Slab, neighbours
from backupcore.repository.pack import StoredFrame
from backupcore.units import MIB
from backupcore.volume import Volume

__all__ = ["NewFrame", "Sealer", "SlabFacts", "read_slab"]

_PIECE_BYTES = MIB  # read, tested and named while the processor's own cache holds it
_SAMPLE = 16  # of so many frames one is checked when only a sample is


@dataclass(frozen=True, slots=True)
class SlabFacts:
    """What is in a slab: nonzero bool[n], and ids uint8[n, 32], zero where the chunk is."""

    nonzero: npt.NDArray[np.bool_]
    ids: Ids


@dataclass(frozen=True, slots=True)
class NewFrame:
    """A frame to be made: positions int64[s] of its chunks in the slab, and its label."""

    positions: npt.NDArray[np.int64]
    label: FrameLabel


def read_slab(
    volume: Volume, slab: Slab, buffer: ByteArray, grid: Grid, id_key: bytes
) -> SlabFacts:
    """Fill the buffer with a slab's bytes and name its chunks. Raises: SourceError."""
    if len(buffer) < slab.length:
        raise AssertionError("a slab is longer than the buffer it is read into")
    chunk = grid.chunk_size_bytes
    nonzero = np.zeros(len(slab.cells), np.bool_)
    ids = np.zeros((len(slab.cells), ID_LENGTH), np.uint8)
    step = max(1, _PIECE_BYTES // chunk)
    for first in range(0, len(slab.cells), step):
        piece = slice(first, first + step)
        run = buffer[first * chunk : min((first + step) * chunk, slab.length)]
        for start, count in neighbours(slab.cells[piece]):
            view = run.data[start * chunk : (start + count) * chunk]
            volume.read_into(int(slab.cells[first + start]) * chunk, view)
        named = nonzero_chunks(run, chunk)
        nonzero[piece] = named
        ids[piece][named] = chunk_ids(run.data, chunk, id_key, np.flatnonzero(named).tolist())
    return SlabFacts(nonzero, ids)


class Sealer:
    """Makes frames of chunks and checks each while it is hot; may be called by many threads."""

    def __init__(self, grid: Grid, id_key: bytes, level: int, self_check: SelfCheck) -> None:
        self._grid = grid
        self._id_key = id_key
        self._level = level
        self._self_check = self_check
        self._own = threading.local()

    def seal(
        self, slab: Slab, buffer: ByteArray, ids: Ids, frames: Sequence[NewFrame]
    ) -> list[StoredFrame]:
        """Return the frames of a slab. Raises: Damaged when one does not decode to its source."""
        run = buffer.data[: slab.length]
        return [self._seal_one(slab, run, ids, frame) for frame in frames]

    def _seal_one(self, slab: Slab, run: memoryview, ids: Ids, new: NewFrame) -> StoredFrame:
        tools = self._tools()
        plain = self._gather(run, new.positions, tools.gathered)
        frame = tools.encoder.encode(plain, new.label)
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
            tools = self._own.tools = _Tools(self._level, self._grid.frame_size_bytes)
        return tools


class _Tools:
    def __init__(self, level: int, frame_size_bytes: int) -> None:
        self.encoder = FrameEncoder(level)
        self.decoder = FrameDecoder()
        self.gathered = bytearray(frame_size_bytes)
        self.decoded = bytearray(frame_size_bytes)
