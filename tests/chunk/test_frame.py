from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from backupcore.chunk.frame import HEADER_LENGTH, FrameDecoder, FrameEncoder, FrameLabel
from backupcore.errors import Damaged
from backupcore.units import KIB, MIB, TIB

LABEL = FrameLabel(bytes(range(16)), 7)
TEXT = b"the quick brown fox jumps over the lazy dog. " * 400
NOISE = zstandard.ZstdCompressor().compress(bytes(range(256)))  # short, and dense enough


def stored_frame(plain: bytes, level: int = 1) -> bytes:
    return b"".join(FrameEncoder(level).encode(plain, LABEL).parts)


def with_payload(payload: bytes, plain_length: int, codec: int = 1) -> bytes:
    """Return a frame whose header fits a payload of one's own making."""
    header = struct.pack(
        "<4sBBHIIQ16s", b"\xf5BKF", codec, 0, 0, plain_length, len(payload), 7, bytes(16)
    )
    return header + payload


def zstd_claiming(content_size: int, blocks: bytes) -> bytes:
    """Return a zstd frame that declares a content size of 8 bytes' width. Source: RFC 8878."""
    return b"\x28\xb5\x2f\xfd" + b"\xe0" + struct.pack("<Q", content_size) + blocks


@contextmanager
def little_memory(limit_bytes: int = 256 * KIB) -> Iterator[None]:
    """Fail when the block inside ever holds much memory."""
    tracemalloc.start()
    try:
        yield
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < limit_bytes


@given(st.binary(min_size=1, max_size=5000), st.integers(1, 20))
def test_a_frame_gives_back_what_was_put_in(unit: bytes, repeats: int) -> None:
    plain = unit * repeats
    assert FrameDecoder().decode(stored_frame(plain), len(plain)) == plain


@given(st.binary(max_size=200), st.integers(0, (1 << 64) - 1), st.binary(min_size=16, max_size=16))
def test_the_header_is_laid_out_as_documented(plain: bytes, number: int, writer: bytes) -> None:
    frame = FrameEncoder(1).encode(plain, FrameLabel(writer, number))
    magic, codec, rest, plain_length, payload_length, found, who = struct.unpack(
        "<4sB3sIIQ16s", frame.header
    )
    assert (magic, codec in (0, 1), rest) == (b"\xf5BKF", True, bytes(3))
    assert (plain_length, payload_length) == (len(plain), len(frame.payload))
    assert (found, who, frame.stored_length) == (number, writer, HEADER_LENGTH + payload_length)


def test_what_compresses_is_stored_as_zstd_with_its_content_size() -> None:
    frame = FrameEncoder(1).encode(TEXT, LABEL)
    assert frame.header[4] == 1
    assert len(frame.payload) < len(TEXT) // 10
    assert zstandard.get_frame_parameters(frame.payload).content_size == len(TEXT)


def test_what_does_not_compress_is_stored_plain() -> None:
    frame = FrameEncoder(1).encode(NOISE, LABEL)
    assert (frame.header[4], frame.payload) == (0, NOISE)


def test_a_frame_is_never_stored_longer_than_plain_and_its_header() -> None:
    for length in range(1, 300):
        assert FrameEncoder(1).encode(NOISE[:length] * 2, LABEL).stored_length <= (
            HEADER_LENGTH + 2 * len(NOISE[:length])
        )


def test_a_decoder_can_be_used_again_after_a_refusal() -> None:
    decoder = FrameDecoder()
    with pytest.raises(Damaged):
        decoder.decode(stored_frame(TEXT)[:-1], len(TEXT))
    assert decoder.decode(stored_frame(TEXT), len(TEXT)) == TEXT


@pytest.mark.parametrize("plain", [TEXT[:600], NOISE], ids=["zstd", "plain"])
def test_a_frame_cut_anywhere_is_refused(plain: bytes) -> None:
    stored = stored_frame(plain)
    for length in range(len(stored)):
        with pytest.raises(Damaged):
            FrameDecoder().decode(stored[:length], len(plain))


@pytest.mark.parametrize("plain", [TEXT[:600], NOISE], ids=["zstd", "plain"])
@pytest.mark.parametrize("junk", [b"\0", b"junk", stored_frame(b"x" * 99)])
def test_a_frame_with_junk_behind_it_is_refused(plain: bytes, junk: bytes) -> None:
    with pytest.raises(Damaged):
        FrameDecoder().decode(stored_frame(plain) + junk, len(plain))


