"""What two real servers answer, and what becomes of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backupcore.driver import Driver
from backupcore.driver.registry import open_driver
from backupcore.errors import AccessDenied, ObjectExists, StoreError, Unavailable
from tests.drivers.s3.stage.place import BUCKET, Place

BOTH = [
    pytest.param("gateway", marks=pytest.mark.xdist_group("radosgw")),
    pytest.param("swift", marks=pytest.mark.xdist_group("swift")),
]
CALLS: dict[str, Callable[[Driver], object]] = {
    "put": lambda driver: driver.put("key", [b"part"]),
    "put if absent": lambda driver: driver.put("key", [b"part"], if_absent=True),
    "get": lambda driver: driver.get("key"),
    "get a range": lambda driver: driver.get("key", 3, 4),
    "stat": lambda driver: driver.stat("key"),
    "list": lambda driver: list(driver.list()),
    "delete": lambda driver: driver.delete(["key"]),
}


@pytest.fixture(params=BOTH)
def place(request: pytest.FixtureRequest) -> Place:
    found: Place = request.getfixturevalue(request.param)
    return found


def test_a_secret_key_that_is_wrong_is_denied(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with open_driver(place.url()) as driver:
        for call in CALLS.values():
            with pytest.raises(AccessDenied, match="credentials"):
                call(driver)


def test_an_access_key_that_nobody_has_is_denied(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody:none")
    with open_driver(place.url()) as driver:
        for call in CALLS.values():
            with pytest.raises(AccessDenied, match="credentials"):
                call(driver)


def test_without_any_keys_it_is_said_where_they_are_looked_for(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with (
        open_driver(place.url()) as driver,
        pytest.raises(AccessDenied, match="environment or the AWS files"),
    ):
        driver.get("key")


def test_the_keys_of_a_profile_are_used(
    place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    keys = f"aws_access_key_id={place.access_key}\naws_secret_access_key={place.secret_key}\n"
    (tmp_path / "credentials").write_text(f"[nightly]\n{keys}")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    with open_driver(place.url(prefix="profile", profile="nightly")) as driver:
        driver.put("key", [b"x"])
        assert driver.get("key") == b"x"


@pytest.mark.parametrize("call", CALLS.values(), ids=list(CALLS))
def test_a_bucket_that_is_not_there_is_no_missing_object(
    place: Place, call: Callable[[Driver], object]
) -> None:
    with (
        open_driver(place.url("nowhere")) as driver,
        pytest.raises(StoreError, match="create_container=yes") as caught,
    ):
        call(driver)
    assert type(caught.value) is StoreError


def test_a_bucket_is_made_when_asked_for_and_again_without_harm(place: Place) -> None:
    for content in (b"first", b"second"):
        with open_driver(place.url("made", create_container="yes")) as driver:
            driver.put(content.decode(), [content])
    with open_driver(place.url("made")) as driver:
        assert sorted(info.key for info in driver.list()) == ["first", "second"]


def test_objects_of_other_prefixes_are_left_alone(place: Place) -> None:
    with place.client() as client:
        for key in ("other/a", "mine-too/a", "mine", "mine/A upper", "mine/dir/"):
            client.put_object(Bucket=BUCKET, Key=key, Body=b"x")
    with open_driver(place.url(prefix="mine")) as driver:
        driver.put("a", [b"x"])
        assert [info.key for info in driver.list()] == ["a"]


def test_the_time_of_the_last_change_is_told(place: Place) -> None:
    with open_driver(place.url(prefix="time")) as driver:
        driver.put("key", [b"x"])
        stat, (listed,) = driver.stat("key"), driver.list("key")
    assert stat.modified
    assert listed.modified
    assert abs((stat.modified - listed.modified).total_seconds()) < 2


def test_an_object_that_is_there_is_not_replaced(place: Place) -> None:
    with open_driver(place.url(prefix="condition")) as driver:
        driver.put("key", [b"first"], if_absent=True)
        with pytest.raises(ObjectExists):
            driver.put("key", [b"second"], if_absent=True)
        assert driver.get("key") == b"first"


def test_a_byte_that_flips_on_the_way_is_refused(place: Place) -> None:
    def flip(request: Any, **_: object) -> None:
        request.body = b"flipped"

    with open_driver(place.url(prefix="flip")) as driver:
        _events(driver).register("before-send.s3.PutObject", flip)
        with pytest.raises(Unavailable, match="changed on their way"):
            driver.put("key", [b"as sent"])
        assert list(driver.list()) == []


@pytest.mark.xdist_group("swift")
def test_swift_compares_the_checksum_of_the_sdk(swift: Place) -> None:
    with open_driver(swift.url(prefix="crc")) as driver:
        _spoil(driver, "x-amz-checksum-crc32", "AAAAAA==")
        with pytest.raises(Unavailable, match="changed on their way"):
            driver.put("key", [b"as sent"])
        assert list(driver.list()) == []


@pytest.mark.parametrize("place", BOTH, indirect=True)
def test_content_md5_is_compared(place: Place) -> None:
    with open_driver(place.url(prefix="md5", checksums="when_required")) as driver:
        _spoil(driver, "Content-MD5", "AAAAAAAAAAAAAAAAAAAAAA==")
        with pytest.raises(Unavailable, match="changed on their way"):
            driver.put("key", [b"as sent"])
        assert list(driver.list()) == []


def _spoil(driver: Driver, header: str, value: str) -> None:
    """Send a wrong checksum, signed as it should be."""

    def replace(request: Any, **_: object) -> None:
        assert header in request.headers
        del request.headers[header]
        request.headers[header] = value

    _events(driver).register("before-sign.s3.PutObject", replace)


def _events(driver: Driver) -> Any:
    return driver.below._client.meta.events  # type: ignore[attr-defined]
