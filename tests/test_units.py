from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupcore.units import GIB, TIB, format_bytes, format_duration, parse_bytes


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("4096", 4096),
        ("64KiB", 65536),
        ("64k", 65536),
        ("64 kb", 65536),
        (" 1.5 GiB ", 3 * GIB // 2),
        ("100TiB", 100 * TIB),
        ("1e", 1 << 60),
        ("0", 0),
    ],
)
def test_sizes_are_read_as_people_write_them(text: str, size_bytes: int) -> None:
    assert parse_bytes(text) == size_bytes


@pytest.mark.parametrize("text", ["", "GiB", "-1", "1 XiB", "1..5", "0x10", "1 GiB 2"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        parse_bytes(text)


@given(st.integers(0, 1 << 80))
def test_whole_bytes_are_read_exactly(size_bytes: int) -> None:
    assert parse_bytes(str(size_bytes)) == size_bytes


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.00 KiB"),
        (1_513_975_971, "1.41 GiB"),
        (10235, "10.0 KiB"),
        (102_399, "100 KiB"),
        (1024**2 - 1, "1.00 MiB"),
        (1 << 70, "1024 EiB"),
        (-2048, "-2.00 KiB"),
    ],
)
def test_sizes_are_shown_with_three_digits(size_bytes: int, text: str) -> None:
    assert format_bytes(size_bytes) == text


@given(st.integers(0, 1 << 62))
def test_shown_sizes_are_within_a_percent(size_bytes: int) -> None:
    assert parse_bytes(format_bytes(size_bytes)) == pytest.approx(size_bytes, rel=0.01)


@pytest.mark.parametrize(
    ("duration_s", "text"),
    [
        (0.42, "0.4 s"),
        (59.96, "1 min 00 s"),
        (200, "3 min 20 s"),
        (7500, "2 h 05 min"),
        (3599.6, "1 h 00 min"),
    ],
)
def test_durations_are_shown_in_two_units(duration_s: float, text: str) -> None:
    assert format_duration(duration_s) == text
