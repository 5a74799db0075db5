"""Frames: the stored form of a run of chunks, and of every leaf, node and footer.

magic 4 · codec u1 · cipher u1 · reserved u2 · plain length u4 · payload length u4 ·
frame number u8 · writer id 16 · payload            (docs/design/format.md §4)
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

import zstandard

from backupcore.errors import Damaged, Refused
from backupcore.model import Buffer
from backupcore.units import KIB

__all__ = [
    "HEADER_LENGTH",
    "Codec",
    "Frame",
    "FrameDecoder",
    "FrameEncoder",
    "FrameLabel",
    "check_level",
]

MAGIC = b"\xf5BKF"
_HEADER = struct.Struct("<4sBBHIIQ16s")
HEADER_LENGTH = _HEADER.size
LEVEL_MIN, LEVEL_MAX = -7, zstandard.MAX_COMPRESSION_LEVEL
_ZSTD_BLOCK_BYTES_MAX = 128 << 10  # of plain bytes, as RFC 8878 limits them
# the codec's result keeps the room of its bound: small ones would leave the heap full of holes
_SMALL_BYTES = 512 * KIB
_USEFUL = 31 / 32  # a payload that saves less is stored plain: decoding it would cost more


class Codec(IntEnum):
    """How a payload is compressed."""

    PLAIN = 0
    ZSTD = 1


@dataclass(frozen=True, slots=True)
class FrameLabel:
    """Which frame this is: its writer (16 bytes) and a number the writer uses once."""

    writer: bytes
    number: int


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame in its stored form, in two parts that are never joined.

    stored_length: of header and payload, in bytes.
    """

    codec: Codec
    header: bytes
    payload: bytes
    plain_length: int
    stored_length: int

    @property
    def parts(self) -> tuple[bytes, bytes]:
        """The stored bytes."""
        return self.header, self.payload


def check_level(level: int) -> int:
    """Return the zstd level; raises Refused when there is none of that number."""
    if not LEVEL_MIN <= level <= LEVEL_MAX:
        raise Refused(f"compression level {level}: choose one from {LEVEL_MIN} to {LEVEL_MAX}")
    return level


class FrameEncoder:
    """Makes frames; owned by one thread."""

    def __init__(self, level: int) -> None:
        self._zstd = zstandard.ZstdCompressor(level=level, write_content_size=True)

    def encode(self, plain: Buffer, label: FrameLabel) -> Frame:
        """Return the stored form of plain bytes, compressed unless that is useless."""
        codec, payload = Codec.ZSTD, self._zstd.compress(plain)
        if len(plain) < _SMALL_BYTES:
            payload = bytes(memoryview(payload))
        if len(payload) > len(plain) * _USEFUL:
            codec, payload = Codec.PLAIN, bytes(plain)
        header = _HEADER.pack(
            MAGIC, codec, 0, 0, len(plain), len(payload), label.number, label.writer
        )
        return Frame(codec, header, payload, len(plain), HEADER_LENGTH + len(payload))

    def encode_checked(self, plain: Buffer, label: FrameLabel) -> Frame:
        """Do the same and decode the frame again. Raises: Damaged when it is another."""
        frame = self.encode(plain, label)
        decoded = bytearray(len(plain))
        FrameDecoder().decode_parts(frame.header, frame.payload, memoryview(decoded))
        if decoded != plain:
            raise Damaged(
                "a frame does not decode to what it was made of: memory, processor or codec is "
                "faulty: nothing was committed"
            )
        return frame


class FrameDecoder:
    """Opens frames into memory it is given; owned by one thread."""

    def __init__(self) -> None:
        self._zstd = zstandard.ZstdDecompressor()

    def decode_into(self, stored: Buffer, plain: memoryview) -> None:
        """Fill `plain`, whose length is the one the caller's table names, from a stored frame.

        Raises: Damaged when the frame is not of exactly that length, or lies about it; before
        any memory is taken for what it claims.
        """
        view = memoryview(stored)
        self.decode_parts(view[:HEADER_LENGTH], view[HEADER_LENGTH:], plain)

    def decode_parts(self, header: Buffer, payload: Buffer, plain: memoryview) -> None:
        """Do the same with a frame whose header and payload were not joined."""
        codec = _open_frame(header, payload, len(plain))
        if codec == Codec.PLAIN:
            plain[:] = payload
        else:
            self._inflate(payload, plain)

    def decode(self, stored: Buffer, plain_length: int) -> bytearray:
        """Return the plain bytes of a frame whose length the caller knows. Raises as above."""
        view = memoryview(stored)
        _open_frame(view[:HEADER_LENGTH], view[HEADER_LENGTH:], plain_length)
        plain = bytearray(plain_length)
        self.decode_into(view, memoryview(plain))
        return plain

    def _inflate(self, payload: Buffer, plain: memoryview) -> None:
        filled = 0
        try:
            with self._zstd.stream_reader(payload) as reader:
                while count := reader.readinto(plain[filled:]):
                    filled += count
        except zstandard.ZstdError as error:
            raise Damaged(f"zstd payload cannot be decoded: {error}") from error
        if filled != len(plain):
            raise Damaged(f"zstd payload ends after {filled} of {len(plain)} bytes")


def _open_frame(header: Buffer, payload: Buffer, plain_length: int) -> Codec:
    """Return the codec of a stored frame after checking all that can be without decoding."""
    codec = _open_header(header, len(payload), plain_length)
    if codec == Codec.ZSTD:
        try:
            _check_zstd(payload, plain_length)
        except zstandard.ZstdError as error:
            raise Damaged(f"zstd payload has no zstd header: {error}") from error
    return codec


def _check_zstd(payload: Buffer, plain_length: int) -> None:
    """Check that one zstd frame, which claims that length and may hold it, fills the payload.

    The binding's own strict call returns new bytes; decoding into memory in use leaves the end
    to its caller. Source: RFC 8878, sections 3.1.1.1 and 3.1.1.2.
    """
    facts = zstandard.get_frame_parameters(payload)
    if facts.content_size != plain_length:
        raise Damaged(
            f"zstd content size {facts.content_size} is not the frame's length {plain_length}"
        )
    offset, block_count, is_last = zstandard.frame_header_size(payload), 0, False
    while not is_last and offset <= len(payload):
        block = int.from_bytes(payload[offset : offset + 3], "little")
        is_last, is_repeated, length = bool(block & 1), block >> 1 & 3 == 1, block >> 3
        offset += 3 + (1 if is_repeated else length)
        block_count += 1
    offset += 4 * facts.has_checksum
    if offset != len(payload):
        raise Damaged(f"zstd payload of {len(payload)} bytes does not end with its last block")
    if plain_length > block_count * _ZSTD_BLOCK_BYTES_MAX:
        raise Damaged(f"zstd payload claims {plain_length} bytes in {block_count} blocks")


def _open_header(header: Buffer, payload_length: int, plain_length: int) -> Codec:
    """Return the codec of a stored frame after checking every field of its header."""
    if len(header) < HEADER_LENGTH:
        raise Damaged(f"frame of {len(header)} bytes is shorter than its header")
    magic, codec, cipher, reserved, plain, payload, _, _ = _HEADER.unpack(header)
    if magic != MAGIC or cipher or reserved or codec not in (Codec.PLAIN, Codec.ZSTD):
        raise Damaged("frame header is not one of this version")
    if plain != plain_length:
        raise Damaged(f"frame claims {plain} plain bytes where its table says {plain_length}")
    if payload != payload_length or (codec == Codec.PLAIN and payload != plain):
        raise Damaged(f"frame claims a payload of {payload} bytes, {payload_length} are stored")
    return Codec(codec)
