"""The connections to one export: as many as the server allows, replaced when they are lost."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

import tenacity

from backupcore.closing import Closing
from backupcore.errors import SourceError, VolumeMissing
from backupcore.runtime import Clock
from backupcore.volume.nbd.address import Address
from backupcore.volume.nbd.connection import Connection
from backupcore.volume.nbd.wire import ConnectionLost, RequestFailed

__all__ = ["Pool"]

T = TypeVar("T")
log = logging.getLogger(__name__)

ATTEMPT_COUNT_MAX = 5  # a server that is started again has 0.5 + 1 + 2 + 4 s for it
# A server with as many clients as it takes leaves the next one waiting without a word.
FURTHER_OPENING_S = 5.0


class Pool(Closing):
    """Lends each connection to one thread at a time and opens further ones when all are lent.

    One connection stays open all the time: some servers end with their last client.
    """

    def __init__(
        self,
        address: Address,
        contexts: Sequence[str],
        *,
        timeout_s: float,
        connection_count_max: int,
        clock: Clock,
    ) -> None:
        """Open the first connection. Raises: VolumeMissing, SourceError."""
        self._address = address
        self._contexts = contexts
        self._timeout_s = timeout_s
        self._clock = clock
        self._turn = threading.Condition()
        self._is_closed = False
        try:
            first = Connection(address, contexts, timeout_s)
        except ConnectionLost as error:
            raise VolumeMissing(str(error)) from error
        self.export = first.export
        self._idle = [first]
        self._count = 1  # open ones and those about to be
        self._count_allowed = connection_count_max if self.export.can_multi_conn else 1
        self._count_max = self._count_allowed

    def run(self, work: Callable[[Connection], T]) -> T:
        """Return what a function makes of a connection; repeat it whole when that is lost.

        Raises: SourceError when the server does not come back, what the function raises.
        """
        retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(ATTEMPT_COUNT_MAX),
            wait=tenacity.wait_exponential(multiplier=0.5),
            retry=tenacity.retry_if_exception_type(ConnectionLost),
            before_sleep=self._tell_lost,
            sleep=self._clock.sleep,
            reraise=True,
        )
        try:
            result: T = retrying(lambda: self._run_once(work))
        except ConnectionLost as error:
            raise SourceError(str(error)) from error
        return result

    def current_size_bytes(self) -> int:
        """Return the size a new connection is told, the known one where none is to be had."""
        with self._turn:
            if self._is_closed or self._count >= self._count_max:
                return self.export.size_bytes
            self._count += 1
        try:
            with self._connect(FURTHER_OPENING_S) as connection:
                return connection.export.size_bytes
        except ConnectionLost:
            return self.export.size_bytes
        finally:
            self._forget()

    def close(self) -> None:
        """Close what is idle; what is lent is closed when it comes back."""
        with self._turn:
            self._is_closed = True
            idle, self._idle = self._idle, []
            self._turn.notify_all()
        for connection in idle:
            connection.close()

    def _run_once(self, work: Callable[[Connection], T]) -> T:
        connection = self._take()
        try:
            result = work(connection)
        except RequestFailed:
            self._give_back(connection)
            raise
        except BaseException:
            connection.drop()
            self._forget()
            raise
        self._give_back(connection)
        return result

    def _take(self) -> Connection:
        """Return a free connection or a new one; wait when there are as many as there may be."""
        while True:
            connection, is_only = self._reserve()
            if connection is not None:
                return connection
            try:
                return self._open(is_only)
            except BaseException as error:
                self._forget()
                if is_only or not isinstance(error, ConnectionLost | VolumeMissing):
                    raise
                self._settle_for_less(error)

    def _reserve(self) -> tuple[Connection | None, bool]:
        """Return a free connection, or none and whether the one to be opened is the only one."""
        with self._turn:
            while not self._is_closed:
                if self._idle:
                    return self._idle.pop(), False
                if self._count < self._count_max:
                    self._count += 1
                    return None, self._count == 1
                self._turn.wait(self._timeout_s)
        raise SourceError(f"{self._address.identity}: is closed")

    def _open(self, is_only: bool) -> Connection:
        connection = self._connect(self._timeout_s if is_only else FURTHER_OPENING_S)
        size_bytes = connection.export.size_bytes
        if size_bytes != self.export.size_bytes:
            connection.close()
            raise SourceError(
                f"{self._address.identity}: has {size_bytes} bytes now, had "
                f"{self.export.size_bytes} when opened: it is no point in time: start again"
            )
        if is_only:
            self._count_max = self._count_allowed
        return connection

    def _connect(self, opening_s: float) -> Connection:
        return Connection(self._address, self._contexts, self._timeout_s, opening_s=opening_s)

    def _give_back(self, connection: Connection) -> None:
        with self._turn:
            if not self._is_closed:
                self._idle.append(connection)
                self._turn.notify()
                return
        connection.close()

    def _forget(self) -> None:
        with self._turn:
            self._count -= 1
            self._turn.notify()

    def _settle_for_less(self, error: SourceError) -> None:
        with self._turn:
            self._count_max = max(1, self._count)
        log.info(
            "no further connection", extra={"connections": self._count_max, "reason": str(error)}
        )

    def _tell_lost(self, state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        log.warning("connection lost, trying again", extra={"reason": str(error)})
