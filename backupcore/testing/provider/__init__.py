"""The conformance kit for volume providers, for authors (pytest) and operators (no pytest).

    class TestMine(ProviderConformance):
        @pytest.fixture
        def provider(self):
            with open_provider("mine", name="mine", options={…}) as provider:
                yield provider

    for result in run_promises(lambda: open_provider("mine", name="mine", options={…})):
        print(result.outcome, result.name, result.detail)

What a promise makes has a name of its own and is removed in the end, so the kit may run where other
volumes are. A provider that makes no volumes is given the place of one that may be overwritten.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from backupcore.provider import Provider
from backupcore.testing.promise import (
    Promise,
    PromiseResult,
    check_promise,
    promises_of,
    try_promises,
)
from backupcore.testing.provider import promise_snapshot, promise_volume
from backupcore.testing.provider.stand import Stand

if TYPE_CHECKING:
    import pytest

__all__ = ["PROMISES", "ProviderConformance", "run_promises"]

PROMISES: tuple[Promise[Stand], ...] = tuple(promises_of(promise_volume, promise_snapshot))


def run_promises(
    open_provider: Callable[[], Provider],
    prefix: str = "kit",
    *,
    place: str = "",
    promises: Sequence[Promise[Stand]] = PROMISES,
) -> Iterator[PromiseResult]:
    """Try one promise after the other and yield what became of each.

    open_provider: opens it; each promise gets two openings of its own. prefix: how the names of
    what is made begin. place: of a volume that may be overwritten, for a provider that makes none.
    """

    @contextmanager
    def open_stand(_name: str) -> Iterator[Stand]:
        with open_provider() as provider, open_provider() as second:
            yield Stand(provider, second, _prefix(prefix), place)

    return try_promises(promises, open_stand)


def _prefix(prefix: str) -> str:
    """Return a prefix of its own, so that runs do not meet each other's leftovers."""
    return f"{prefix}-{secrets.token_hex(6)}-"


class ProviderConformance:
    """Subclass it as `Test…` and give it a fixture `provider`: every promise becomes a test.

    A fixture `second_provider`, another opening of the same, lets more be tested. prefix: how the
    names of what is made begin. place: of a volume that may be overwritten, for a provider that
    makes none.
    """

    prefix = "kit"
    place = ""

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Make one test of each promise."""
        if "promise" in metafunc.fixturenames:
            metafunc.parametrize("promise", PROMISES, ids=[each.name for each in PROMISES])

    def test_promise(
        self, promise: Promise[Stand], provider: Provider, request: pytest.FixtureRequest
    ) -> None:
        """A provider keeps what it promises; the failure says why that matters."""
        try:
            second = request.getfixturevalue("second_provider")
        except LookupError:
            second = provider
        check_promise(promise, Stand(provider, second, _prefix(self.prefix), self.place))
