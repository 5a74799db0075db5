"""Whatever a stranger sends is a record or is refused, after little work."""

from __future__ import annotations

import base64
import json
import time
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupcore.record import DOCUMENT_LENGTH_MAX, Reason, Record, RecordRefused, decode, encode
from backupcore.record.parser import parse_json
from tests.record.world import KEY, RECORD, closed, opened, parts, read, signed

SECONDS_MAX = 1.0  # a twentieth of it on an idle machine; never minutes
MEMORY_BYTES_MAX = 4 << 20


def outcome(text: str) -> Record | Reason:
    """Return the record, or why it is refused; anything else that is raised fails the test."""
    try:
        return read(text)
    except RecordRefused as refused:
        return refused.reason


def in_base64(octets: bytes) -> str:
    return base64.b64encode(octets).decode()


INFO, OUTER = parts()
scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text()
    | st.sampled_from([*INFO.values(), *OUTER.values()])
)  # fmt: skip
names = st.sampled_from([*INFO, *OUTER, "driver_info"]) | st.text(max_size=8)
documents = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=6),
    max_leaves=30,
)


@given(st.binary(max_size=400))
def test_any_bytes_are_a_record_or_are_refused(octets: bytes) -> None:
    assert isinstance(outcome(in_base64(octets)), Reason)


@given(st.text(max_size=400))
def test_any_text_is_a_record_or_is_refused(text: str) -> None:
    assert isinstance(outcome(text), Reason)


@given(documents)
def test_any_json_is_a_record_or_is_refused(document: object) -> None:
    assert isinstance(outcome(closed(document)), Reason)


@given(st.dictionaries(names, documents, max_size=5), st.dictionaries(names, documents, max_size=5))
def test_a_changed_claim_is_refused_unless_nothing_changed(
    info: dict[str, Any], outer: dict[str, Any]
) -> None:
    found = outcome(closed({**OUTER, **outer, "driver_info": {**INFO, **info}}))
    assert isinstance(found, Reason) or found.claim == RECORD.claim


fitting = st.fixed_dictionaries(
    {},
    optional={
        "register": st.integers(0, 999_999_999),
        "manifest_length": st.integers(-2, 5000),
        "issued_at_s": st.integers(-1, 1 << 40),
        "expires_at_s": st.none() | st.integers(-1, 1 << 40),
        "tenant_tag": st.none() | st.just("0" * 32),
        "backup_id": st.uuids().map(str),
    },
)


@given(fitting, st.dictionaries(names, documents, max_size=5))
def test_a_hostile_exporter_who_is_trusted_makes_records_or_is_refused(
    info: dict[str, Any], outer: dict[str, Any]
) -> None:
    outer.pop("driver_info", None)
    assert outcome(signed({**INFO, **info}, {**OUTER, **outer}))


