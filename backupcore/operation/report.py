"""Telling the caller how far an operation is, a few times a second."""

from __future__ import annotations

from collections.abc import Callable

from backupcore.model import Progress, ProgressCallback
from backupcore.runtime import Clock

__all__ = ["Reporter"]

_EVERY_S = 0.2


class Reporter:
    """Calls a progress callback when it is time; owned by the coordinating thread."""

    def __init__(
        self,
        callback: ProgressCallback | None,
        clock: Clock,
        progress: Callable[[], Progress],
    ) -> None:
        self._callback = callback
        self._clock = clock
        self._progress = progress
        self._told_s = clock.monotonic()

    def tick(self) -> None:
        """Tell, unless that was done a moment ago."""
        if self._callback is not None and self._clock.monotonic() - self._told_s >= _EVERY_S:
            self.tell()

    def tell(self) -> None:
        """Tell at once."""
        if self._callback is not None:
            self._told_s = self._clock.monotonic()
            self._callback(self._progress())
