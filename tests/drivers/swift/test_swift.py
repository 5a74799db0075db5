"""What a real Swift does to the driver: missing containers, quotas, old tokens, dead servers."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from backupcore.driver import Driver
from backupcore.driver.layer import Retrying
from backupcore.errors import (
    AccessDenied,
    ObjectExists,
    ObjectMissing,
    Refused,
    StoreError,
    StoreFull,
    Unavailable,
)
from tests.drivers.swift.place import Place
from tests.servers.fault_proxy import FaultProxy
from tests.servers.swift_server import OTHER_POLICY, READER, SwiftServer, storage_folder
from tests.servers.swift_server import swift_server as run_swift

SIZE_BYTES_MAX = 100_000
TOKEN_LIFE_S = 1
PAUSE_S = 0.05

CALLS: dict[str, Callable[[Driver], object]] = {
    "put": lambda driver: driver.put("a", [b"x"]),
    "put if absent": lambda driver: driver.put("a", [b"x"], if_absent=True),
    "get": lambda driver: driver.get("a"),
    "get of nothing": lambda driver: driver.get("a", 0, 0),
    "get into": lambda driver: driver.get_into("a", 0, bytearray(1)),
    "stat": lambda driver: driver.stat("a"),
    "list": lambda driver: list(driver.list()),
    "delete": lambda driver: driver.delete(["a", "b"]),
}
each_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


@pytest.fixture(scope="module")
def strict() -> Iterator[SwiftServer]:
    """A Swift whose tokens end at once and whose objects are small."""
    with (
        storage_folder() as folder,
        run_swift(folder, token_life_s=TOKEN_LIFE_S, max_file_size_bytes=SIZE_BYTES_MAX) as server,
    ):
        yield server


@pytest.fixture
def strict_place(strict: SwiftServer, monkeypatch: pytest.MonkeyPatch) -> Place:
    place = Place(strict)
    place.log_in(monkeypatch)
    place.ask("put_container")
    return place


@each_call
def test_a_missing_container_is_never_a_missing_object(
    place: Place, call: Callable[[Driver], object]
) -> None:
    place.ask("delete_container")
    with place.open() as driver, pytest.raises(StoreError, match="create_container=yes") as found:
        call(driver)
    assert not isinstance(found.value, ObjectMissing | Unavailable)


@each_call
def test_a_user_without_rights_is_denied(
    place: Place, call: Callable[[Driver], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ST_USER", READER)
    monkeypatch.setenv("ST_KEY", place.server.reader_key)
    with place.open() as driver, pytest.raises(AccessDenied, match="403 Forbidden"):
        call(driver)


def test_a_user_who_may_read_and_write_the_container_needs_nothing_else(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.ask("post_container", headers={"X-Container-Read": READER, "X-Container-Write": READER})
    monkeypatch.setenv("OS_STORAGE_URL", place.server.storage_url)
    monkeypatch.setenv("OS_AUTH_TOKEN", place.token(READER, place.server.reader_key)[1])
    with place.open(create_container="yes") as driver:
        for call in CALLS.values():
            if call is not CALLS["put if absent"]:
                call(driver)
        with pytest.raises(ObjectMissing):
            driver.get("a")


def test_opening_asks_nothing_and_creates_nothing(place: Place, proxy: FaultProxy) -> None:
    place.open().close()
    assert proxy.connection_count == 0


def test_create_container_makes_one_of_the_policy_asked_for_and_takes_it_again(
    place: Place,
) -> None:
    place.ask("delete_container")
    for _ in range(2):
        with place.open(create_container="yes", storage_policy=OTHER_POLICY) as driver:
            driver.put("config", [b"x"])
    assert place.ask("head_container")["x-storage-policy"] == OTHER_POLICY


def test_create_container_takes_one_that_is_there_whatever_its_policy(place: Place) -> None:
    with place.open(create_container="yes") as driver:
        driver.put("config", [b"x"], if_absent=True)
        with pytest.raises(ObjectExists, match="config: exists"):
            driver.put("config", [b"y"], if_absent=True)
        assert driver.get("config") == b"x"


def test_a_container_of_another_policy_is_refused(place: Place) -> None:
    with pytest.raises(Refused, match="has storage policy gold, not cold"):
        place.open(create_container="yes", storage_policy=OTHER_POLICY)


def test_a_policy_that_swift_does_not_know_creates_nothing(place: Place) -> None:
    place.ask("delete_container")
    with pytest.raises(StoreError, match=r"not created: 400.*Invalid X-Storage-Policy 'nix'"):
        place.open(create_container="yes", storage_policy="nix")
    with place.open() as driver, pytest.raises(StoreError, match="does not exist"):
        driver.get("config")


def test_a_quota_that_is_used_up_is_a_full_store(place: Place) -> None:
    place.ask("post_container", headers={"X-Container-Meta-Quota-Bytes": "1000"})
    with place.open() as driver, pytest.raises(StoreFull, match="Upload exceeds quota"):
        driver.put("big", [bytes(1 << 20)])


def test_an_object_larger_than_swift_takes_is_told_apart_from_a_quota(strict_place: Place) -> None:
    with strict_place.open() as driver, pytest.raises(StoreFull, match=r"too large.*max_file_size"):
        driver.put("big", [bytes(SIZE_BYTES_MAX + 1)])


def test_a_wrong_key_is_denied_and_named(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ST_KEY", "wrong")
    with (
        place.open() as driver,
        pytest.raises(AccessDenied, match=r"login of test:tester at .*401"),
    ):
        driver.get("config")


def test_tokens_that_end_in_the_middle_are_renewed_once_for_all_threads(
    strict_place: Place, strict: SwiftServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = {f"data/{number}": secrets.token_bytes(50_000) for number in range(8)}
    with FaultProxy(strict.ports["proxy"]) as proxy:
        monkeypatch.setenv("ST_AUTH", f"{proxy.url}/auth/v1.0")
        with strict_place.open() as driver, ThreadPoolExecutor(8) as pool:
            until = time.monotonic() + 3.5 * TOKEN_LIFE_S

            def work(key: str) -> None:
                index = 0
                while time.monotonic() < until:
                    index += 1
                    driver.put(key, [content[key]])
                    driver.put(f"{key}-{index}", [content[key]], if_absent=True)
                    assert driver.get(key) == content[key]
                    time.sleep(PAUSE_S)

            for done in [pool.submit(work, key) for key in content]:
                done.result()
        refused = [seen for seen in proxy.exchanges if seen.status == 401]
        login_count = proxy.count("GET", "/auth/*")
    assert refused
    assert 3 <= login_count <= 6


def test_a_token_that_was_given_and_has_ended_cannot_be_renewed(
    strict_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage_url, token = strict_place.token()
    for name in ("ST_AUTH", "ST_USER", "ST_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("OS_STORAGE_URL", storage_url)
    monkeypatch.setenv("OS_AUTH_TOKEN", token)
    time.sleep(TOKEN_LIFE_S + 0.1)
    with strict_place.open() as driver, pytest.raises(AccessDenied, match="cannot be renewed"):
        driver.get("config")


def test_a_token_that_was_given_is_used(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    storage_url, token = place.token()
    monkeypatch.setenv("OS_STORAGE_URL", storage_url)
    monkeypatch.setenv("OS_AUTH_TOKEN", token)
    monkeypatch.setenv("ST_KEY", "never asked for")
    with place.open() as driver:
        driver.put("config", [b"x"])
        assert driver.get("config") == b"x"


def test_a_dead_object_server_is_unavailable_until_it_is_back(place: Place) -> None:
    with place.open() as driver:
        driver.put("config", [b"x"])
        place.server.kill("object")
        try:
            for call in (CALLS["put"], lambda driver: driver.get("config")):
                with pytest.raises(Unavailable, match="503"):
                    call(driver)
        finally:
            place.server.restart("object")
        assert driver.get("config") == b"x"
        driver.put("a", [b"y"])


def test_a_dead_container_server_is_no_empty_listing(place: Place) -> None:
    with place.open() as driver:
        driver.put("config", [b"x"])
        place.server.kill("container")
        try:
            with pytest.raises(Unavailable, match="listing: 503"):
                list(driver.list())
        finally:
            place.server.restart("container")
        assert [info.key for info in driver.list()] == ["config"]


def test_a_dead_proxy_is_unavailable_and_waited_for(place: Place) -> None:
    with place.open() as driver:
        driver.put("config", [b"x"])
        place.server.kill("proxy")
        try:
            with pytest.raises(Unavailable, match="try again later"):
                driver.get("config")
        finally:
            place.server.restart("proxy")
        assert Retrying(driver).get("config") == b"x"


def test_others_in_the_container_are_neither_listed_nor_touched(place: Place) -> None:
    for name in ("nightly/b+c-2/x", "nightly/b+cx", "nightly/a", "other"):
        place.ask("put_object", name, contents=b"theirs")
    with place.open() as driver:
        driver.put("x", [b"ours"])
        assert [info.key for info in driver.list()] == ["x"]
        driver.delete(["x"])
    assert len(place.ask("get_container")[1]) == 4


def test_listing_and_stat_tell_the_same_time(place: Place) -> None:
    with place.open() as driver:
        driver.put("x", [b"ours"])
        (listed,) = driver.list()
        assert listed == driver.stat("x")


def test_an_object_in_segments_is_read_whole_though_its_etag_is_no_digest(place: Place) -> None:
    segments = []
    for number in range(2):
        etag = place.ask("put_object", f"segments/{number}", contents=bytes([number]) * 1000)
        segments.append({"path": f"/{place.container}/segments/{number}", "etag": etag})
    place.ask(
        "put_object",
        "nightly/b+c/joined",
        contents=json.dumps(segments),
        query_string="multipart-manifest=put",
    )
    with place.open() as driver:
        assert driver.get("joined") == bytes(1000) + b"\1" * 1000