HUGE = "9" * 5000
MALFORMED = {
    "nothing": b"",
    "no object": b"[]",
    "a number": b"1",
    "half a document": json.dumps(opened(encode(RECORD, KEY))).encode()[:-1],
    "a second document": json.dumps(opened(encode(RECORD, KEY))).encode() + b"{}",
    "Latin-1": b'{"driver_info": {}, "display_name": "\xe9"}',
    "UTF-16": '{"driver_info": {}}'.encode("utf-16"),
    "a byte order mark": b'\xef\xbb\xbf{"driver_info": {}}',
    "NaN": b'{"size": NaN}',
    "Infinity": b'{"size": -Infinity}',
    "a fraction": b'{"size": 1.0}',
    "an exponent": b'{"size": 1e400}',
    "a number of 64 bits": b'{"size": 9223372036854775808}',
    "a huge number": f'{{"size": {HUGE}}}'.encode(),
    "a duplicate key": b'{"id": 1, "id": 1}',
    "a duplicate key inside": b'{"driver_info": {"kid": 1, "k\\u0069d": 1}}',
    "five deep": b'{"a": {"b": {"c": {"d": {}}}}}',
    "five deep in lists": b'{"a": [[[[]]]]}',
    "thousands deep": b"[" * DOCUMENT_LENGTH_MAX,
    "thousands deep in objects": b'{"a":' * (DOCUMENT_LENGTH_MAX // 5),
    "thousands of quotes": b'"\\' * (DOCUMENT_LENGTH_MAX // 2),
    "thousands of open strings": b'{"' + b'\\"' * (DOCUMENT_LENGTH_MAX // 2 - 1),
    "too long": b'{"a": "' + b"x" * DOCUMENT_LENGTH_MAX + b'"}',
    "a control character": b'{"display_name": "\n"}',
}


@pytest.mark.parametrize("octets", MALFORMED.values(), ids=MALFORMED)
def test_what_is_no_document_is_refused(octets: bytes) -> None:
    with pytest.raises(RecordRefused) as refused:
        parse_json(octets)
    assert refused.value.reason is Reason.MALFORMED
    assert isinstance(outcome(in_base64(octets)), Reason)


HEAVY = {**MALFORMED, "a thousand keys": json.dumps(dict.fromkeys(range(900), 0)).encode()}


@pytest.mark.parametrize("octets", HEAVY.values(), ids=HEAVY)
def test_refusing_takes_little_time_and_memory(octets: bytes) -> None:
    text = in_base64(octets)
    tracemalloc.start()
    begin = time.perf_counter()
    try:
        outcome(text)
        assert time.perf_counter() - begin < SECONDS_MAX
        assert tracemalloc.get_traced_memory()[1] < MEMORY_BYTES_MAX
    finally:
        tracemalloc.stop()


def test_a_document_of_8_kib_is_read_and_one_byte_more_is_refused() -> None:
    octets = json.dumps(opened(encode(RECORD, KEY))).encode().ljust(DOCUMENT_LENGTH_MAX)
    assert outcome(in_base64(octets)) == RECORD
    assert outcome(in_base64(octets + b" ")) is Reason.MALFORMED


def test_a_long_text_is_refused_before_anything_is_decoded() -> None:
    text = "A" * (64 << 20)
    tracemalloc.start()
    try:
        assert outcome(text) is Reason.MALFORMED
        assert tracemalloc.get_traced_memory()[1] < MEMORY_BYTES_MAX
    finally:
        tracemalloc.stop()


def respelled(text: str) -> dict[str, str]:
    return {
        "a line break": text[:76] + "\n" + text[76:],
        "a space": text + " ",
        "the URL alphabet": text.replace("+", "-").replace("/", "_") + "-_==",
        "more padding": text + "====",
        "something behind the padding": text.rstrip("=") + "==AA",
        "no ASCII": text[:-4] + "АААА",
    }


@pytest.mark.parametrize("name", respelled("A"))
def test_base64_of_another_spelling_is_refused(name: str) -> None:
    assert outcome(respelled(encode(RECORD, KEY))[name]) is Reason.MALFORMED


def test_base64_with_idle_bits_set_or_padding_missing_is_refused() -> None:
    octets = json.dumps(opened(encode(RECORD, KEY))).encode()
    octets += b" " * (-(len(octets) - 1) % 3)
    text = in_base64(octets)
    assert outcome(text) == RECORD
    assert text.endswith("==")
    assert text[-3] == "A"
    assert outcome(text[:-3] + "B==") is Reason.MALFORMED
    assert outcome(text.rstrip("=")) is Reason.MALFORMED


def test_brackets_in_texts_nest_nothing() -> None:
    assert parse_json(b'{"a": "[[[[[[\\"{{{{{{", "b": {"c": [[]]}}') == {
        "a": '[[[[[["{{{{{{',
        "b": {"c": [[]]},
    }


def test_metadata_may_nest_and_unknown_keys_are_ignored() -> None:
    outer = {**OUTER, "bogus": {"a": {"b": []}}, "glance_metadata": None}
    assert outcome(closed({"driver_info": INFO, **outer})) == RECORD


BAD_COVERS: dict[str, object] = {
    "display_name": 1,
    "display_description": "x" * 256,
    "container": ["backups"],
    "metadata": {"a": 1},
    "object_count": True,
    "volume_id": "../../etc/passwd",
    "snapshot_id": "snapshot-1",
    "service": "x" * 256,
    "data_timestamp": "yesterday",
    "created_at": "2026-02-30T00:00:00Z",
    "updated_at": 5,
}


@pytest.mark.parametrize("name", BAD_COVERS)
def test_a_cover_whose_fields_are_of_another_kind_is_refused(name: str) -> None:
    outer = {**OUTER, name: BAD_COVERS[name]}
    assert outcome(closed({"driver_info": INFO, **outer})) is Reason.MALFORMED


@pytest.mark.parametrize("row_id", ["", "../../x", "7A6A7CB4-3A32-4918-BDED-2F4BCB8E005F", 7, {}])
def test_an_id_that_is_no_uuid_is_refused(row_id: object) -> None:
    assert outcome(closed({"driver_info": INFO, **OUTER, "id": row_id})) is Reason.MALFORMED


@pytest.mark.parametrize("size", [-1, 1 << 62, "10", True, [10]])
def test_a_size_that_cannot_be_is_refused(size: object) -> None:
    assert outcome(closed({"driver_info": INFO, **OUTER, "size": size})) is Reason.MALFORMED


@pytest.mark.parametrize(("name", "reason"), [("id", Reason.NO_ID), ("size", Reason.NO_SIZE)])
@pytest.mark.parametrize("told", [{}, {"id": None, "size": None}])
def test_a_cover_without_id_or_size_is_refused(
    name: str, reason: Reason, told: dict[str, object]
) -> None:
    outer = {key: value for key, value in OUTER.items() if key != name}
    null = {name: told[name]} if told else {}
    assert outcome(closed({"driver_info": INFO, **outer, **null})) is reason


@pytest.mark.parametrize("text", ["a\0b", "\ud800 alone"])
@pytest.mark.parametrize("name", ["display_name", "container"])
def test_a_text_that_no_database_takes_is_refused(name: str, text: str) -> None:
    assert outcome(closed({"driver_info": INFO, **OUTER, name: text})) is Reason.MALFORMED
    inside = {**OUTER, "metadata": {"k": text}}
    assert outcome(closed({"driver_info": INFO, **inside})) is Reason.MALFORMED


def test_id_and_size_are_enough_around_a_claim() -> None:
    found = outcome(closed({"driver_info": INFO, "id": OUTER["id"], "size": 10}))
    assert isinstance(found, Record)
    assert found.claim == RECORD.claim
    assert (found.cover.name, found.cover.metadata) == (None, {})


def test_decoding_alone_refuses_a_claim_of_another_shape() -> None:
    with pytest.raises(RecordRefused):
        decode(closed({"driver_info": {**INFO, "register": "0"}, **OUTER}))
