"""What a server may answer that no sound one does, and what one must answer only sometimes."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable

import pytest

from backupcore.driver import Driver, Role
from backupcore.driver.registry import open_driver
from backupcore.errors import (
    AccessDenied,
    ObjectExists,
    ObjectMissing,
    StoreError,
    StoreFull,
    Unavailable,
)
from backupcore_s3 import S3Driver
from backupcore_s3.client import open_client
from backupcore_s3.option import Settings
from tests.driver.fake_clock import FakeClock
from tests.drivers.s3.stage.scripted import (
    Reply,
    Script,
    error_reply,
    listing_reply,
)

Call = Callable[[Driver], object]
CALLS: dict[str, Call] = {
    "put": lambda driver: driver.put("key", [b"part"]),
    "put if absent": lambda driver: driver.put("key", [b"part"], if_absent=True),
    "get": lambda driver: driver.get("key"),
    "get a range": lambda driver: driver.get("key", 3, 4),
    "get into": lambda driver: driver.get_into("key", 0, bytearray(5)),
    "stat": lambda driver: driver.stat("key"),
    "list": lambda driver: list(driver.list("key")),
    "delete": lambda driver: driver.delete(["key"]),
    "delete many": lambda driver: driver.delete(["key", "other"]),
}
EACH_CALL = pytest.mark.parametrize("call", CALLS.values(), ids=list(CALLS))
PARTIAL = {"Content-Range": "bytes 3-6/10"}


def opened(script: Script, options: str) -> Driver:
    return open_driver(f"s3://bucket/place?endpoint_url={script.url}&{options}")


@EACH_CALL
def test_a_busy_store_is_asked_once_and_heard_how_long_to_wait(
    script: Script, driver: Driver, call: Call
) -> None:
    script.answer(error_reply(503, "SlowDown", Retry_After="7"))
    with pytest.raises(Unavailable) as caught:
        call(driver)
    assert (caught.value.retry_after_s, len(script.asked)) == (7.0, 1)


@EACH_CALL
def test_an_error_without_a_body_is_told_by_its_status(
    script: Script, driver: Driver, call: Call
) -> None:
    script.answer(Reply(403))
    with pytest.raises(AccessDenied, match="403"):
        call(driver)


@EACH_CALL
def test_a_page_of_a_gateway_in_between_is_unavailable(
    script: Script, driver: Driver, call: Call
) -> None:
    script.answer(Reply(502, b"<html><p>Bad gateway", {"Content-Type": "text/html"}))
    with pytest.raises(Unavailable, match="502"):
        call(driver)


@EACH_CALL
def test_a_bucket_that_is_not_there_is_no_missing_object(
    script: Script, driver: Driver, call: Call
) -> None:
    script.answer(error_reply(404, "NoSuchBucket"))
    with pytest.raises(StoreError, match="create_container=yes") as caught:
        call(driver)
    assert type(caught.value) is StoreError


def test_a_missing_object_without_a_body_is_told_by_asking_for_the_bucket(
    script: Script, driver: Driver
) -> None:
    script.answer(Reply(404), Reply())
    with pytest.raises(ObjectMissing):
        driver.stat("key")
    assert [(asked.method, asked.path) for asked in script.asked] == [
        ("HEAD", "/bucket/place/key"),
        ("HEAD", "/bucket"),
    ]


def test_an_object_is_not_called_missing_when_the_bucket_may_not_be_seen(
    script: Script, driver: Driver
) -> None:
    script.answer(Reply(404), Reply(403))
    with pytest.raises(AccessDenied):
        driver.stat("key")


def test_a_body_that_is_cut_off_is_unavailable(script: Script, driver: Driver) -> None:
    script.answer(Reply(body=b"half", length=8))
    with pytest.raises(Unavailable, match="4 of 8 bytes"):
        driver.get("key")


def test_a_range_that_is_cut_off_is_unavailable(script: Script, driver: Driver) -> None:
    script.answer(Reply(206, b"ab", PARTIAL, length=4))
    with pytest.raises(Unavailable, match="2 of 4 bytes"):
        driver.get("key", 3, 4)


@pytest.mark.parametrize(
    "reply",
    [
        Reply(200, b"0123456789"),
        Reply(206, b"2345", {"Content-Range": "bytes 2-5/10"}),
        Reply(206, b"34", {"Content-Range": "bytes 3-4/10"}),
        Reply(206, b"345", PARTIAL),
        Reply(206, b"34567", PARTIAL),
    ],
    ids=["all of it", "another place", "less", "shorter than said", "longer than said"],
)
def test_another_range_than_asked_for_is_unavailable(
    script: Script, driver: Driver, reply: Reply
) -> None:
    script.answer(reply)
    with pytest.raises(Unavailable):
        driver.get("key", 3, 4)


def test_an_object_that_became_longer_meanwhile_is_unavailable(
    script: Script, driver: Driver
) -> None:
    script.answer(error_reply(416, "InvalidRange"), Reply(length=10))
    with pytest.raises(Unavailable, match="replaced"):
        driver.get("key", 3, 4)


def test_a_store_that_tells_no_size_has_told_nothing(script: Script, driver: Driver) -> None:
    script.answer(Reply(length=-1))
    with pytest.raises(StoreError, match="size"):
        driver.stat("key")


def test_an_offset_before_the_start_is_refused(driver: Driver) -> None:
    with pytest.raises(ValueError, match="before the start"):
        driver.get("key", -1)


def test_connections_are_used_again_whatever_was_read(script: Script, driver: Driver) -> None:
    before = script.connection_count
    for _ in range(5):
        script.answer(Reply(206, b"3456", PARTIAL))
        assert driver.get("key", 3, 4) == b"3456"
        script.answer(Reply(body=b"0123456789"))
        assert driver.get("key") == b"0123456789"
        script.answer(error_reply(404, "NoSuchKey"))
        with pytest.raises(ObjectMissing):
            driver.get("key")
        script.answer(listing_reply("place/key"))
        assert len(list(driver.list())) == 1
    assert script.connection_count == before + 1


def test_the_checksum_of_the_sdk_goes_along(script: Script, driver: Driver) -> None:
    driver.put("key", [b"one", b"two"])
    crc = base64.b64encode(zlib.crc32(b"onetwo").to_bytes(4, "big")).decode()
    asked = script.asked[0]
    assert (asked.body, asked.headers["x-amz-checksum-crc32"]) == (b"onetwo", crc)


def test_where_checksums_are_not_required_content_md5_goes_in_their_place(script: Script) -> None:
    script.answer(Reply(), Reply(204))
    with opened(script, "checksums=when_required") as driver:
        driver.put("key", [b"one", b"two"])
        driver.delete(["a", "b"])
    for asked in script.asked[:2]:
        assert len(asked.headers["content-md5"]) == 24
        assert not [name for name in asked.headers if name.startswith("x-amz-checksum")]
        assert "x-amz-sdk-checksum-algorithm" not in asked.headers


@pytest.mark.parametrize("role", Role)
def test_storage_class_encryption_and_lock_go_by_role(script: Script, role: Role) -> None:
    options = "storage_class=STANDARD_IA&sse=aws:kms&sse_kms_key_id=id"
    with opened(script, f"{options}&object_lock=compliance&object_lock_days=30") as driver:
        driver.put("key", [b"x"], role=role)
        assert driver.capabilities.object_lock
    headers = script.asked[0].headers
    is_cold = headers.get("x-amz-storage-class") == "STANDARD_IA"
    is_locked = headers.get("x-amz-object-lock-mode") == "COMPLIANCE"
    assert is_cold == (role is Role.DATA)
    assert is_locked == (role is not Role.CONTROL)
    assert headers["x-amz-server-side-encryption"] == "aws:kms"
    assert headers["x-amz-server-side-encryption-aws-kms-key-id"] == "id"


def test_a_lock_lasts_as_many_days_as_asked_for_from_now_on(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(script, "object_lock=governance&object_lock_days=30") as driver:
        monkeypatch.setattr(_below(driver), "_clock", FakeClock())  # 2026-01-01 00:16:40
        driver.put("key", [b"x"])
    until = script.asked[0].headers["x-amz-object-lock-retain-until-date"]
    assert until.startswith("2026-01-31T00:16:40")


def _below(driver: Driver) -> Driver:
    below: Driver = driver.below  # type: ignore[attr-defined]
    return below


@pytest.mark.parametrize("status", [412, 304])
def test_an_object_that_was_first_is_told(script: Script, driver: Driver, status: int) -> None:
    script.answer(Reply(status))
    with pytest.raises(ObjectExists):
        driver.put("key", [b"x"], if_absent=True)
    assert script.asked[0].headers["if-none-match"] == "*"


def test_writers_that_disturb_each_other_are_no_loss(script: Script, driver: Driver) -> None:
    script.answer(error_reply(409, "ConditionalRequestConflict"))
    with pytest.raises(Unavailable):
        driver.put("key", [b"x"], if_absent=True)


def test_a_store_that_ignores_the_condition_is_looked_at_first(script: Script) -> None:
    with opened(script, "conditional_put=no") as driver:
        script.answer(Reply(length=5))
        with pytest.raises(ObjectExists):
            driver.put("key", [b"x"], if_absent=True)
        script.answer(Reply(404), Reply(), Reply())
        driver.put("key", [b"x"], if_absent=True)
        assert not driver.capabilities.conditional_put
    assert script.asked[-1].method == "PUT"
    assert "if-none-match" not in script.asked[-1].headers


def test_a_full_store_is_full(script: Script, driver: Driver) -> None:
    script.answer(error_reply(403, "QuotaExceeded"))
    with pytest.raises(StoreFull):
        driver.put("key", [b"x"])


@EACH_CALL
def test_a_server_that_hangs_up_is_unavailable(script: Script, driver: Driver, call: Call) -> None:
    script.answer(Reply(0))
    with pytest.raises(Unavailable):
        call(driver)
    assert len(script.asked) == 1


def test_a_server_that_does_not_listen_is_unavailable(script: Script) -> None:
    with (
        open_driver("s3://bucket/place?endpoint_url=http://127.0.0.1:9") as driver,
        pytest.raises(Unavailable),
    ):
        driver.get("key")


class Slowing(FakeClock):
    """A clock of which a minute passes between two looks, from a moment on."""

    is_slow = False

    def monotonic(self) -> float:
        self.time_s += 61.0 * self.is_slow
        return self.time_s


def _slow_driver(script: Script, clock: Slowing) -> S3Driver:
    settings = Settings("bucket", endpoint_url=script.url)
    return S3Driver(open_client(settings), settings, clock=clock)


def test_an_object_that_trickles_in_is_unavailable(script: Script) -> None:
    clock = Slowing()
    clock.is_slow = True
    script.answer(Reply(body=b"drop"))
    with _slow_driver(script, clock) as driver, pytest.raises(Unavailable, match="only 4 bytes"):
        driver.get("key")


def test_an_object_that_trickles_out_is_unavailable(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Slowing()
    monkeypatch.setattr(script, "heard", lambda: setattr(clock, "is_slow", True))
    with _slow_driver(script, clock) as driver, pytest.raises(Unavailable, match="bytes went over"):
        driver.put("key", [b"drop"])
