"""What the layer that takes the time says of calls whose time is known."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import pytest

from backupcore.driver import Buffer, ObjectInfo, Role
from backupcore.driver.memory import MemoryDriver
from backupcore.driver.relay import Layer
from backupcore.errors import ObjectMissing
from backupcore.testing.timing import CallTiming, Timed, Timings
from backupcore.units import MIB
from tests.driver.fake_clock import FakeClock


class Slow(Layer):
    """Takes a second for each call and one more for each MiB and each listed object."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(MemoryDriver())
        self._clock = clock

    def put(
        self,
        key: str,
        parts: Sequence[Buffer],
        *,
        if_absent: bool = False,
        role: Role = Role.DATA,
    ) -> None:
        self._clock.sleep(1 + sum(map(len, parts)) / MIB)
        self.below.put(key, parts, if_absent=if_absent, role=role)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        for info in self.below.list(prefix):
            self._clock.sleep(1)
            yield info

    def delete(self, keys: Iterable[str]) -> None:
        chosen = list(keys)
        self._clock.sleep(len(chosen))
        self.below.delete(chosen)


@pytest.fixture
def timings() -> Timings:
    return Timings()


@pytest.fixture
def timed(timings: Timings) -> Timed:
    clock = FakeClock()
    return Timed(Slow(clock), timings, clock=clock)


def test_latency_is_of_small_calls_and_the_rate_of_large_ones(
    timed: Timed, timings: Timings
) -> None:
    for index in range(3):
        timed.put(f"small-{index}", [])
    timed.put("middle", [bytes(MIB // 2)])
    timed.put("large", [bytes(MIB), bytes(2 * MIB)])
    [found] = timings.report()
    assert found == CallTiming("put", 5, 3 * MIB + MIB // 2, 1.0, 1.0, 3 * MIB / 4)


def test_a_call_that_fails_is_not_counted(timed: Timed, timings: Timings) -> None:
    with pytest.raises(ObjectMissing):
        timed.get("missing")
    with pytest.raises(ObjectMissing):
        timed.stat("missing")
    assert timings.report() == []


def test_a_listing_is_timed_until_its_first_object(timed: Timed, timings: Timings) -> None:
    for index in range(5):
        timed.below.below.put(f"{index}", [b"x"])  # type: ignore[attr-defined]
    assert len(list(timed.list())) == 5
    [found] = timings.report()
    assert (found.operation, found.call_count, found.latency_max_s) == ("list", 1, 1.0)


def test_a_deletion_of_many_is_counted_and_tells_nothing_of_latency(
    timed: Timed, timings: Timings
) -> None:
    timed.delete(str(index) for index in range(10))
    [found] = timings.report()
    assert (found.call_count, found.latency_median_s) == (1, None)
    timed.delete(["one"])
    [found] = timings.report()
    assert (found.call_count, found.latency_median_s) == (2, 1.0)


def test_reading_into_a_buffer_counts_as_get(timed: Timed, timings: Timings) -> None:
    timed.below.below.put("key", [b"0123456789"])  # type: ignore[attr-defined]
    assert timed.get_into("key", 5, bytearray(10)) == 5
    assert timed.get("key", 0, 2) == b"01"
    [found] = timings.report()
    assert (found.operation, found.call_count, found.size_bytes) == ("get", 2, 7)
