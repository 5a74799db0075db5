"""The zstd level of the next frames: as it was asked for, or chosen by which stage waits."""

from __future__ import annotations

from enum import Enum, auto

__all__ = ["AUTO_LEVELS", "LevelChoice", "StoreState"]

AUTO_LEVELS = (1, 3, 5, 8, 12)  # each takes about twice as long as the one before
_PATIENCE = 4  # as many slabs must agree before the level changes


class StoreState(Enum):
    """What the uploaders do when a slab is about to be compressed."""

    IDLE = auto()  # nothing is on its way: the workers are what everything waits for
    BUSY = auto()
    BEHIND = auto()  # packs pile up: the workers have time to spare


class LevelChoice:
    """Holds the level, or moves it step by step; owned by the coordinating thread."""

    def __init__(self, level: int | None) -> None:
        """Hold a level; None lets it move, from the fastest."""
        self._is_fixed = level is not None
        self._step = self._score = 0
        self.level = AUTO_LEVELS[0] if level is None else level

    def observe(self, store: StoreState) -> None:
        """Note what the uploaders do; tell it once for each slab."""
        if self._is_fixed:
            return
        if store is StoreState.BUSY:
            self._score = 0
            return
        self._score += 1 if store is StoreState.BEHIND else -1
        if abs(self._score) < _PATIENCE:
            return
        self._step += 1 if self._score > 0 else -1
        self._step = min(max(self._step, 0), len(AUTO_LEVELS) - 1)
        self._score = 0
        self.level = AUTO_LEVELS[self._step]
