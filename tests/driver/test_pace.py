from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator

import pytest

from backupcore.driver import Driver, ObjectInfo, Role
from backupcore.driver.layer import Retrying, RetryPolicy, Throttled
from backupcore.driver.memory import MemoryDriver
from backupcore.driver.pace import open_retrying
from backupcore.driver.relay import Layer
from backupcore.errors import AccessDenied, ObjectMissing, Stopped, Unavailable
from backupcore.runtime import Runtime
from backupcore.testing.fault import Action, FaultyDriver, Rule
from tests.driver.fake_clock import FakeClock

MOST = b"\xff" * 8  # random bytes that choose (nearly) the whole window


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def runtime(clock: FakeClock) -> Runtime:
    return Runtime(clock=clock, random_bytes=lambda size: MOST[:size])


class AskingToWait(Layer):
    """Is unavailable a number of times and asks for a wait."""

    def __init__(self, below: Driver, count: int, retry_after_s: float) -> None:
        super().__init__(below)
        self.count = count
        self.retry_after_s = retry_after_s

    def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        if self.count:
            self.count -= 1
            raise Unavailable("slow down", retry_after_s=self.retry_after_s)
        return super().get(key, offset, length)


class FailingListing(Layer):
    """Breaks its first listings after some objects."""

    def __init__(self, below: Driver, good_count: int, failure_count: int = 1) -> None:
        super().__init__(below)
        self.good_count = good_count
        self.failure_count = failure_count

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        for index, info in enumerate(super().list(prefix)):
            if index == self.good_count and self.failure_count:
                self.failure_count -= 1
                raise Unavailable("connection reset")
            yield info


def filled(count: int = 10) -> MemoryDriver:
    driver = MemoryDriver()
    for index in range(count):
        driver.put(f"k{index}", [b"0123456789"])
    return driver


@pytest.mark.parametrize("operation", ["put", "get", "get_into", "stat", "list", "delete"])
def test_every_call_is_repeated_until_it_works(operation: str, runtime: Runtime) -> None:
    rules = [Rule("*", Action.FAIL_BEFORE, nth=number) for number in (1, 2, 3)]
    faulty = FaultyDriver(filled(), *rules)
    driver = Retrying(faulty, runtime=runtime)
    calls: dict[str, Callable[[], object]] = {
        "put": lambda: driver.put("new", [b"x"], role=Role.MAP),
        "get": lambda: driver.get("k1", 1, 2),
        "get_into": lambda: driver.get_into("k1", 0, bytearray(4)),
        "stat": lambda: driver.stat("k1").size_bytes,
        "list": lambda: len(list(driver.list("k"))),
        "delete": lambda: driver.delete(key for key in ["k1", "k2"]),
    }
    answers = {"put": None, "get": b"12", "get_into": 4, "stat": 10, "list": 10, "delete": None}
    assert calls[operation]() == answers[operation]
    assert faulty.call_count == 4


def test_a_repeated_deletion_deletes_all_keys_of_an_iterator(runtime: Runtime) -> None:
    memory = filled()
    faulty = FaultyDriver(memory, Rule("delete", Action.SHORT))
    Retrying(faulty, runtime=runtime).delete(f"k{index}" for index in range(10))
    assert list(memory.list()) == []


def test_a_put_with_if_absent_is_never_repeated(runtime: Runtime, clock: FakeClock) -> None:
    faulty = FaultyDriver(MemoryDriver(), Rule("put", Action.FAIL_BEFORE))
    with pytest.raises(Unavailable):
        Retrying(faulty, runtime=runtime).put("register", [b"x"], if_absent=True)
    assert (faulty.call_count, clock.sleeps) == (1, [])


def test_nothing_but_unavailable_is_repeated(runtime: Runtime) -> None:
    faulty = FaultyDriver(MemoryDriver(), Rule("get", Action.CALL))
    with pytest.raises(ObjectMissing):
        Retrying(faulty, runtime=runtime).get("missing")
    assert faulty.call_count == 1


def test_windows_double_up_to_the_widest(runtime: Runtime, clock: FakeClock) -> None:
    policy = RetryPolicy(wait_first_s=1.0, wait_s_max=5.0, deadline_s=100.0)
    driver = Retrying(AskingToWait(filled(), 5, 0.0), policy=policy, runtime=runtime)
    driver.get("k1")
    assert clock.time_s - 1_000 == pytest.approx(1 + 2 + 4 + 5 + 5)


def test_the_wait_is_drawn_from_the_whole_window(clock: FakeClock) -> None:
    runtime = Runtime(clock=clock, random_bytes=lambda size: b"\x40" + bytes(size - 1))
    policy = RetryPolicy(wait_first_s=4.0)
    Retrying(AskingToWait(filled(), 1, 0.0), policy=policy, runtime=runtime).get("k1")
    assert clock.time_s - 1_000 == pytest.approx(1.0)


def test_a_store_that_asks_for_a_wait_gets_it(clock: FakeClock) -> None:
    runtime = Runtime(clock=clock, random_bytes=bytes)
    Retrying(AskingToWait(filled(), 2, 20.0), runtime=runtime).get("k1")
    assert clock.time_s - 1_000 == pytest.approx(40.0)


def test_the_error_goes_up_when_the_deadline_would_be_passed(
    runtime: Runtime, clock: FakeClock
) -> None:
    policy = RetryPolicy(wait_first_s=10.0, wait_s_max=10.0, deadline_s=35.0)
    with pytest.raises(Unavailable, match="slow down"):
        Retrying(AskingToWait(filled(), 99, 0.0), policy=policy, runtime=runtime).get("k1")
    assert clock.time_s - 1_000 == pytest.approx(30.0)


