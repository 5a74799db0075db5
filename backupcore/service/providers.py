"""The configured providers of volumes, by the name that rows keep."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from typing import TypeVar

from backupcore.catalog.row import VolumeRow
from backupcore.closing import Closing
from backupcore.provider import Provider
from backupcore.provider.registry import open_provider
from backupcore.runtime import open_pool
from backupcore.service.error import Invalid, NotReady
from backupcore.service.settings import Settings

__all__ = ["Providers"]

log = logging.getLogger(__name__)

T = TypeVar("T")

THREAD_COUNT = 8
ANSWER_S = 2.0  # how long a request waits for a provider


class Providers(Closing):
    """Who holds the volumes; every one is open from the start to the end of the service."""

    def __init__(self, settings: Settings) -> None:
        """Open them all. Raises: as `open_provider`, after closing those that were opened."""
        self._settings = settings
        self._opened: dict[str, Provider] = {}
        self.is_closed = False
        self._pool = open_pool(THREAD_COUNT, "provider")
        folder = str(settings.path(""))
        try:
            for name, given in settings.providers.items():
                self._opened[name] = open_provider(
                    given.kind, name=name, options=given.options, folder=folder
                )
        except BaseException:
            self.close()
            raise

    def of(self, row: VolumeRow) -> Provider:
        """Return who holds a volume. Raises: Invalid when the operator took it away."""
        try:
            return self._opened[row.provider]
        except KeyError:
            raise Invalid(
                f"Invalid volume: Volume {row.id}: its provider is not configured any more"
            ) from None

    def maker(self) -> tuple[str, Provider]:
        """Return the name and the provider that new volumes come from. Raises: Invalid."""
        chosen = self._settings.default_provider
        names = [chosen] if chosen is not None else list(self._opened)
        for name in names:
            if self._opened[name].has_new_volumes:
                return name, self._opened[name]
        raise Invalid("Invalid volume: no volumes are made here: name one that exists already")

    def named(self) -> Iterator[tuple[str, Provider]]:
        """Yield every provider with its name."""
        yield from self._opened.items()

    def soon(self, call: Callable[[], T]) -> T | None:
        """Return what a call returns; None when that takes longer than a request may wait.

        It goes on in a thread of its own then. Raises: what the call raises, NotReady.
        """
        future = self.later(call)
        wait([future], timeout=ANSWER_S)
        return future.result() if future.done() else None

    def later(self, call: Callable[[], T]) -> Future[T]:
        """Make a call in a thread of its own. Raises: NotReady when the service is stopping."""
        try:
            future = self._pool.submit(call)
        except RuntimeError as error:  # the pool was shut down
            raise NotReady("The backup service is stopping: try again later.") from error
        future.add_done_callback(_log_failure)
        return future

    def close(self) -> None:
        """Close every provider and wait for calls under way; the next start settles the rest."""
        self.is_closed = True
        for provider in self._opened.values():
            provider.close()
        self._pool.shutdown(wait=True, cancel_futures=True)


def _log_failure(future: Future[T]) -> None:
    error = None if future.cancelled() else future.exception()
    if error is not None:
        log.error("work at a provider failed", exc_info=error)
