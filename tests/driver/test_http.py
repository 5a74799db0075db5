from __future__ import annotations

import pytest

from backupcore.driver.http import (
    check_content_range,
    check_nothing_served,
    range_header,
    retry_after_s,
    status_error,
)
from backupcore.errors import AccessDenied, StoreError, StoreFull, Unavailable

LATER = (408, 409, 425, 429, 498, 500, 502, 503, 504, 520, 599)


@pytest.mark.parametrize(
    ("kind", "statuses"),
    [
        (Unavailable, LATER),
        (AccessDenied, (401, 403, 407)),
        (StoreFull, (413, 507)),
        (StoreError, (400, 404, 405, 410, 412, 416, 501, 505)),
    ],
)
def test_status_means_one_deed(kind: type[StoreError], statuses: tuple[int, ...]) -> None:
    assert {type(status_error(status, "pack", {})) for status in statuses} == {kind}


def test_what_the_server_asks_to_wait_goes_along() -> None:
    error = status_error(503, "pack: 503 Slow Down", {"retry-after": "7"})
    assert isinstance(error, Unavailable)
    assert error.retry_after_s == 7.0
    assert "pack: 503 Slow Down" in str(error)


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "²"}, None),
        ({"retry-after": " 120 "}, 120.0),
        (
            {
                "date": "Mon, 01 Jan 2001 00:00:00 GMT",
                "retry-after": "Mon, 01 Jan 2001 00:00:30 GMT",
            },
            30.0,
        ),
        ({"retry-after": "Mon, 01 Jan 2001 00:00:30 GMT"}, 0.0),
    ],
)
def test_wait_is_told_in_seconds_or_as_a_date(
    headers: dict[str, str], wait_s: float | None
) -> None:
    assert retry_after_s(headers) == wait_s


def test_range_is_asked_for_with_or_without_its_end() -> None:
    assert range_header(5, 10) == "bytes=5-14"
    assert range_header(5, None) == "bytes=5-"


@pytest.mark.parametrize(
    ("given", "length"),
    [
        ("bytes 5-14/100", 10),
        ("bytes 5-14/*", 10),
        ("bytes 5-7/8", 10),
        ("bytes 5-7/8", None),
    ],
)
def test_range_that_was_asked_for_passes(given: str, length: int | None) -> None:
    check_content_range(given, 5, length, "pack")


@pytest.mark.parametrize(
    ("given", "length"),
    [
        (None, 10),
        ("", 10),
        ("bytes 0-14/100", 10),
        ("bytes 5-15/100", 10),
        ("bytes 5-13/100", 10),
        ("bytes 5-7/100", None),
        ("bytes 5-7/*", None),
        ("bytes 6-15/16", 10),
    ],
)
def test_another_range_than_asked_for_is_told(given: str | None, length: int | None) -> None:
    with pytest.raises(Unavailable, match="pack: asked for bytes=5-"):
        check_content_range(given, 5, length, "pack")


def test_nothing_is_served_of_a_range_without_bytes_only() -> None:
    check_nothing_served(4, None, 4, "key")
    check_nothing_served(2, 0, 4, "key")
    with pytest.raises(ValueError, match="key: offset 5 is past the end, size 4"):
        check_nothing_served(5, 0, 4, "key")
    with pytest.raises(Unavailable, match="no range from 3 of 4 bytes: replaced now"):
        check_nothing_served(3, 1, 4, "key")
