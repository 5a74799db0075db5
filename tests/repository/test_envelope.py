from __future__ import annotations

import struct
from contextlib import suppress
from typing import Any

import pytest
from blake3 import blake3
from hypothesis import example, given
from hypothesis import strategies as st

from backupcore.errors import Damaged, Unsupported
from backupcore.model import Buffer
from backupcore.repository.envelope import (
    Fields,
    canonical_json,
    open_envelope,
    read_layout,
    seal_envelope,
    start_envelope,
)

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
HEADERS = st.dictionaries(TEXTS, VALUES, max_size=5)
SECTIONS = st.lists(st.binary(max_size=50), max_size=8)


def sealed(header: dict[str, Any], sections: list[bytes], kind: str = "data") -> bytes:
    parts: list[Buffer] = [start_envelope(kind, header), *sections]
    return b"".join([*parts, seal_envelope(parts, [len(section) for section in sections])])


def resealed(data: bytes | bytearray) -> bytes:
    """Return an object whose digest fits whatever was done to the rest."""
    return bytes(data[:-32]) + blake3(data[:-32]).digest()


def with_header(body: bytes) -> bytes:
    """Return an object around a header of one's own making."""
    start = struct.pack("<8s4sHHI", b"\x89BKC\r\n\x1a\n", b"data", 1, 0, len(body)) + body
    return start + seal_envelope([start], [])


SAMPLE = sealed({"name": "a", "number": 1}, [b"one", b"", b"three"])


@given(HEADERS, SECTIONS)
def test_an_object_gives_back_what_was_sealed(
    header: dict[str, Any], sections: list[bytes]
) -> None:
    found = open_envelope(sealed(header, sections), "data")
    assert (found.header, [bytes(part) for part in found.sections]) == (header, sections)


@given(HEADERS, SECTIONS)
def test_the_end_of_an_object_tells_where_its_sections_lie(
    header: dict[str, Any], sections: list[bytes]
) -> None:
    data = sealed(header, sections)
    layout = read_layout(data[-112:], len(data))
    assert [data[offset : offset + length] for offset, length in layout.sections] == sections


def test_the_layout_is_the_documented_one() -> None:
    header = b'{"name":"a","number":1}'
    before = b"\x89BKC\r\n\x1a\ndata\x01\0\0\0" + struct.pack("<I", len(header)) + header
    before += b"onethree" + struct.pack("<QQQII", 3, 0, 5, 3, 0)
    before += struct.pack("<Q", len(before) + 40)
    assert before + blake3(before).digest() == SAMPLE


@pytest.mark.parametrize("bit", range(8))
def test_any_flipped_bit_is_found(bit: int) -> None:
    for position in range(len(SAMPLE)):
        data = bytearray(SAMPLE)
        data[position] ^= 1 << bit
        with pytest.raises(Damaged):
            open_envelope(data, "data")


def test_an_object_cut_anywhere_is_refused() -> None:
    for length in range(len(SAMPLE)):
        with pytest.raises(Damaged):
            open_envelope(SAMPLE[:length], "data")


@pytest.mark.parametrize("junk", [b"\0", b"junk", SAMPLE])
def test_an_object_with_junk_at_either_end_is_refused(junk: bytes) -> None:
    for data in (SAMPLE + junk, junk + SAMPLE):
        with pytest.raises(Damaged):
            open_envelope(data, "data")


def test_an_object_of_another_kind_is_refused() -> None:
    with pytest.raises(Damaged, match="kind"):
        open_envelope(sealed({}, [], kind="tomb"), "leas")


def test_an_object_of_a_later_version_asks_for_a_newer_release() -> None:
    data = bytearray(SAMPLE)
    data[12] = 2
    with pytest.raises(Unsupported, match="version 2"):
        open_envelope(resealed(data), "data")


def test_reserved_bytes_must_be_zero() -> None:
    for position in (14, 15, len(SAMPLE) - 44, len(SAMPLE) - 41):
        data = bytearray(SAMPLE)
        data[position] = 1
        with pytest.raises(Damaged):
            open_envelope(resealed(data), "data")


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_damaged(data: bytes) -> None:
    with pytest.raises(Damaged):
        open_envelope(data, "data")


@given(
    st.lists(
        st.tuples(st.integers(0, len(SAMPLE) - 33), st.integers(0, 255)), min_size=1, max_size=4
    )
)
def test_an_object_changed_and_sealed_again_is_opened_or_refused(
    changes: list[tuple[int, int]],
) -> None:
    data = bytearray(SAMPLE)
    for position, value in changes:
        data[position] = value
    with suppress(Damaged, Unsupported):
        open_envelope(resealed(data), "data")


