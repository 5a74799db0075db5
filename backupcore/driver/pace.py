"""The layers that wait: `Throttled` keeps below a rate, `Retrying` repeats what was unavailable.

Clock and random numbers come from the `Runtime`; every wait hears the stop flag.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import tenacity

from backupcore.driver import Buffer, Driver, ObjectInfo, Role, parts_size_bytes
from backupcore.driver.relay import Layer
from backupcore.errors import Stopped, Unavailable
from backupcore.runtime import Clock, Runtime, StopFlag

__all__ = ["RetryPolicy", "Retrying", "Throttled", "open_retrying"]

T = TypeVar("T")
log = logging.getLogger(__name__)

HEARING_S = 0.2  # how long a waiting thread may stay deaf to the stop flag
HELD_COUNT = 10_000  # objects of a listing held back so that its failure can be repaired


class _Bucket:
    """Hands out time slots in the order of asking, each as long as its bytes take at the rate."""

    def __init__(self, rate_bytes_s: float | None, clock: Clock) -> None:
        self._rate_bytes_s = rate_bytes_s
        self._clock = clock
        self._lock = threading.Lock()
        self._free_at = clock.monotonic()

    def reserve(self, size_bytes: int) -> float:
        """Return how long to wait until these bytes are within the rate, in seconds."""
        if self._rate_bytes_s is None:
            return 0.0
        with self._lock:
            now = self._clock.monotonic()
            self._free_at = max(self._free_at, now) + size_bytes / self._rate_bytes_s
            return self._free_at - now


class Throttled(Layer):
    """Keeps all threads together below a rate, up and down apart.

    A put waits before it goes out, a get after it came in. Manifests and control objects are
    charged but never wait: a lease must not expire behind packs.
    """

    def __init__(
        self,
        below: Driver,
        *,
        up_bytes_s: float | None = None,
        down_bytes_s: float | None = None,
        runtime: Runtime | None = None,
        stop: StopFlag | None = None,
    ) -> None:
        super().__init__(below)
        self._runtime = runtime or Runtime()
        self._stop = stop or self._runtime.never
        self._up = _Bucket(up_bytes_s, self._runtime.clock)
        self._down = _Bucket(down_bytes_s, self._runtime.clock)

    def put(
        self,
        key: str,
        parts: Sequence[Buffer],
        *,
        if_absent: bool = False,
        role: Role = Role.DATA,
    ) -> None:
        """Put when the rate allows. Raises: Stopped."""
        wait_s = self._up.reserve(parts_size_bytes(parts))
        if role in (Role.DATA, Role.MAP):
            _wait(self._runtime.clock, self._stop, wait_s)
        self.below.put(key, parts, if_absent=if_absent, role=role)

    def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        """Get, and return when the rate allows. Raises: Stopped."""
        data = self.below.get(key, offset, length)
        _wait(self._runtime.clock, self._stop, self._down.reserve(len(data)))
        return data

    def get_into(self, key: str, offset: int, buffer: Buffer) -> int:
        """Get, and return when the rate allows. Raises: Stopped."""
        length = self.below.get_into(key, offset, buffer)
        _wait(self._runtime.clock, self._stop, self._down.reserve(length))
        return length


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How to repeat: the first window, the widest one and the end of patience, in seconds."""

    wait_first_s: float = 0.5
    wait_s_max: float = 30.0
    deadline_s: float = 300.0


@dataclass(frozen=True, slots=True)
class _Patience:
    """Repeats a call that raised `Unavailable` until it worked or it is too late."""

    policy: RetryPolicy
    runtime: Runtime
    stop: StopFlag

    def repeat(self, operation: str, call: Callable[[], T]) -> T:
        """Return what the call returned in the end."""
        clock, policy = self.runtime.clock, self.policy
        deadline = clock.monotonic() + policy.deadline_s

        def is_too_late(state: tenacity.RetryCallState) -> bool:
            return clock.monotonic() + state.upcoming_sleep > deadline

        attempts = tenacity.Retrying(
            sleep=lambda wait_s: _wait(clock, self.stop, wait_s),
            stop=is_too_late,
            wait=self._choose_wait,
            retry=tenacity.retry_if_exception_type(Unavailable),
            before_sleep=lambda state: _tell(operation, state),
            reraise=True,
        )
        return attempts(call)

    def _choose_wait(self, state: tenacity.RetryCallState) -> float:
        """Return the seconds until the next attempt.

        Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015 (full jitter).
        """
        window = tenacity.wait_exponential(
            multiplier=self.policy.wait_first_s, max=self.policy.wait_s_max
        )
        share = int.from_bytes(self.runtime.random_bytes(8)) / (1 << 64)
        error = _error_of(state)
        asked_s = error.retry_after_s if isinstance(error, Unavailable) else None
        return (asked_s or 0.0) + share * window(state)