def test_a_wait_beyond_the_deadline_is_not_begun(runtime: Runtime, clock: FakeClock) -> None:
    policy = RetryPolicy(deadline_s=60.0)
    with pytest.raises(Unavailable):
        Retrying(AskingToWait(filled(), 1, 3_600.0), policy=policy, runtime=runtime).get("k1")
    assert clock.sleeps == []


def test_a_stop_is_heard_while_waiting(clock: FakeClock) -> None:
    stop = threading.Event()

    class StoppingClock(FakeClock):
        def sleep(self, wait_s: float) -> None:
            super().sleep(wait_s)
            if self.time_s > 1_002:
                stop.set()

    runtime = Runtime(clock=StoppingClock(), random_bytes=bytes)
    driver = Retrying(AskingToWait(filled(), 1, 100.0), runtime=runtime, stop=stop)
    with pytest.raises(Stopped):
        driver.get("k1")
    assert runtime.clock.monotonic() < 1_002.5


def test_each_wait_is_logged_with_its_reason(
    runtime: Runtime, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        Retrying(AskingToWait(filled(), 1, 1.0), runtime=runtime).get("k1")
    [record] = caplog.records
    assert (record.__dict__["operation"], record.__dict__["reason"]) == ("get", "slow down")


def test_a_listing_that_broke_is_repeated_without_duplicates(runtime: Runtime) -> None:
    driver = Retrying(FailingListing(filled(), 5), runtime=runtime)
    assert sorted(info.key for info in driver.list()) == [f"k{index}" for index in range(10)]


def test_a_listing_that_breaks_after_objects_were_given_out_raises(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backupcore.driver.pace.HELD_COUNT", 4)
    infos = Retrying(FailingListing(filled(), 7), runtime=runtime).list()
    seen = [next(infos).key for _ in range(7)]
    with pytest.raises(Unavailable):
        next(infos)
    assert len(set(seen)) == 7


def test_a_listing_longer_than_what_is_held_is_complete(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backupcore.driver.pace.HELD_COUNT", 4)
    driver = Retrying(FailingListing(filled(), 2), runtime=runtime)
    assert len({info.key for info in driver.list()}) == 10


def test_puts_keep_below_the_rate(runtime: Runtime, clock: FakeClock) -> None:
    driver = Throttled(MemoryDriver(), up_bytes_s=1_000, runtime=runtime)
    for index in range(5):
        driver.put(f"k{index}", [b"x" * 1_500, b"y" * 500])
    assert clock.time_s - 1_000 == pytest.approx(10.0)


def test_gets_keep_below_the_rate(runtime: Runtime, clock: FakeClock) -> None:
    driver = Throttled(filled(), down_bytes_s=10, runtime=runtime)
    driver.get("k1")
    driver.get_into("k2", 5, bytearray(100))
    assert clock.time_s - 1_000 == pytest.approx(1.5)


def test_without_a_rate_nothing_waits(runtime: Runtime, clock: FakeClock) -> None:
    driver = Throttled(filled(), runtime=runtime)
    driver.put("k", [driver.get("k1")])
    assert clock.sleeps == []


def test_threads_share_the_rate(runtime: Runtime, clock: FakeClock) -> None:
    driver = Throttled(MemoryDriver(), up_bytes_s=100, runtime=runtime)
    threads = [
        threading.Thread(target=driver.put, args=(f"k{index}", [bytes(100)])) for index in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert clock.time_s - 1_000 >= 8.0


@pytest.mark.parametrize("role", [Role.MANIFEST, Role.CONTROL])
def test_a_lease_does_not_wait_behind_packs(role: Role, runtime: Runtime, clock: FakeClock) -> None:
    driver = Throttled(MemoryDriver(), up_bytes_s=1, runtime=runtime)
    driver.put("lease", [bytes(300)], role=role)
    assert clock.sleeps == []
    driver.put("pack", [b"x"])
    assert clock.time_s - 1_000 == pytest.approx(301.0)


def test_a_stop_ends_the_wait_for_the_rate(runtime: Runtime) -> None:
    stop = threading.Event()
    stop.set()
    memory = MemoryDriver()
    driver = Throttled(memory, up_bytes_s=1, runtime=runtime, stop=stop)
    with pytest.raises(Stopped):
        driver.put("pack", [bytes(1_000)])
    assert list(memory.list()) == []


def test_a_large_object_is_waited_for_in_slices(runtime: Runtime, clock: FakeClock) -> None:
    driver = Throttled(MemoryDriver(), up_bytes_s=1_000, runtime=runtime)
    driver.put("pack", [bytes(30_000)])
    assert max(clock.sleeps) <= 0.2


def test_access_denied_goes_up_at_once(runtime: Runtime) -> None:
    class Denying(Layer):
        def stat(self, key: str) -> ObjectInfo:
            raise AccessDenied("no")

    with pytest.raises(AccessDenied):
        Retrying(Denying(MemoryDriver()), runtime=runtime).stat("k")


def test_a_store_that_is_away_when_it_is_opened_is_waited_for(
    runtime: Runtime, clock: FakeClock
) -> None:
    answers: list[Exception] = [Unavailable("login: 503"), Unavailable("login: 503")]

    def open_below() -> MemoryDriver:
        if answers:
            raise answers.pop()
        return MemoryDriver()

    with open_retrying(open_below, runtime=runtime) as driver:
        driver.put("k", [b"x"])
    assert sum(clock.sleeps) == pytest.approx(0.5 + 1.0)
