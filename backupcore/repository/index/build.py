"""Makes a run of the dedup index, in memory that does not grow with it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from backupcore.chunk.digest import checksum
from backupcore.closing import Closing
from backupcore.repository.index.run import (
    KEYS,
    ROW_COUNT_MAX,
    ROWS,
    End,
    prefixes_of,
    seal_keys,
    seal_rows,
)
from backupcore.repository.map import PackRefs, pack_refs

__all__ = ["RunBuilder"]

Prefixes = npt.NDArray[np.uint64]
Keys = tuple[Prefixes, npt.NDArray[np.uint32]]  # prefixes and the positions of their rows

_WRITTEN_ROWS = 1 << 14
_BUCKETS = 1 << 12  # equal parts of the range of prefixes, the least that is merged at once
_BUCKET_EDGES = np.arange(1, _BUCKETS, dtype=np.uint64) << np.uint64(64 - 12)


class _Aside:
    """Sorted parts of keys, put aside in one file without a name until all are merged."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: BinaryIO | None = None
        self._parts: list[tuple[int, npt.NDArray[np.int64]]] = []

    def put(self, keys: Keys) -> None:
        """Put sorted keys aside. Raises: OSError."""
        if self._file is None:
            self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115
        prefixes, positions = keys
        cuts = np.concatenate(([0], np.searchsorted(prefixes, _BUCKET_EDGES), [len(prefixes)]))
        self._parts.append((self._file.tell(), cuts))
        self._file.write(prefixes.tobytes() + positions.tobytes())

    def shares(self, row_count: int) -> Iterator[list[Keys]]:
        """Yield the keys of every part, some buckets of about so many keys at once.

        Ids are uniform, so buckets hold about as many keys each.
        """
        if self._file is None:
            return
        self._file.flush()
        total = sum(int(cuts[-1]) for _, cuts in self._parts)
        step = max(1, _BUCKETS * row_count // total)
        for first in range(0, _BUCKETS, step):
            end = min(first + step, _BUCKETS)
            yield [self._read(self._file.fileno(), *part, first, end) for part in self._parts]

    def close(self) -> None:
        """Give the file back."""
        if self._file is not None:
            self._file.close()

    def _read(
        self, file: int, base: int, cuts: npt.NDArray[np.int64], first: int, end: int
    ) -> Keys:
        start, count, every = int(cuts[first]), int(cuts[end] - cuts[first]), int(cuts[-1])
        prefixes = os.pread(file, count * 8, base + start * 8)
        positions = os.pread(file, count * 4, base + every * 8 + start * 4)
        return np.frombuffer(prefixes, np.uint64), np.frombuffer(positions, np.uint32)


class RunBuilder(Closing):
    """Writes one run to an open file: rows as they come, then what was sorted on the way.

    folder: where parts that are sorted are put aside. sorted_rows: how many keys are sorted at
    once; a quarter as many are when parts are merged.
    """

    def __init__(
        self, file: BinaryIO, identity: bytes, folder: Path, *, sorted_rows: int = 1 << 20
    ) -> None:
        self._file = file
        self._identity = identity
        self._sorted_rows = sorted_rows
        self._merged_rows = -(-sorted_rows // 4)
        self._row_count = 0
        self._waiting: list[npt.NDArray[np.void]] = []
        self._waiting_count = 0
        self._unsorted: list[Prefixes] = []
        self._unsorted_count = 0
        self._aside = _Aside(folder)
        self._packs: dict[bytes, int] = {}
        self._leaves: list[Prefixes] = []

    @property
    def row_count(self) -> int:
        """How many rows were added."""
        return self._row_count

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing that a run would tell."""
        return not self._row_count and not self._leaves

    def add(self, rows: npt.NDArray[np.void], packs: PackRefs) -> None:
        """Add ROW[n] whose packs are positions in `packs`; beyond what a run can hold, nothing."""
        rows = rows[: ROW_COUNT_MAX - self._row_count].copy()
        if not len(rows):
            return
        numbers = np.zeros(len(packs), np.uint32)
        for at in np.unique(rows["pack"]).tolist():
            numbers[at] = self._packs.setdefault(packs[at].tobytes(), len(self._packs))
        rows["pack"] = numbers[rows["pack"]]
        self._row_count += len(rows)
        self._waiting.append(rows)
        self._waiting_count += len(rows)
        if self._waiting_count >= _WRITTEN_ROWS:
            self._write_rows(self._waiting_count // ROWS * ROWS)
        self._unsorted.append(prefixes_of(rows["id"]))
        self._unsorted_count += len(rows)
        if self._unsorted_count >= self._sorted_rows:
            self._aside.put(self._sorted())

    def note_leaves(self, leaves: Prefixes) -> None:
        """Note beginnings of the digests of leaves whose chunks were added."""
        if len(leaves):
            self._leaves.append(leaves)

    def finish(self) -> None:
        """Write everything that is not written."""
        self._write_rows(self._waiting_count)
        fences, key_count = self._write_keys()
        leaves = np.unique(np.concatenate([np.zeros(0, np.uint64), *self._leaves]))
        tables = fences.tobytes() + pack_refs(list(self._packs)).tobytes()
        end = End(
            identity=self._identity,
            row_count=self._row_count,
            key_count=key_count,
            pack_count=len(self._packs),
            leaf_count=len(leaves),
            table_sum=checksum((tables,)),
            leaf_sum=checksum((leaves.tobytes(),)),
        )
        self._file.write(tables + leaves.tobytes() + end.encode())

    def close(self) -> None:
        """Give back what was put aside; the file is the caller's."""
        self._aside.close()

    def _write_rows(self, count: int) -> None:
        """Write the first of the rows that wait."""
        if self._waiting_count:
            rows = np.concatenate(self._waiting)
            self._file.write(seal_rows(rows[:count]))
            self._waiting, self._waiting_count = [rows[count:].copy()], len(rows) - count

    def _sorted(self) -> Keys:
        """Return the keys of the last rows, sorted."""
        prefixes = np.concatenate([np.zeros(0, np.uint64), *self._unsorted])
        self._unsorted, self._unsorted_count = [], 0
        order = np.argsort(prefixes, kind="stable")
        first = self._row_count - len(prefixes)
        return prefixes[order], (order + first).astype(np.uint32)

    def _write_keys(self) -> tuple[Prefixes, int]:
        """Write the key blocks; return the first prefix of each, and how many keys there are."""
        fences, key_count = [np.zeros(0, np.uint64)], 0
        rest: Keys = (np.zeros(0, np.uint64), np.zeros(0, np.uint32))
        for share in self._merged():
            prefixes = np.concatenate((rest[0], share[0]))
            positions = np.concatenate((rest[1], share[1]))
            whole = len(prefixes) // KEYS * KEYS
            self._file.write(seal_keys(prefixes[:whole], positions[:whole]))
            fences.append(prefixes[:whole:KEYS].copy())
            key_count += whole
            rest = prefixes[whole:], positions[whole:]
        self._file.write(seal_keys(*rest))
        return np.concatenate((*fences, rest[0][:1])), key_count + len(rest[0])

    def _merged(self) -> Iterator[Keys]:
        """Yield all keys, ascending, each prefix once: the row that was added first has it."""
        last = self._sorted()
        if len(last[0]) == self._row_count:
            yield _once(*last)
            return
        self._aside.put(last)
        for share in self._aside.shares(self._merged_rows):
            prefixes = np.concatenate([prefixes for prefixes, _ in share])
            positions = np.concatenate([positions for _, positions in share])
            order = np.argsort(prefixes, kind="stable")
            yield _once(prefixes[order], positions[order])


def _once(prefixes: Prefixes, positions: npt.NDArray[np.uint32]) -> Keys:
    """Return sorted keys without those whose prefix the one before has."""
    is_first = np.ones(len(prefixes), np.bool_)
    is_first[1:] = prefixes[1:] != prefixes[:-1]
    return prefixes[is_first], positions[is_first]
