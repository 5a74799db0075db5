"""What the driver makes of answers that a healthy Swift does not give."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from backupcore.driver import Driver
from backupcore.errors import (
    AccessDenied,
    ObjectMissing,
    StoreError,
    StoreFull,
    Unavailable,
)
from backupcore_swift import SwiftDriver, connection
from backupcore_swift.login import AuthV1, Login, Trust
from backupcore_swift.option import Settings
from tests.driver.fake_clock import FakeClock
from tests.drivers.swift.place import Place
from tests.servers.fault_proxy import Fault, FaultProxy, Rule, Way

CONTENT = bytes(range(256)) * 1000
OBJECT = "*/nightly/*"
LISTING = "*prefix=*"

STATUSES = [
    (400, StoreError),
    (401, AccessDenied),
    (403, AccessDenied),
    (408, Unavailable),
    (409, Unavailable),
    (412, StoreError),
    (413, StoreFull),
    (422, Unavailable),
    (429, Unavailable),
    (498, Unavailable),
    (500, Unavailable),
    (502, Unavailable),
    (503, Unavailable),
    (504, Unavailable),
    (507, StoreFull),
]


@pytest.fixture
def driver(proxy: FaultProxy, place: Place) -> Iterator[Driver]:
    with place.open() as driver:
        driver.put("data/x", [CONTENT])
        yield driver


@pytest.mark.parametrize(("status", "kind"), STATUSES)
def test_a_status_means_the_same_whatever_was_asked(
    driver: Driver, proxy: FaultProxy, status: int, kind: type[StoreError]
) -> None:
    headers = "Retry-After: 7" if kind is Unavailable else ""
    proxy.rules = [Rule(Fault.ANSWER, status=status, headers=headers, count=None)]
    for call in (
        lambda: driver.put("data/y", [b"x"]),
        lambda: driver.get("data/x"),
        lambda: driver.get_into("data/x", 5, bytearray(5)),
        lambda: driver.stat("data/x"),
        lambda: list(driver.list()),
        lambda: driver.delete(["data/x"]),
    ):
        with pytest.raises(StoreError, match=str(status)) as found:
            call()
        assert type(found.value) is kind
        if isinstance(found.value, Unavailable):
            assert found.value.retry_after_s == 7


def test_a_token_refused_twice_is_denied_after_one_login(driver: Driver, proxy: FaultProxy) -> None:
    logins = proxy.count("GET", "/auth/*")
    proxy.rules = [Rule(Fault.ANSWER, "PUT", status=401, count=None)]
    with pytest.raises(AccessDenied, match=r"401.*check the credentials"):
        driver.put("data/y", [b"x"])
    assert proxy.count("GET", "/auth/*") == logins + 1
    assert proxy.count("PUT", "*/data/y") == 2


def test_a_put_that_must_be_the_first_is_sent_again_when_its_token_was_refused(
    driver: Driver, proxy: FaultProxy
) -> None:
    proxy.rules = [Rule(Fault.ANSWER, "PUT", status=401)]
    driver.put("register", [b"x"], if_absent=True)
    assert driver.get("register") == b"x"


def test_a_put_that_must_be_the_first_is_never_sent_again_otherwise(
    driver: Driver, proxy: FaultProxy
) -> None:
    proxy.rules = [Rule(Fault.RESET_AFTER, "PUT", count=None)]
    with pytest.raises(Unavailable, match="register"):
        driver.put("register", [b"x"], if_absent=True)
    assert proxy.count("PUT", "*/register") == 1


def test_a_put_that_swift_has_not_kept_for_a_younger_one_is_unavailable(
    driver: Driver, proxy: FaultProxy
) -> None:
    proxy.rules = [Rule(Fault.ANSWER, "PUT", status=202)]
    with pytest.raises(Unavailable, match=r"202 Injected: not stored.*check the clocks"):
        driver.put("data/y", [b"x"])


def test_a_put_whose_reply_names_other_bytes_is_unavailable(
    driver: Driver, proxy: FaultProxy
) -> None:
    proxy.rules = [Rule(Fault.ANSWER, "PUT", status=201, headers=f"Etag: {'0' * 32}")]
    with pytest.raises(Unavailable, match="stored with ETag 0000"):
        driver.put("data/y", [b"x"])


def test_a_put_to_a_container_that_has_just_come_is_unavailable(
    driver: Driver, proxy: FaultProxy
) -> None:
    proxy.rules = [Rule(Fault.ANSWER, "PUT", status=404)]
    with pytest.raises(Unavailable, match=r"404.*try again"):
        driver.put("data/y", [b"x"])


def test_bytes_that_changed_on_their_way_up_are_refused_by_swift(
    driver: Driver, proxy: FaultProxy
) -> None:
    proxy.rules = [Rule(Fault.FLIP, "PUT", way=Way.UP, at_bytes=1000)]
    with pytest.raises(Unavailable, match=r"422.*changed on their way"):
        driver.put("data/y", [CONTENT])
    with pytest.raises(ObjectMissing):
        driver.get("data/y")


def test_bytes_of_a_whole_object_that_changed_on_their_way_down_are_noticed(
    driver: Driver, proxy: FaultProxy
) -> None:
    proxy.rules = [Rule(Fault.FLIP, "GET", OBJECT, at_bytes=1000, count=None)]
    with pytest.raises(Unavailable, match="other bytes came than its ETag says"):
        driver.get("data/x")
    with pytest.raises(Unavailable, match="other bytes came than its ETag says"):
        driver.get_into("data/x", 0, bytearray(len(CONTENT)))


@pytest.mark.parametrize(
    "rule",
    [
        Rule(Fault.CUT, "GET", OBJECT, at_bytes=5000),
        Rule(Fault.SHORTEN, "GET", OBJECT, at_bytes=5000),
        Rule(Fault.RESET_BEFORE, "GET", OBJECT),
        Rule(Fault.RESET_AFTER, "GET", OBJECT),
        Rule(Fault.ANSWER, "GET", OBJECT, status=204),
        Rule(Fault.ANSWER, "GET", OBJECT, status=200, body=b"<html>welcome</html>"),
        Rule(Fault.ANSWER, "GET", OBJECT, status=416),
    ],
    ids=lambda rule: f"{rule.fault} {rule.status}",
)
@pytest.mark.parametrize("length", [None, 100_000])
def test_an_answer_that_is_short_or_something_else_is_unavailable(
    driver: Driver, proxy: FaultProxy, rule: Rule, length: int | None
) -> None:
    proxy.rules = [rule]
    with pytest.raises(Unavailable, match="data/x"):
        driver.get("data/x", 0, length)
    assert driver.get("data/x", 0, length) == CONTENT[:length]


@pytest.mark.parametrize("fault", [Fault.MOVE_RANGE, Fault.CLAIM_RANGE])
def test_another_range_than_asked_for_is_unavailable(
    driver: Driver, proxy: FaultProxy, fault: Fault
) -> None:
    proxy.rules = [Rule(fault, "GET", OBJECT, at_bytes=7)]
    with pytest.raises(Unavailable, match="asked for bytes=10-19"):
        driver.get("data/x", 10, 10)


def test_a_range_that_was_not_asked_for_is_unavailable(driver: Driver, proxy: FaultProxy) -> None:
    proxy.rules = [
        Rule(Fault.ANSWER, "GET", OBJECT, status=206, headers="Content-Range: bytes 5-9/10")
    ]
    with pytest.raises(Unavailable, match="served bytes 5-9/10"):
        driver.get("data/x")


@pytest.mark.parametrize("rule", [Rule(Fault.CUT, "GET", LISTING, at_bytes=40),
                                  Rule(Fault.SHORTEN, "GET", LISTING, at_bytes=40),
                                  Rule(Fault.ANSWER, "GET", LISTING, status=200)],
                         ids=lambda rule: str(rule.fault))  # fmt: skip
def test_a_page_that_is_cut_off_is_unavailable(
    driver: Driver, proxy: FaultProxy, rule: Rule
) -> None:
    proxy.rules = [rule]
    with pytest.raises(Unavailable, match="listing"):
        list(driver.list())


@pytest.mark.parametrize(
    "page",
    [
        {},
        ["text"],
        [{"subdir": "nightly/b+c/x/"}],
        [{"name": "nightly/b+c/x", "bytes": "many", "last_modified": "2026-01-01T00:00:00"}],
        [{"name": "elsewhere", "bytes": 1, "last_modified": "2026-01-01T00:00:00"}],
        [{"name": "nightly/b+c/x", "bytes": 1, "last_modified": "2026-01-01T00:00:00"}] * 2,
    ],
    ids=["no list", "no objects", "folders", "no size", "another prefix", "twice"],
)
def test_a_page_that_is_no_listing_of_the_prefix_ends_it(
    driver: Driver, proxy: FaultProxy, page: object
) -> None:
    body = json.dumps(page).encode()
    proxy.rules = [
        Rule(
            Fault.ANSWER, "GET", LISTING, status=200, body=body,
            headers="Content-Type: application/json",
        )
    ]  # fmt: skip
    with pytest.raises(StoreError, match="listing") as found:
        list(driver.list())
    assert not isinstance(found.value, Unavailable)


def test_an_object_said_to_be_missing_is_so_only_where_one_can_look(
    driver: Driver, proxy: FaultProxy
) -> None:
    proxy.rules = [
        Rule(Fault.ANSWER, "GET", OBJECT, status=404, count=None),
        Rule(Fault.ANSWER, "HEAD", status=503),
    ]
    with pytest.raises(Unavailable, match=r"container .*503"):
        driver.get("data/x")
    with pytest.raises(ObjectMissing, match="data/x: no such object"):
        driver.get("data/x")


def test_deleting_looks_for_the_container_once(driver: Driver, proxy: FaultProxy) -> None:
    driver.delete([f"none/{number}" for number in range(5)])
    assert proxy.count("HEAD") == 1


def test_a_redirect_is_not_followed_with_the_token(driver: Driver, proxy: FaultProxy) -> None:
    proxy.rules = [
        Rule(Fault.ANSWER, "GET", OBJECT, status=302, headers=f"Location: {proxy.url}/elsewhere")
    ]
    with pytest.raises(StoreError, match="302"):
        driver.get("data/x")
    assert not proxy.count("*", "/elsewhere")


def test_a_connection_is_used_again_and_again(driver: Driver, proxy: FaultProxy) -> None:
    before = proxy.connection_count
    for _ in range(5):
        driver.put("data/y", [CONTENT])
        driver.get("data/y")
        driver.get("data/y", 5, 5)
        driver.stat("data/y")
        list(driver.list())
        driver.delete(["data/y"])
    assert proxy.connection_count == before


def test_a_connection_that_was_closed_meanwhile_is_replaced(
    driver: Driver, proxy: FaultProxy
) -> None:
    proxy.drop()
    assert driver.get("data/x") == CONTENT


def test_a_server_that_stands_still_is_given_up(
    driver: Driver, proxy: FaultProxy, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "READ_S_MAX", 0.3)
    proxy.rules = [Rule(Fault.STALL, "GET", OBJECT, at_bytes=5000)]
    with place.open() as other, pytest.raises(Unavailable, match="timed out"):
        other.get("data/x")


class HastyClock(FakeClock):
    """A clock on which every look takes a minute."""

    def monotonic(self) -> float:
        self.time_s += 61
        return self.time_s


def test_a_transfer_that_trickles_is_given_up_both_ways(
    driver: Driver, place: Place, proxy: FaultProxy
) -> None:
    server = place.server
    login = Login(AuthV1(f"{proxy.url}/auth/v1.0", server.user, server.key, Trust()))
    settings = Settings(place.container, "nightly/b+c/")
    with SwiftDriver(settings, login, clock=HastyClock()) as slow:
        with pytest.raises(Unavailable, match="bytes went over"):
            slow.put("data/y", [CONTENT])
        proxy.rules = [Rule(Fault.TRICKLE, "GET", OBJECT, at_bytes=5, rate_bytes_s=200)]
        with pytest.raises(Unavailable, match="bytes went over"):
            slow.get("data/x")
