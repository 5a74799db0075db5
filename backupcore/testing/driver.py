"""The conformance kit for storage drivers, for authors (pytest) and operators (no pytest).

    class TestMine(DriverConformance):
        @pytest.fixture
        def driver(self):
            with open_driver("mine:…") as driver:
                yield driver

    for result in run_promises(lambda: open_driver("mine:…"), "kit"):
        print(result.outcome, result.name, result.detail)

The promises are the functions of `promise_object` and `promise_store`. Each works below a prefix
of its own and removes what it stored, so the kit may run on a store that holds other things.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from backupcore.driver import Driver, check_prefix
from backupcore.driver.pace import Retrying, RetryPolicy
from backupcore.testing import promise_object, promise_store
from backupcore.testing.bench import Bench
from backupcore.testing.promise import (
    Promise,
    PromiseResult,
    check_promise,
    promises_of,
    try_promises,
)

if TYPE_CHECKING:
    import pytest

__all__ = ["PROMISES", "DriverConformance", "run_promises"]

LIST_COUNT = 10_000
PATIENCE_S = 20.0
PROMISES: tuple[Promise[Bench], ...] = tuple(promises_of(promise_object, promise_store))


def run_promises(
    open_driver: Callable[[], Driver],
    prefix: str = "",
    *,
    promises: Sequence[Promise[Bench]] = PROMISES,
    list_count: int = LIST_COUNT,
) -> Iterator[PromiseResult]:
    """Try one promise after the other on a live store and yield what became of each.

    open_driver: opens a connection; each promise gets two of its own.
    prefix: where to work; nothing outside is touched. list_count: objects in the long listing.
    """
    place = _place(prefix)

    @contextmanager
    def open_bench(name: str) -> Iterator[Bench]:
        with _patient(open_driver) as driver, _patient(open_driver) as second:
            yield Bench(driver, second, f"{place}{name}/", list_count)

    return try_promises(promises, open_bench)


def _patient(open_driver: Callable[[], Driver]) -> Driver:
    """Open a connection that asks again for a while: being away for a moment breaks no promise."""
    return Retrying(open_driver(), policy=RetryPolicy(deadline_s=PATIENCE_S))


def _place(prefix: str) -> str:
    """Return a new place below the prefix, so that runs do not meet each other's leftovers."""
    above = f"{prefix.rstrip('/')}/" if prefix.rstrip("/") else ""
    return check_prefix(f"{above}kit-{secrets.token_hex(8)}/")


class DriverConformance:
    """Subclass it as `Test…` and give it a fixture `driver`: every promise becomes a test.

    A fixture `second_driver`, another connection to the same store, lets more be tested.
    list_count: objects in the long listing; lower it for a slow store. prefix: where to work.
    """

    list_count = LIST_COUNT
    prefix = ""

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Make one test of each promise."""
        if "promise" in metafunc.fixturenames:
            metafunc.parametrize("promise", PROMISES, ids=[promise.name for promise in PROMISES])

    def test_promise(
        self, promise: Promise[Bench], driver: Driver, request: pytest.FixtureRequest
    ) -> None:
        """A driver keeps what it promises; the failure says why that matters."""
        try:
            second = request.getfixturevalue("second_driver")
        except LookupError:
            second = driver
        place = f"{_place(self.prefix)}{promise.name}/"
        check_promise(promise, Bench(driver, second, place, self.list_count))
