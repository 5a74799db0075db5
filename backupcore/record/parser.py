"""Reads base64 and JSON that a stranger wrote, each limit before the work it bounds.

JSON is an object of UTF-8 without duplicate keys, at most four deep, and its numbers are whole and
fit 64 bits. That is narrower than RFC 8259, so that no two readers can differ about a document.
"""

from __future__ import annotations

import base64
import json
import re
from typing import NoReturn

from backupcore.record.error import Reason, RecordRefused
from backupcore.units import KIB

__all__ = ["DOCUMENT_LENGTH_MAX", "decode_base64", "parse_json", "refuse"]

DOCUMENT_LENGTH_MAX = 8 * KIB
DEPTH_MAX = 4
INTEGER_DIGITS_MAX = 19
# An open string reaches to the end, so that no start is ever tried twice.
_STRING = re.compile(r'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
_BRACKET = re.compile(r"[\[\]{}]")


def refuse(what: str, reason: Reason = Reason.MALFORMED) -> NoReturn:
    """Raise RecordRefused, because the record is not even one."""
    raise RecordRefused(f"record: {what}: export it again", reason=reason)


def decode_base64(text: str) -> bytes:
    """Return what a text of standard base64 says, 8 KiB or one byte more. Raises: RecordRefused.

    There is one text for each sequence of bytes: no line breaks, no missing or idle bits.
    """
    if len(text) > 4 * -(-DOCUMENT_LENGTH_MAX // 3):
        refuse(f"it is longer than {DOCUMENT_LENGTH_MAX} bytes")
    try:
        octets = base64.b64decode(text.encode("ascii"), validate=True)
    except ValueError:
        refuse("it is no standard base64")
    if base64.b64encode(octets).decode("ascii") != text:
        refuse("it is no canonical base64")
    return octets


def parse_json(octets: bytes, *, length_max: int = DOCUMENT_LENGTH_MAX) -> dict[str, object]:
    """Return the object that a document holds. Raises: RecordRefused."""
    if len(octets) > length_max:
        refuse(f"it is longer than {length_max} bytes")
    try:
        text = octets.decode("utf-8")
    except UnicodeDecodeError:
        refuse("it is no UTF-8")
    if _is_deep(text):
        refuse(f"it nests deeper than {DEPTH_MAX}")
    try:
        found: object = json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_no_number,
            parse_constant=_no_number,
        )
    except ValueError as error:
        refuse(f"it is no JSON that is read here: {str(error)[:80]}")
    if not isinstance(found, dict):
        refuse("it is no object")
    return found


def _is_deep(text: str) -> bool:
    """Return whether brackets outside of strings nest too deep, before anything recurses."""
    depth = 0
    for bracket in _BRACKET.findall(_STRING.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        if depth > DEPTH_MAX:
            return True
    return False


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice in an object")
    return found


def _integer(text: str) -> int:
    if len(text.lstrip("-")) > INTEGER_DIGITS_MAX:
        raise ValueError("a number is too large")
    number = int(text)
    if not -(1 << 63) <= number < 1 << 63:
        raise ValueError("a number is too large")
    return number


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text[:20]} is no whole number")
