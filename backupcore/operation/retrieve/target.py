"""The target of a restore: changes become gets, and frames are written where their cells are."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator

from backupcore.errors import TargetTooSmall
from backupcore.extents import Extents, clip_extents
from backupcore.model import Backup
from backupcore.operation.retrieve.change import Change
from backupcore.operation.retrieve.fetch import Fetch, FrameUse, cell_runs, plan_fetches
from backupcore.operation.retrieve.retrieval import Retrieval
from backupcore.repository.map import FAN_OUT, Leaf
from backupcore.units import GIB
from backupcore.volume import Volume

__all__ = ["TargetWriter", "check_size"]

# Frames are sorted within a window of so many cells, or leaves where those have few each.
_WINDOW_CELLS = 8 * FAN_OUT
_WINDOW_LEAVES = 64
_ZERO_BYTES = GIB  # zeroed in one call


def check_size(target: Volume, backup: Backup) -> None:
    """Raise TargetTooSmall unless a backup fits."""
    if target.size_bytes < backup.size_bytes:
        raise TargetTooSmall(
            f"{target.name}: has {target.size_bytes} bytes, backup {backup.id} "
            f"needs {backup.size_bytes}: choose a larger target"
        )


class TargetWriter:
    """Changes a target, clipped to what is wanted, and counts it; `write` is for many threads."""

    def __init__(self, run: Retrieval, target: Volume) -> None:
        """Take over a target. Raises: TargetTooSmall."""
        check_size(target, run.backup)
        self._run = run
        self._target = target
        self._lock = threading.Lock()
        # Another restore to it will find what this one wrote.
        self.is_known_zero, target.is_known_zero = target.is_known_zero, False

    def apply(self, changes: Iterable[Change]) -> None:
        """Make all changes and make them durable.

        Raises: TargetError, PackDamaged, StoreError, Stopped, what the changes raise.
        """
        with self._run.fetcher() as fetcher:
            for done in fetcher.run(self._fetches(changes), self._write):
                self._run.tick(done)
        self._run.tell()
        self._target.finish()

    def _fetches(self, changes: Iterable[Change]) -> Iterator[Fetch]:
        """Yield the gets of window after window; zeros are made on the way."""
        window: list[Leaf] = []
        cell_count = 0
        for change in changes:
            self._run.tick()
            self._run.tally.kept_bytes += change.kept_bytes
            self._zero(change.zeros)
            if change.leaf is not None and len(change.leaf.ids):
                window.append(change.leaf)
                cell_count += len(change.leaf.ids)
            if cell_count >= _WINDOW_CELLS or len(window) >= _WINDOW_LEAVES:
                yield from plan_fetches(window)
                window, cell_count = [], 0
        yield from plan_fetches(window)

    def _zero(self, extents: Extents) -> None:
        for offset, length in extents.tolist():
            for start in range(offset, offset + length, _ZERO_BYTES):
                count = min(_ZERO_BYTES, offset + length - start)
                self._target.zero(start, count)
                self._run.tally.zeroed_bytes += count
                self._run.tick()

    def _write(self, use: FrameUse, plain: memoryview) -> None:
        """Write every cell of a frame."""
        for offset, part in cell_runs(use, plain, self._run.chunk_size_bytes):
            for start, length in clip_extents(self._run.wanted, offset, len(part)).tolist():
                self._target.write(start, part[start - offset : start - offset + length])
                with self._lock:
                    self._run.tally.written_bytes += length
