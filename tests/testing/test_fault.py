from __future__ import annotations

import pytest

from backupcore.driver.memory import MemoryDriver
from backupcore.errors import ObjectMissing, StoreError, StoreFull, Unavailable
from backupcore.testing.fault import Action, FaultyDriver, Rule


def faulty(*rules: Rule, full_after_bytes: int | None = None) -> FaultyDriver:
    memory = MemoryDriver()
    for index in range(4):
        memory.put(f"data/{index}", [b"0123456789"])
    return FaultyDriver(memory, *rules, full_after_bytes=full_after_bytes)


def test_without_rules_everything_is_handed_on_and_counted() -> None:
    driver = faulty()
    driver.put("k", [b"x"])
    driver.get("k")
    driver.get_into("k", 0, bytearray(1))
    driver.stat("k")
    list(driver.list())
    driver.delete(["k"])
    assert driver.counts == {"put": 1, "get": 2, "stat": 1, "list": 1, "delete": 1}
    assert driver.call_count == 6


def test_a_call_that_fails_before_did_nothing() -> None:
    driver = faulty(Rule("put", Action.FAIL_BEFORE))
    with pytest.raises(Unavailable):
        driver.put("k", [b"x"])
    with pytest.raises(ObjectMissing):
        driver.stat("k")


@pytest.mark.parametrize("operation", ["put", "delete"])
def test_a_call_whose_reply_is_lost_was_done(operation: str) -> None:
    driver = faulty(Rule(operation, Action.FAIL_AFTER))
    calls = {"put": lambda: driver.put("k", [b"x"]), "delete": lambda: driver.delete(["data/0"])}
    with pytest.raises(Unavailable):
        calls[operation]()
    names = {info.key for info in driver.list()}
    assert ("k" in names) is (operation == "put")
    assert ("data/0" in names) is (operation == "put")


def test_only_the_nth_matching_call_is_hit() -> None:
    driver = faulty(Rule("get", Action.FAIL_BEFORE, key="data/1", nth=2))
    driver.get("data/1")
    driver.get("data/0")
    with pytest.raises(Unavailable):
        driver.get("data/1")
    driver.get("data/1")


def test_a_rule_can_hit_every_call() -> None:
    driver = faulty(Rule("*", Action.FAIL_BEFORE, nth=0))
    for _ in range(3):
        with pytest.raises(Unavailable):
            driver.stat("data/1")


def test_rules_count_also_the_calls_that_another_rule_hit() -> None:
    driver = faulty(Rule("stat", Action.FAIL_BEFORE), Rule("stat", Action.VANISH, nth=2))
    with pytest.raises(Unavailable):
        driver.stat("data/1")
    with pytest.raises(ObjectMissing):
        driver.stat("data/1")


def test_a_short_put_stores_nothing() -> None:
    driver = faulty(Rule("put", Action.SHORT))
    with pytest.raises(StoreError):
        driver.put("k", [b"x"])
    assert len(list(driver.list())) == 4


def test_a_short_get_returns_half() -> None:
    driver = faulty(Rule("get", Action.SHORT, nth=0))
    assert driver.get("data/1") == b"01234"
    assert driver.get_into("data/1", 0, bytearray(10)) == 5


def test_a_short_listing_ends_in_an_error() -> None:
    infos = faulty(Rule("list", Action.SHORT)).list()
    assert [next(infos).key, next(infos).key] == ["data/0", "data/1"]
    with pytest.raises(Unavailable):
        next(infos)


def test_a_short_deletion_deletes_half_and_says_so() -> None:
    driver = faulty(Rule("delete", Action.SHORT))
    with pytest.raises(Unavailable):
        driver.delete(["data/0", "data/1"])
    assert [info.key for info in driver.list()] == ["data/1", "data/2", "data/3"]


def test_corrupt_bytes_differ_in_one_bit() -> None:
    driver = faulty(Rule("get", Action.CORRUPT, nth=0))
    buffer = bytearray(10)
    driver.get_into("data/1", 0, buffer)
    assert driver.get("data/1") == bytes(buffer) == b"01234%6789"


def test_a_full_store_takes_no_puts_but_deletes() -> None:
    driver = faulty(full_after_bytes=10)
    driver.put("a", [b"0123456789"])
    with pytest.raises(StoreFull):
        driver.put("b", [b"x"])
    driver.delete(["a"])
    assert len(list(driver.list("a"))) == 0


def test_a_rule_can_fill_the_store() -> None:
    with pytest.raises(StoreFull):
        faulty(Rule("put", Action.FULL)).put("k", [b"x"])


def test_a_callback_is_called_in_place() -> None:
    called: list[str] = []
    driver = faulty(Rule("put", Action.CALL, callback=lambda: called.append("now")))
    driver.put("k", [b"x"])
    assert called == ["now"]
    assert driver.get("k") == b"x"


def test_every_call_of_a_scenario_can_be_hit_in_turn() -> None:
    def scenario(driver: FaultyDriver) -> None:
        driver.put("a", [b"x"])
        driver.get("a")
        driver.delete(["a"])

    counted = faulty()
    scenario(counted)
    for number in range(1, counted.call_count + 1):
        driver = faulty(Rule("*", Action.FAIL_BEFORE, nth=number))
        with pytest.raises(Unavailable):
            scenario(driver)
        assert driver.call_count == number
