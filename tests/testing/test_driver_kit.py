"""The kit must be able to fail: each broken driver breaks the promise that forbids it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

import pytest

from backupcore.driver import Buffer, Capabilities, Driver, ObjectInfo, Role
from backupcore.driver.memory import MemoryDriver, MemoryStore
from backupcore.driver.relay import Layer
from backupcore.errors import ObjectMissing
from backupcore.testing.driver import PROMISES, run_promises
from backupcore.testing.promise import Broken, Outcome, PromiseResult

pytest_plugins = ["pytester"]


class Broke(Layer):
    """A driver with a fault to be found."""

    def put(
        self,
        key: str,
        parts: Sequence[Buffer],
        *,
        if_absent: bool = False,
        role: Role = Role.DATA,
    ) -> None:
        self.below.put(key, self.spoil(parts), if_absent=if_absent, role=role)

    def spoil(self, parts: Sequence[Buffer]) -> Sequence[Buffer]:
        return parts


class ReversesParts(Broke):
    def spoil(self, parts: Sequence[Buffer]) -> Sequence[Buffer]:
        return list(reversed(parts))


class LosesTheLastByte(Broke):
    def spoil(self, parts: Sequence[Buffer]) -> Sequence[Buffer]:
        return [b"".join(parts)[:-1]]


class RemembersWhatItSent(Broke):
    def spoil(self, parts: Sequence[Buffer]) -> Sequence[Buffer]:
        self.sent = parts
        return parts


class IgnoresIfAbsent(Layer):
    def put(
        self,
        key: str,
        parts: Sequence[Buffer],
        *,
        if_absent: bool = False,
        role: Role = Role.DATA,
    ) -> None:
        self.below.put(key, parts, role=role)


class ChecksThenPuts(Layer):
    def put(
        self,
        key: str,
        parts: Sequence[Buffer],
        *,
        if_absent: bool = False,
        role: Role = Role.DATA,
    ) -> None:
        try:
            is_there = self.below.stat(key) is not None
        except ObjectMissing:
            is_there = False
        time.sleep(0.001)  # the way to a real store
        self.below.put(key, parts, if_absent=if_absent and is_there, role=role)


class ListsOnePage(Layer):
    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        return islice(self.below.list(prefix), 100)


class ListsDirectories(Layer):
    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        return (i for i in self.below.list(prefix) if i.key.startswith(prefix.rstrip("/") + "/"))


class IgnoresTheOffset(Layer):
    def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        return self.below.get(key, 0, length)


class TakesZeroForAll(Layer):
    def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        return self.below.get(key, offset, length or None)


class ReadsNothingPastTheEnd(Layer):
    def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        return self.below.get(key)[offset:][:length]

    def get_into(self, key: str, offset: int, buffer: Buffer) -> int:
        return Driver.get_into(self, key, offset, buffer)


class ReadsNothingWhenMissing(Layer):
    def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        try:
            return self.below.get(key, offset, length)
        except ObjectMissing:
            return b""


class ComplainsOfMissingKeys(Layer):
    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            self.below.stat(key)
            self.below.delete([key])


class DeletesOnePage(Layer):
    def delete(self, keys: Iterable[str]) -> None:
        self.below.delete(islice(keys, 1_000))


class DeletesByPrefix(Layer):
    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            self.below.delete(info.key for info in list(self.below.list(key)))


class FillsTheWholeBuffer(Layer):
    def get_into(self, key: str, offset: int, buffer: Buffer) -> int:
        length = self.below.get_into(key, offset, buffer)
        memoryview(buffer)[length:] = bytes(len(buffer) - length)
        return len(buffer)


class TakesAnyName(MemoryDriver):
    def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        return super().get(key.lower() or "x", offset, length)


FAULTS: list[tuple[type[Layer], str]] = [
    (ReversesParts, "joins_parts_in_order"),
    (RemembersWhatItSent, "lets_go_of_buffers_after_a_put"),
    (LosesTheLastByte, "keeps_objects_of_any_size"),
    (LosesTheLastByte, "tells_the_size"),
    (IgnoresIfAbsent, "refuses_a_second_object_when_asked_to"),
    (ChecksThenPuts, "lets_exactly_one_of_many_writers_win"),
    (ListsOnePage, "lists_every_object_once"),
    (ListsDirectories, "lists_by_any_beginning_of_a_key"),
    (IgnoresTheOffset, "reads_ranges"),
    (IgnoresTheOffset, "reads_to_the_end_without_a_length"),
    (TakesZeroForAll, "returns_nothing_for_an_empty_range"),
    (ReadsNothingPastTheEnd, "refuses_an_offset_past_the_end"),
    (ReadsNothingWhenMissing, "says_when_an_object_is_missing"),
    (ComplainsOfMissingKeys, "deletes_what_is_missing"),
    (DeletesOnePage, "deletes_many_at_once"),
    (DeletesByPrefix, "deletes_nothing_else"),
    (FillsTheWholeBuffer, "says_how_much_it_read_into_a_buffer"),
]


def run_one(name: str, open_driver: Callable[[], Driver]) -> PromiseResult:
    [chosen] = [promise for promise in PROMISES if promise.name == name]
    [result] = run_promises(open_driver, "kit", promises=[chosen], list_count=500)
    return result


@pytest.mark.parametrize(("fault", "name"), FAULTS)
def test_the_kit_finds(fault: type[Layer], name: str) -> None:
    store = MemoryStore()
    assert run_one(name, lambda: fault(MemoryDriver(store))).outcome is Outcome.BROKEN


def test_the_kit_finds_a_driver_that_takes_any_name() -> None:
    result = run_one("refuses_names_that_are_no_keys", TakesAnyName)
    assert result.outcome is Outcome.BROKEN


def test_a_driver_that_cannot_be_opened_breaks_its_promises() -> None:
    def refuse() -> Driver:
        raise ObjectMissing("no such bucket")

    result = run_one("tells_the_size", refuse)
    assert (result.outcome, result.detail) == (Outcome.BROKEN, "ObjectMissing: no such bucket")


def test_results_say_why_a_promise_matters() -> None:
    result = run_one("lists_every_object_once", MemoryDriver)
    assert "prune" in result.why
    assert result.duration_s >= 0


@pytest.mark.parametrize(
    ("capabilities", "name", "detail"),
    [
        (Capabilities(), "lets_exactly_one_of_many_writers_win", "conditional_put"),
        (Capabilities(list_lag_s_max=9), "lists_every_object_once", "list_lag_s_max"),
        (
            Capabilities(list_lag_s_max=9),
            "lists_at_once_what_another_connection_stored",
            "list_lag_s_max",
        ),
        (Capabilities(range_get=False), "reads_scattered_ranges_of_a_large_object", "range_get"),
        (Capabilities(), "keeps_an_object_of_the_largest_size", "object_size_bytes_max"),
    ],
)
def test_what_is_not_claimed_is_not_tried(
    capabilities: Capabilities, name: str, detail: str
) -> None:
    result = run_one(name, lambda: MemoryDriver(capabilities=capabilities))
    assert result.outcome is Outcome.NOT_CLAIMED
    assert detail in result.detail


def test_the_largest_object_is_tried_when_it_is_named() -> None:
    capabilities = Capabilities(object_size_bytes_max=1_000)
    result = run_one(
        "keeps_an_object_of_the_largest_size", lambda: MemoryDriver(capabilities=capabilities)
    )
    assert result.outcome is Outcome.KEPT


def test_a_run_leaves_nothing_behind_and_touches_nothing_else() -> None:
    store = MemoryStore()
    MemoryDriver(store).put("kit/mine", [b"x"])
    results = list(run_promises(lambda: MemoryDriver(store), "kit/", list_count=50))
    assert {result.outcome for result in results} == {Outcome.KEPT, Outcome.NOT_CLAIMED}
    assert set(store.objects) == {"kit/mine"}


def test_a_broken_promise_leaves_nothing_behind() -> None:
    store = MemoryStore()
    run_one("reads_ranges", lambda: IgnoresTheOffset(MemoryDriver(store)))
    assert store.objects == {}


SUITE = """
import pytest
from backupcore.driver.memory import MemoryDriver
from backupcore.testing.driver import DriverConformance

class Slow(MemoryDriver):
    def stat(self, key):
        raise TypeError("a bug of the plugin")

class TestSlow(DriverConformance):
    list_count = 20

    @pytest.fixture
    def driver(self):
        return Slow()
"""


def test_a_failing_test_says_why_the_promise_matters(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(SUITE)
    done = pytester.runpytest_subprocess("-rs", "-p", "no:cacheprovider")
    done.stdout.fnmatch_lines(
        [
            "*a bug of the plugin*",
            "*why it matters: Packs are proven complete by their size*",
            "SKIPPED*not claimed: second_driver, another connection*",
        ]
    )


def test_a_broken_promise_is_an_assertion() -> None:
    assert issubclass(Broken, AssertionError)
