"""Ctrl-C and SIGTERM: an operation that listens ends tidily, anything else is interrupted.

A second Ctrl-C kills at once; nothing in the repository minds.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["STOP", "StopSignals"]

_LOOK_EVERY_S = 0.05


class StopSignals:
    """A stop flag that signals set; owned by the main thread, read by any.

    It takes no lock: a handler that waits for a lock its own thread holds would wait for ever.
    """

    def __init__(self) -> None:
        self._is_set = False
        self._is_heard = False

    def is_set(self) -> bool:
        """Return whether a signal came."""
        return self._is_set

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until a signal comes or the seconds are over."""
        end = None if timeout is None else time.monotonic() + timeout
        while not self._is_set and (end is None or time.monotonic() < end):
            time.sleep(_LOOK_EVERY_S)
        return self._is_set

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Receive the signals, if this is the main thread."""
        self._is_set = self._is_heard = False
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        for number in before:
            signal.signal(number, self._receive)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def heard(self, is_heard: bool = True) -> Iterator[StopSignals]:
        """Only set the flag, which an operation looks at; or, with False, interrupt after all."""
        before, self._is_heard = self._is_heard, is_heard
        try:
            yield self
        finally:
            self._is_heard = before

    def _receive(self, number: int, frame: FrameType | None) -> None:
        is_first, self._is_set = not self._is_set, True
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        if is_first and not self._is_heard:
            raise KeyboardInterrupt


STOP = StopSignals()