@pytest.mark.parametrize(
    "junk",
    [
        b"\0",
        b"junk",
        zstandard.compress(b""),
        zstandard.compress(b"x"),
        b"\x50\x2a\x4d\x18\0\0\0\0",
    ],
    ids=["byte", "word", "empty frame", "frame", "skippable frame"],
)
def test_a_zstd_payload_with_anything_behind_it_is_refused(junk: bytes) -> None:
    payload = zstandard.compress(TEXT)
    with pytest.raises(Damaged):
        FrameDecoder().decode(with_payload(payload + junk, len(TEXT)), len(TEXT))


def test_a_zstd_payload_cut_anywhere_is_refused() -> None:
    payload = zstandard.compress(TEXT + NOISE)
    for length in range(len(payload)):
        with pytest.raises(Damaged):
            FrameDecoder().decode(with_payload(payload[:length], 18276), 18276)


def test_a_zstd_payload_without_its_content_size_is_refused() -> None:
    payload = zstandard.ZstdCompressor(write_content_size=False).compress(TEXT)
    with pytest.raises(Damaged):
        FrameDecoder().decode(with_payload(payload, len(TEXT)), len(TEXT))


def test_a_skippable_zstd_frame_is_refused() -> None:
    payload = b"\x50\x2a\x4d\x18" + struct.pack("<I", 64) + bytes(64)
    with pytest.raises(Damaged):
        FrameDecoder().decode(with_payload(payload, 64), 64)


@pytest.mark.parametrize("name", ["magic", "codec", "cipher", "reserved", "payload length"])
def test_a_header_that_is_not_of_this_version_is_refused(name: str) -> None:
    offset = {"magic": 0, "codec": 4, "cipher": 5, "reserved": 6, "payload length": 12}[name]
    stored = bytearray(stored_frame(TEXT))
    stored[offset] ^= 0x82
    with pytest.raises(Damaged):
        FrameDecoder().decode(stored, len(TEXT))


@pytest.mark.parametrize("plain", [TEXT, NOISE], ids=["zstd", "plain"])
@pytest.mark.parametrize("difference", [-1, 1])
def test_a_frame_of_another_length_than_its_table_says_is_refused(
    plain: bytes, difference: int
) -> None:
    with pytest.raises(Damaged):
        FrameDecoder().decode(stored_frame(plain), len(plain) + difference)


@pytest.mark.parametrize("claimed", [64 * MIB, TIB, (1 << 64) - 3])
def test_a_zstd_payload_that_lies_about_its_size_takes_no_memory(claimed: int) -> None:
    payload = zstd_claiming(claimed, b"\x01\0\0")
    with little_memory(), pytest.raises(Damaged):
        FrameDecoder().decode(with_payload(payload, 4096), 4096)


def test_a_frame_whose_table_lies_as_well_takes_no_memory() -> None:
    payload = zstd_claiming(64 * MIB, b"\x01\0\0")
    with little_memory(), pytest.raises(Damaged):
        FrameDecoder().decode(with_payload(payload, 64 * MIB), 64 * MIB)


def test_a_table_that_names_a_huge_frame_takes_no_memory() -> None:
    with little_memory(), pytest.raises(Damaged):
        FrameDecoder().decode(stored_frame(TEXT), 64 * MIB)


def test_a_zstd_payload_that_unpacks_to_more_than_it_says_is_refused() -> None:
    one_block_of_128_kib = struct.pack("<I", (128 * KIB << 3) | 2 | 1)[:3] + b"a"
    payload = zstd_claiming(4096, one_block_of_128_kib)
    with little_memory(1 * MIB), pytest.raises(Damaged):
        FrameDecoder().decode(with_payload(payload, 4096), 4096)


@given(st.data())
def test_a_frame_with_any_byte_changed_is_refused_or_decodes_to_its_length(
    data: st.DataObject,
) -> None:
    stored = bytearray(stored_frame(TEXT[:900]))
    position = data.draw(st.integers(0, len(stored) - 1))
    stored[position] ^= data.draw(st.integers(1, 255))
    with suppress(Damaged):
        assert len(FrameDecoder().decode(stored, 900)) == 900


@given(st.binary(max_size=200))
def test_arbitrary_payloads_are_refused_as_damaged(payload: bytes) -> None:
    with pytest.raises(Damaged):
        FrameDecoder().decode(with_payload(b"\x28\xb5\x2f\xfd" + payload, 1000), 1000)


def test_a_frame_in_two_parts_decodes_as_one() -> None:
    frame = FrameEncoder(3).encode(TEXT, LABEL)
    plain = bytearray(len(TEXT))
    FrameDecoder().decode_parts(frame.header, frame.payload, memoryview(plain))
    assert plain == TEXT