@given(st.integers(0, (1 << 64) - 1), st.integers(0, (1 << 32) - 1))
def test_lengths_that_do_not_add_up_are_refused(length: int, header_length: int) -> None:
    trailer = len(SAMPLE) - 48
    for start, value in ((trailer - 8, struct.pack("<Q", length)),
                         (16, struct.pack("<I", header_length))):  # fmt: skip
        data = SAMPLE[:start] + value + SAMPLE[start + len(value) :]
        if data != SAMPLE:
            with pytest.raises(Damaged):
                open_envelope(resealed(data), "data")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"1",
        b"null",
        b'{"a":1} ',
        b'{ "a":1}',
        b'{"a": 1}',
        b'{"a":1,"a":1}',
        b'{"b":1,"a":2}',
        b'{"a":1.5}',
        b'{"a":[{"b":0.5}]}',
        b'{"a":1e3}',
        b'{"a":-0}',
        b'{"a":01}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":"\\u0041"}',
        b'{"a":"\\/"}',
        b'{"a":"\\ud800"}',
        b'{"a":"\xff"}',
        b'\xef\xbb\xbf{"a":1}',
        '{"a":1}'.encode("utf-16"),
        b'{"a":' + b"[" * 30_000 + b"]" * 30_000 + b"}",
        b'{"a":' + b'{"a":' * 12_000 + b"1" + b"}" * 12_001,
        b'{"a":' + b"9" * 60_000 + b"}",
        b'{"a":1',
        b'{"a":\n1}',
    ],
    ids=lambda body: repr(body[:24]),
)
def test_a_header_that_is_not_canonical_is_refused(body: bytes) -> None:
    with pytest.raises(Damaged):
        open_envelope(with_header(body), "data")


def test_a_header_longer_than_64_kib_is_refused() -> None:
    body = canonical_json({"a": "b" * 65_529})
    assert len(body) == 65_537
    with pytest.raises(Damaged):
        open_envelope(with_header(body), "data")


def test_keys_are_sorted_by_code_point() -> None:
    assert canonical_json({"\U0001f600": 1, "\uffee": 2, "b": 3, "B": 4}) == (
        '{"B":4,"b":3,"\uffee":2,"\U0001f600":1}'.encode()
    )


def test_only_what_must_be_is_escaped() -> None:
    text = '"\\/\b\f\n\r\t\x01\x1f\x7fé\u2028'
    assert canonical_json({"a": text}) == (
        '{"a":"\\"\\\\/\\b\\f\\n\\r\\t\\u0001\\u001f\x7fé\u2028"}'.encode()
    )


FIELDS: dict[str, Any] = {
    "text": "x", "none": None, "number": 5, "minus": -1, "true": True, "list": ["a"],
    "mixed": ["a", 1], "hex": "0f" * 16, "upper": "0F" * 16, "spaced": " 0f" * 16,
    "labels": {"a": "b"}, "bad_labels": {"a": 1}, "time": "2026-11-23T13:05:08.123456Z",
}  # fmt: skip


@pytest.mark.parametrize(
    ("method", "name"),
    [
        ("text", "none"), ("text", "number"), ("text", "absent"),
        ("optional_text", "absent"), ("optional_text", "number"),
        ("integer", "text"), ("integer", "true"), ("count", "minus"), ("count", "true"),
        ("identity", "upper"), ("identity", "spaced"), ("identity", "text"),
        ("time", "text"), ("texts", "mixed"), ("texts", "text"), ("labels", "bad_labels"),
        ("labels", "list"), ("fields", "text"), ("optional_fields", "number"),
        ("optional_fields", "absent"),
    ],
)  # fmt: skip
def test_a_field_of_another_type_is_damaged(method: str, name: str) -> None:
    with pytest.raises(Damaged, match=name):
        getattr(Fields(FIELDS), method)(name)


@given(HEADERS, st.sampled_from(["text", "integer", "count", "identity", "time", "texts"]))
@example({"a": "2026-13-23T13:05:08.123456Z"}, "time")
@example({"a": "٣" * 32}, "identity")
def test_fields_of_any_header_are_right_or_damaged(header: dict[str, Any], method: str) -> None:
    for name in [*header, "absent"]:
        with suppress(Damaged):
            getattr(Fields(header), method)(name)
