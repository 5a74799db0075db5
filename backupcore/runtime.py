"""Time, chance, threads and the process's name: the only door of the core to all four.

Tests and simulations hand in their own `Runtime`; nothing else in the core imports `time`,
`random`, `os.urandom` or starts a thread.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import ParamSpec, Protocol, TypeVar

from backupcore.errors import Stopped

__all__ = ["Clock", "Process", "Runtime", "StopFlag", "SystemClock", "open_pool"]

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R")

LISTEN_S = 0.25  # the longest wait between two looks at a stop flag


class StopFlag(Protocol):
    """What a caller sets to end an operation; `threading.Event` fits."""

    def is_set(self) -> bool:
        """Return whether the operation shall start nothing new."""
        ...

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set or the seconds are over."""
        ...


class Clock(ABC):
    """Tells the time and waits."""

    @abstractmethod
    def now(self) -> datetime:
        """Return the wall clock's time, in UTC."""

    @abstractmethod
    def monotonic(self) -> float:
        """Return seconds since an arbitrary point; never goes back."""

    @abstractmethod
    def sleep(self, wait_s: float) -> None:
        """Return after that many seconds."""


class SystemClock(Clock):
    """The machine's own clocks."""

    def now(self) -> datetime:
        """Return the wall clock's time, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds since boot, not counting suspend."""
        return time.monotonic()

    def sleep(self, wait_s: float) -> None:
        """Sleep."""
        time.sleep(wait_s)


@dataclass(frozen=True, slots=True)
class Process:
    """Names this process among all machines: host, boot and process id with its start time.

    scope: the machine's id and the space its process numbers count in. Machines share host names
    and containers share boots, so without it nothing can be said of another process.
    """

    host: str
    boot_id: str
    pid: int
    started: str
    scope: str = ""

    @classmethod
    def current(cls) -> Process:
        """Return the name of the running process."""
        pid = os.getpid()
        return cls(_host(), _boot_id(), pid, _start_time(pid), _scope())

    def is_gone(self) -> bool:
        """Return whether the named process surely ended: it ran here and does no more.

        A process of another host, machine or container is never known to be gone, nor is one
        that this user may not look at.
        """
        scope = _scope()
        if not scope or (self.host, self.scope) != (_host(), scope):
            return False
        if self.boot_id != _boot_id():
            return True
        started = _start_time(self.pid)
        return self.started != started if started else _is_free(self.pid)


class _Inline(Executor):
    """Runs what is submitted at once, in the caller."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001 - handed to whoever asks for the result
            future.set_exception(error)
        return future


class _Pool(ThreadPoolExecutor):
    """Threads that know for whom they work."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        context = copy_context()
        return super().submit(lambda: context.run(fn, *args, **kwargs))


def open_pool(thread_count: int, name: str) -> Executor:
    """Return an executor with that many threads; with none, calls run in the caller, in order.

    Context variables are those of who submits a call.
    """
    if thread_count == 0:
        return _Inline()
    return _Pool(thread_count, thread_name_prefix=name)


def map_ordered(
    pool: Executor, function: Callable[[T], R], items: Iterable[T], *, limit: int, stop: StopFlag
) -> Iterator[R]:
    """Yield what a function returns for each item, in their order, up to `limit` under way.

    Raises: Stopped within a second of the flag, what the function raises.
    """
    under_way: deque[Future[R]] = deque()
    for item in items:
        if len(under_way) >= limit:
            yield _result(under_way.popleft(), stop)
        under_way.append(pool.submit(function, item))
    while under_way:
        yield _result(under_way.popleft(), stop)


def _result(future: Future[R], stop: StopFlag) -> R:
    while not stop.is_set():
        if future.done() or wait([future], timeout=LISTEN_S).done:
            return future.result()
    raise Stopped("stopped before everything was done")


@dataclass(frozen=True, slots=True)
class Runtime:
    """What the core takes from the world, so that a test can own it."""

    clock: Clock = field(default_factory=SystemClock)
    random_bytes: Callable[[int], bytes] = os.urandom
    process: Process = field(default_factory=Process.current)
    never: StopFlag = field(default_factory=threading.Event)

    def new_id(self) -> str:
        """Return 128 random bits as 32 hexadecimal digits."""
        return self.random_bytes(16).hex()


def _host() -> str:
    return socket.gethostname()[:64]


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _scope() -> str:
    """Return the machine's id and its process-number namespace, empty when either is unknown.

    A machine without an id of its own is known by its boot, as long as that lasts.
    """
    try:
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""
    try:
        machine_id = Path("/etc/machine-id").read_text(encoding="ascii").strip() or _boot_id()
    except OSError:
        machine_id = _boot_id()
    return f"{machine_id}/{namespace}" if machine_id else ""


def _is_free(pid: int) -> bool:
    """Return whether no process has this number, not even one that /proc hides."""
    try:
        os.kill(pid, 0)
    except OSError as error:
        return isinstance(error, ProcessLookupError)
    return False


def _start_time(pid: int) -> str:
    """Return the kernel's start time of a process, empty when there is none with this id."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return text.rpartition(")")[2].split()[19]  # field 22 of proc(5), after the command's name
