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
from typing import TYPE_CHECKING

from backupcore.provider import Provider
from backupcore.runtime import SystemClock
from backupcore.testing.driver import Outcome, PromiseResult
from backupcore.testing.provider import promise_snapshot, promise_volume
from backupcore.testing.provider.stand import ProviderPromise, Stand

if TYPE_CHECKING:
    import pytest

__all__ = ["PROMISES", "ProviderConformance", "ProviderPromise", "run_promises"]

PROMISES = tuple(
    thing
    for module in (promise_volume, promise_snapshot)
    for thing in vars(module).values()
    if isinstance(thing, ProviderPromise)
)


def run_promises(
    open_provider: Callable[[], Provider],
    prefix: str = "kit",
    *,
    place: str = "",
    promises: Sequence[ProviderPromise] = PROMISES,
) -> Iterator[PromiseResult]:
    """Try one promise after the other and yield what became of each.

    open_provider: opens it; each promise gets two openings of its own. prefix: how the names of
    what is made begin. place: of a volume that may be overwritten, for a provider that makes none.
    """
    clock = SystemClock()
    for each in promises:
        started = clock.monotonic()
        outcome, detail = _try_promise(each, open_provider, prefix, place)
        duration_s = clock.monotonic() - started
        yield PromiseResult(each.name, each.why, outcome, detail, duration_s)


def _try_promise(
    each: ProviderPromise, open_provider: Callable[[], Provider], prefix: str, place: str
) -> tuple[Outcome, str]:
    try:
        with open_provider() as provider, open_provider() as second:
            stand = Stand(provider, second, _prefix(prefix), place)
            unclaimed = each.unclaimed(stand)
            if unclaimed:
                return Outcome.NOT_CLAIMED, unclaimed
            each.prove(stand)
    except Exception as error:  # noqa: BLE001 - a promise breaks in any way a plugin can fail
        return Outcome.BROKEN, f"{type(error).__name__}: {error}"
    return Outcome.KEPT, ""


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
        self, promise: ProviderPromise, provider: Provider, request: pytest.FixtureRequest
    ) -> None:
        """A provider keeps what it promises; the failure says why that matters."""
        import pytest  # noqa: PLC0415 - extra `test`; operators run the promises without it

        try:
            second = request.getfixturevalue("second_provider")
        except pytest.FixtureLookupError:
            second = provider
        stand = Stand(provider, second, _prefix(self.prefix), self.place)
        unclaimed = promise.unclaimed(stand)
        if unclaimed:
            pytest.skip(f"not claimed: {unclaimed}")
        try:
            promise.prove(stand)
        except Exception as error:
            error.add_note(f"why it matters: {promise.why}")
            raise
