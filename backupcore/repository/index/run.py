"""One run of the dedup index: an immutable file of chunks, their places, and the way to find them.

    row blocks · key blocks · fences · packs · leaves · end

Rows (id and place) lie in the order of the maps they come from, so that what was backed up
together is read together: 64 rows and their XXH3-64 a block. Keys (the first 8 bytes of an id, the
position of its row) ascend: 128 prefixes, 128 positions and their XXH3-64 a block. Fences are the
first prefix of each key block; they alone stay in memory. Leaves are beginnings of the digests of
the leaves it was made from.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from backupcore.chunk.digest import checksum, ids_equal
from backupcore.closing import Closing
from backupcore.errors import Damaged
from backupcore.model import ByteArray, Ids
from backupcore.repository.key import PACK_REFERENCE_LENGTH
from backupcore.repository.map import PackRefs

__all__ = [
    "KEYS",
    "NOTHING",
    "ROW",
    "ROWS",
    "ROW_COUNT_MAX",
    "End",
    "Run",
    "prefixes_of",
    "seal_keys",
    "seal_rows",
]

# place and id of a chunk; pack is a position in the run's own table
ROW = np.dtype(
    [
        ("id", "u1", (32,)),
        ("pack", "<u4"),
        ("offset", "<u4"),
        ("stored_length", "<u4"),
        ("plain_length", "<u4"),
        ("checksum", "<u8"),
        ("slot", "u1"),
    ]
)
ROWS = 64
KEYS = 128
ROW_COUNT_MAX = 0xFFFF_FFFF  # positions are u4; the last one means none

_END = struct.Struct("<8s32s6Q")
_MAGIC = b"bcindex\x01"
_SUM_LENGTH = 8
_ROW_BLOCK = ROWS * ROW.itemsize + _SUM_LENGTH
_KEYS = np.dtype([("prefix", "<u8", (KEYS,)), ("position", "<u4", (KEYS,))])
_KEY_BLOCK = _KEYS.itemsize + _SUM_LENGTH
_BULK = 512  # row blocks read at once when all are

Prefixes = npt.NDArray[np.uint64]
Positions = npt.NDArray[np.int64]
NOTHING: tuple[Positions, npt.NDArray[np.void]] = np.zeros(0, np.int64), np.zeros(0, ROW)


class End(NamedTuple):
    """The last bytes of a run: what it belongs to, how long its parts are, what they sum up to.

    table_sum: XXH3-64 of fences and packs. leaf_sum: of leaves. The first field, the magic, is
    told apart from any other file.
    """

    identity: bytes
    row_count: int
    key_count: int
    pack_count: int
    leaf_count: int
    table_sum: int
    leaf_sum: int

    def encode(self) -> bytes:
        """Return its bytes."""
        return _END.pack(_MAGIC, *self)

    @classmethod
    def decode(cls, data: bytes, identity: bytes) -> End:
        """Read it. Raises: Damaged when it is of another kind or of something else."""
        magic, *fields = _END.unpack(data)
        if magic != _MAGIC or fields[0] != identity:
            raise Damaged("is no run of this index")
        return cls(*fields)

    @property
    def sizes(self) -> tuple[int, int, int, int, int]:
        """Bytes of row blocks, key blocks, fences, packs and leaves."""
        key_blocks = -(-self.key_count // KEYS)
        return (
            -(-self.row_count // ROWS) * _ROW_BLOCK,
            key_blocks * _KEY_BLOCK,
            key_blocks * 8,
            self.pack_count * PACK_REFERENCE_LENGTH,
            self.leaf_count * 8,
        )


class Run(Closing):
    """An open run; owned by one thread. What a file holds is checked whenever it is read.

    packs: V36[p], the data packs it refers to. is_usable: bool[p], which of them may be referred
    to; none until `judge` was called.
    """

    def __init__(self, path: Path, identity: bytes) -> None:
        self.path = path
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            size = os.fstat(self._file).st_size
            self._end = end = End.decode(self._read(size - _END.size, _END.size), identity)
            starts = np.cumsum([0, *end.sizes]).tolist()
            if starts[-1] + _END.size != size or end.row_count > ROW_COUNT_MAX:
                raise Damaged("is not as long as it says")
            self._keys_at, fences_at, self._leaves_at = starts[1], starts[2], starts[4]
            tables = self._read(fences_at, self._leaves_at - fences_at)
            if checksum((tables,)) != end.table_sum:
                raise Damaged("has other tables than were written")
        except BaseException:
            self.close()
            raise
        fences_length = end.sizes[2]
        self._fences = np.frombuffer(tables[:fences_length], "<u8")
        self.packs: PackRefs = np.frombuffer(tables[fences_length:], f"V{PACK_REFERENCE_LENGTH}")
        self.is_usable = np.zeros(len(self.packs), np.bool_)
        self._buffer = bytearray()

    @property
    def row_count(self) -> int:
        """How many chunks it holds, some perhaps twice."""
        return self._end.row_count

    @property
    def weight(self) -> int:
        """What merging it costs: its rows and leaves."""
        return self._end.row_count + self._end.leaf_count

    @property
    def is_mostly_dead(self) -> bool:
        """Whether most of its packs may not be referred to."""
        return 2 * int(self.is_usable.sum()) < len(self.packs)

    def judge(self, is_usable: Callable[[bytes], bool]) -> None:
        """Say which packs may be referred to."""
        judged = (is_usable(pack) for pack in self.packs.tolist())
        self.is_usable = np.fromiter(judged, np.bool_, len(self.packs))

    def find(self, ids: Ids) -> tuple[Positions, npt.NDArray[np.void]]:
        """Return which of some ids it holds in usable packs, by position, and ROW[h] of each.

        Raises: Damaged, OSError; then the file is not to be trusted any more.
        """
        at, positions = self._find_positions(prefixes_of(ids))
        if not len(at):
            return NOTHING
        blocks, inverse = np.unique(positions // ROWS, return_inverse=True)
        found = self._row_blocks(blocks)[inverse, positions % ROWS]
        hit = ids_equal(found["id"], ids[at]) & self.is_usable[found["pack"]]
        return at[hit], found[hit]

    def rows(self) -> Iterator[npt.NDArray[np.void]]:
        """Yield ROW[n] of everything that is in usable packs, in order. Raises: Damaged."""
        block_count = -(-self.row_count // ROWS)
        for first in range(0, block_count, _BULK):
            count = min(_BULK, block_count - first)
            run = self._read(first * _ROW_BLOCK, count * _ROW_BLOCK)
            found = _opened_rows(_checked(memoryview(run), _ROW_BLOCK)).reshape(-1)
            found = found[: self.row_count - first * ROWS]
            yield found[self.is_usable[found["pack"]]]

    def leaves(self) -> Prefixes:
        """Return uint64[l], ascending: the leaves it was made from. Raises: Damaged."""
        data = self._read(self._leaves_at, self._end.leaf_count * 8)
        if checksum((data,)) != self._end.leaf_sum:
            raise Damaged("has other leaves than were written")
        return np.frombuffer(data, "<u8")

    def close(self) -> None:
        """Close the file."""
        if self._file >= 0:
            os.close(self._file)
        self._file = -1

    def _find_positions(self, wanted: Prefixes) -> tuple[Positions, Positions]:
        """Return which prefixes there are, by position, and the row of each."""
        block = np.searchsorted(self._fences, wanted, side="right") - 1
        at = np.flatnonzero(block >= 0)
        blocks, inverse = np.unique(block[at], return_inverse=True)
        if not len(blocks):
            return at, at
        words = self._read_blocks(self._keys_at, _KEY_BLOCK, blocks).view("<u8")
        same = words[:, :KEYS][inverse] == wanted[at, None]
        column = same.argmax(axis=1)
        positions = words[:, KEYS:-1].view("<u4")[inverse, column].astype(np.int64)
        hit = same[np.arange(len(at)), column] & (positions < self.row_count)
        return at[hit], positions[hit]

    def _row_blocks(self, blocks: Positions) -> npt.NDArray[np.void]:
        """Return ROW[n, 64] of some blocks."""
        found = _opened_rows(self._read_blocks(0, _ROW_BLOCK, blocks))
        if (found["pack"] >= len(self.packs)).any():
            raise Damaged("names a pack beyond its table")
        return found

    def _read_blocks(self, start: int, length: int, blocks: Positions) -> ByteArray:
        """Return uint8[n, length]: checked blocks of one kind, until the next ones are read."""
        if len(self._buffer) < len(blocks) * length:
            self._buffer = bytearray(len(blocks) * length)
        view = memoryview(self._buffer)[: len(blocks) * length]
        for at, block in enumerate(blocks.tolist()):
            part = view[at * length : (at + 1) * length]
            if os.preadv(self._file, (part,), start + block * length) != length:
                raise Damaged("ends early")
        return _checked(view, length)

    def _read(self, offset: int, length: int) -> bytes:
        """Return bytes of the file. Raises: Damaged when it ends before."""
        parts: list[bytes] = []
        end = offset + length
        while 0 <= offset < end:
            part = os.pread(self._file, end - offset, offset)
            if not part:
                break
            parts.append(part)
            offset += len(part)
        if offset != end:
            raise Damaged("ends early")
        return b"".join(parts)


def prefixes_of(ids: Ids | npt.NDArray[np.void]) -> Prefixes:
    """Return uint64[n]: the beginnings of ids or digests of 32 bytes."""
    words: Prefixes = np.ascontiguousarray(ids).view("<u8").reshape(-1, 4)[:, 0]
    return words


def seal_rows(rows: npt.NDArray[np.void]) -> bytes:
    """Return ROW[n] as row blocks; the last one is filled up with zeros."""
    block_count = -(-len(rows) // ROWS)
    padded = np.zeros(block_count * ROWS, ROW)
    padded[: len(rows)] = rows
    return _sealed(padded.view(np.uint8).reshape(block_count, ROWS * ROW.itemsize))


def seal_keys(prefixes: Prefixes, positions: npt.NDArray[np.uint32]) -> bytes:
    """Return keys as key blocks; the last one is filled up with keys of no row."""
    block_count = -(-len(prefixes) // KEYS)
    blocks = np.zeros(block_count, _KEYS)
    padded_prefixes = np.full(block_count * KEYS, np.iinfo(np.uint64).max, "<u8")
    padded_positions = np.full(block_count * KEYS, ROW_COUNT_MAX, "<u4")
    padded_prefixes[: len(prefixes)] = prefixes
    padded_positions[: len(positions)] = positions
    blocks["prefix"] = padded_prefixes.reshape(block_count, KEYS)
    blocks["position"] = padded_positions.reshape(block_count, KEYS)
    return _sealed(blocks.view(np.uint8).reshape(block_count, _KEYS.itemsize))


def _opened_rows(blocks: ByteArray) -> npt.NDArray[np.void]:
    """Return ROW[n, 64] of checked row blocks."""
    return np.ascontiguousarray(blocks[:, :-_SUM_LENGTH]).view(ROW)


def _sealed(blocks: ByteArray) -> bytes:
    sums = _sums(blocks.reshape(-1).data, blocks.shape[1])
    return np.hstack((blocks, sums.view(np.uint8).reshape(-1, _SUM_LENGTH))).tobytes()


def _checked(run: memoryview, length: int) -> ByteArray:
    """Return uint8[n, length] of blocks that end in their checksum. Raises: Damaged."""
    blocks = np.frombuffer(run, np.uint8).reshape(-1, length)
    told = np.ascontiguousarray(blocks[:, -_SUM_LENGTH:]).view("<u8").reshape(-1)
    if not np.array_equal(_sums(run, length, length - _SUM_LENGTH), told):
        raise Damaged("holds a block that is not what was written")
    return blocks


def _sums(run: memoryview, length: int, counted: int | None = None) -> npt.NDArray[np.uint64]:
    """Return uint64[n]: the XXH3-64 of the first bytes of each block, of all unless told."""
    counted = counted or length
    sums = [checksum((run[at : at + counted],)) for at in range(0, len(run), length)]
    return np.array(sums, "<u8")
