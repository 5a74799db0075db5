"""Sizes, rates and durations as people write and read them."""

from __future__ import annotations

import re
from fractions import Fraction

__all__ = ["GIB", "KIB", "MIB", "TIB", "format_bytes", "format_duration", "parse_bytes"]

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30
TIB = 1 << 40

_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_POWER = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5, "e": 6}
_SIZE = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*([kmgtpe]?)(i?b?)\s*$", re.IGNORECASE)


def parse_bytes(text: str) -> int:
    """Return the number of bytes in a text such as `64KiB`, `1.5 GiB`, `4k` or `4096`.

    All prefixes are powers of 1024. Raises: ValueError when the text is no size.
    """
    match = _SIZE.match(text)
    if not match:
        raise ValueError(f"{text!r} is not a size: write a number and a unit, such as 64KiB")
    number, prefix, _ = match.groups()
    return int(Fraction(number) * (1 << (10 * _POWER[prefix.lower()])))


def format_bytes(size_bytes: float) -> str:
    """Return a size with a binary unit and three significant digits, such as `1.41 GiB`."""
    value, power = float(size_bytes), 0
    while abs(round(value)) >= 1024 and power < len(_BINARY) - 1:
        value, power = value / 1024, power + 1
    if power == 0:
        return f"{round(value)} B"
    digits = 2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0
    return f"{value:.{digits}f} {_BINARY[power]}"


def format_duration(duration_s: float) -> str:
    """Return a duration such as `0.4 s`, `3 min 20 s` or `2 h 05 min`."""
    if round(duration_s, 1) < 60:
        return f"{duration_s:.1f} s"
    minutes, seconds = divmod(round(duration_s), 60)
    if minutes < 60:
        return f"{minutes} min {seconds:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"