def open_retrying(
    open_below: Callable[[], Driver], *, runtime: Runtime, stop: StopFlag | None = None
) -> Retrying:
    """Return a driver that repeats, opened as patiently: some ask their store when opened.

    Raises: Stopped, and what opening raises.
    """
    patience = _Patience(RetryPolicy(), runtime, stop or runtime.never)
    return Retrying(patience.repeat("open", open_below), runtime=runtime, stop=stop)


class Retrying(Layer):
    """Repeats calls that raised `Unavailable`, and nothing else.

    The wait is drawn from a window that doubles up to a limit (full jitter), on top of what the
    store asked for. When the next attempt would start after the deadline the error goes up.
    A put with `if_absent` is never repeated: whether it won, lost, or met its own first attempt
    can only be told by reading back. A listing is repeated until its first objects (10 000) are
    known; they are held until then, so the caller sees none twice. Later failures go up.
    """

    def __init__(
        self,
        below: Driver,
        *,
        policy: RetryPolicy | None = None,
        runtime: Runtime | None = None,
        stop: StopFlag | None = None,
    ) -> None:
        super().__init__(below)
        runtime = runtime or Runtime()
        patience = _Patience(policy or RetryPolicy(), runtime, stop or runtime.never)
        self._repeat = patience.repeat

    def put(
        self,
        key: str,
        parts: Sequence[Buffer],
        *,
        if_absent: bool = False,
        role: Role = Role.DATA,
    ) -> None:
        """Put until it worked; with `if_absent` once. Raises: Stopped."""
        if if_absent:
            self.below.put(key, parts, if_absent=True, role=role)
        else:
            self._repeat("put", lambda: self.below.put(key, parts, role=role))

    def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        """Get until it worked. Raises: Stopped."""
        return self._repeat("get", lambda: self.below.get(key, offset, length))

    def get_into(self, key: str, offset: int, buffer: Buffer) -> int:
        """Get until it worked. Raises: Stopped."""
        return self._repeat("get", lambda: self.below.get_into(key, offset, buffer))

    def stat(self, key: str) -> ObjectInfo:
        """Ask until it worked. Raises: Stopped."""
        return self._repeat("stat", lambda: self.below.stat(key))

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """List, repeating while nothing was yielded yet. Raises: Stopped."""

        def start() -> tuple[Iterable[ObjectInfo], Iterator[ObjectInfo]]:
            infos = iter(self.below.list(prefix))
            return tuple(islice(infos, HELD_COUNT)), infos

        held, rest = self._repeat("list", start)
        yield from held
        yield from rest

    def delete(self, keys: Iterable[str]) -> None:
        """Delete until it worked. Raises: Stopped."""
        chosen = tuple(keys)  # an iterator could be read once only
        self._repeat("delete", lambda: self.below.delete(chosen))


def _error_of(state: tenacity.RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None


def _tell(operation: str, state: tenacity.RetryCallState) -> None:
    facts = {
        "operation": operation,
        "attempt": state.attempt_number,
        "wait_s": state.upcoming_sleep,
        "reason": str(_error_of(state)),
    }
    log.warning("store unavailable, waiting", extra=facts)


def _wait(clock: Clock, stop: StopFlag, wait_s: float) -> None:
    """Sleep in slices between which the stop flag is heard. Raises: Stopped."""
    end = clock.monotonic() + wait_s
    while True:
        if stop.is_set():
            raise Stopped("stopped while waiting for the store")
        left_s = end - clock.monotonic()
        if left_s <= 0:
            return
        clock.sleep(min(left_s, HEARING_S))
