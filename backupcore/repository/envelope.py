"""The envelope every object wears: prefix, canonical JSON header, sections, trailer.

magic 8 · kind 4 · version u2 · reserved u2 · H u4 · header H · sections ·
section lengths u8 × N · N u4 · reserved u4 · total length u8 · BLAKE3 32
                                               (docs/design/format.md §2)
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, NoReturn, TypeAlias, TypeVar

from blake3 import blake3

from backupcore.errors import Damaged, Unsupported
from backupcore.model import Buffer

__all__ = [
    "TRAILER_LENGTH_MAX",
    "Envelope",
    "Fields",
    "Header",
    "Layout",
    "canonical_json",
    "format_time",
    "open_envelope",
    "read_layout",
    "seal_envelope",
    "start_envelope",
]

Header: TypeAlias = dict[str, Any]

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)
MAGIC = b"\x89BKC\r\n\x1a\n"
VERSION = 1
HEADER_LENGTH_MAX = 65536
SECTION_COUNT_MAX = 8
_PREFIX = struct.Struct("<8s4sHHI")
_TRAILER = struct.Struct("<IIQ32s")
_DIGEST_LENGTH = 32
_TIME = "%Y-%m-%dT%H:%M:%S.%fZ"
TRAILER_LENGTH_MAX = _TRAILER.size + 8 * SECTION_COUNT_MAX


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the sections of an object lie: offsets in the object and lengths, in bytes."""

    sections: tuple[tuple[int, int], ...]
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Envelope:
    """An object that was read whole and found to be what was written."""

    kind: str
    header: Header
    sections: tuple[memoryview, ...]


def canonical_json(header: Mapping[str, Any]) -> bytes:
    """Return the one serialisation of a header. Source: RFC 8785, with integers only."""
    text = json.dumps(
        header, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode()


def start_envelope(kind: str, header: Mapping[str, Any]) -> bytes:
    """Return the bytes before the first section."""
    body = canonical_json(header)
    if len(body) > HEADER_LENGTH_MAX:
        raise AssertionError(f"header of a {kind} object has {len(body)} bytes")
    return _PREFIX.pack(MAGIC, kind.encode(), VERSION, 0, len(body)) + body


def seal_envelope(parts: Sequence[Buffer], section_lengths: Sequence[int]) -> bytes:
    """Return the trailer that closes an object.

    parts: everything before it, the result of `start_envelope` first, in pieces of any size.
    """
    lengths = struct.pack(f"<{len(section_lengths)}Q", *section_lengths)
    total = sum(len(part) for part in parts) + len(lengths) + _TRAILER.size
    tail = lengths + struct.pack("<IIQ", len(section_lengths), 0, total)
    state = blake3()
    for part in (*parts, tail):
        state.update(part)
    return tail + state.digest()


def read_layout(tail: Buffer, size_bytes: int) -> Layout:
    """Return where the sections lie, from the last bytes of an object of a known size.

    tail: the object's end, at least TRAILER_LENGTH_MAX bytes of it or the whole object.
    Raises: Damaged when the trailer does not fit the size. Its digest is not compared.
    """
    if len(tail) < _TRAILER.size:
        raise Damaged(f"object of {size_bytes} bytes is too short for its trailer")
    count, reserved, total, _ = _TRAILER.unpack(tail[-_TRAILER.size :])
    if total != size_bytes or reserved or count > SECTION_COUNT_MAX:
        raise Damaged(f"trailer does not fit an object of {size_bytes} bytes")
    start = len(tail) - _TRAILER.size - 8 * count
    if start < 0:
        raise Damaged(f"object of {size_bytes} bytes is too short for its trailer")
    lengths = struct.unpack(f"<{count}Q", tail[start : len(tail) - _TRAILER.size])
    offset = size_bytes - _TRAILER.size - 8 * count - sum(lengths)
    if offset < _PREFIX.size:
        raise Damaged(f"sections are longer than the object of {size_bytes} bytes")
    sections = []
    for length in lengths:
        sections.append((offset, length))
        offset += length
    return Layout(tuple(sections), size_bytes)


def open_envelope(data: Buffer, kind: str) -> Envelope:
    """Return an object's header and sections after checking every byte of it.

    Raises: Damaged when it is not what was written or of another kind; Unsupported when it is
    of a later version.
    """
    view = memoryview(data)
    if len(view) < _PREFIX.size + _TRAILER.size:
        raise Damaged(f"{len(view)} bytes are too short for an object")
    magic, found, version, reserved, header_length = _PREFIX.unpack(view[: _PREFIX.size])
    if magic != MAGIC:
        raise Damaged("object does not begin with the magic bytes")
    if blake3(view[:-_DIGEST_LENGTH]).digest() != view[-_DIGEST_LENGTH:]:
        raise Damaged("object's BLAKE3 is not the one in its trailer")
    if found != kind.encode() or reserved:
        raise Damaged(f"object is of kind {found!r} where {kind!r} is expected")
    if version != VERSION:
        raise Unsupported(
            f"object of kind {kind} has version {version}, this release reads {VERSION}: "
            "use a newer release"
        )
    layout = read_layout(view, len(view))
    first = layout.sections[0][0] if layout.sections else len(view) - _TRAILER.size
    if header_length > HEADER_LENGTH_MAX or _PREFIX.size + header_length != first:
        raise Damaged("header and sections do not fill the object")
    header = _parse_header(bytes(view[_PREFIX.size : first]))
    sections = tuple(view[offset : offset + length] for offset, length in layout.sections)
    return Envelope(kind, header, sections)


def _parse_header(body: bytes) -> Header:
    try:
        header = json.loads(body, parse_float=_refuse_number, parse_constant=_refuse_number)
        if isinstance(header, dict) and canonical_json(header) == body:
            return header
    except (ValueError, RecursionError) as error:
        raise Damaged("header is not JSON") from error
    raise Damaged("header is not canonical JSON")


def _refuse_number(text: str) -> NoReturn:
    raise ValueError(f"{text[:40]} is no whole number")


class Fields:
    """Takes typed values out of a header; whatever does not fit raises Damaged."""

    def __init__(self, header: Header) -> None:
        self._header = header

    def text(self, name: str) -> str:
        """Return a text."""
        return self._take(name, str)

    def optional_text(self, name: str) -> str | None:
        """Return a text or None."""
        return None if self._header.get(name, "") is None else self.text(name)

    def optional_choice(self, name: str, kind: type[E]) -> E | None:
        """Return one of a closed choice, or None."""
        return None if self._header.get(name, "") is None else self.choice(name, kind)

    def choice(self, name: str, kind: type[E]) -> E:
        """Return one of a closed choice."""
        try:
            return kind(self.text(name))
        except ValueError as error:
            raise Damaged(f"header field {name!r} has a value that is not known") from error

    def integer(self, name: str) -> int:
        """Return a whole number."""
        number = self._take(name, int)
        if isinstance(number, bool):
            raise Damaged(f"header field {name!r} is not a number")
        return number

    def count(self, name: str) -> int:
        """Return a whole number that is not negative."""
        number = self.integer(name)
        if number < 0:
            raise Damaged(f"header field {name!r} is negative")
        return number

    def octets(self, name: str, length: int) -> bytes:
        """Return bytes of a known length, written in hex."""
        text = self.text(name)
        try:
            octets = bytes.fromhex(text)
        except ValueError:
            octets = b""
        if len(octets) != length or octets.hex() != text:
            raise Damaged(f"header field {name!r} is not {length} bytes in hex")
        return octets

    def identity(self, name: str) -> str:
        """Return an id: 128 bits in hex."""
        return self.octets(name, 16).hex()

    def time(self, name: str) -> datetime:
        """Return a time in UTC."""
        try:
            return datetime.strptime(self.text(name), _TIME).replace(tzinfo=UTC)
        except ValueError as error:
            raise Damaged(f"header field {name!r} is not a time") from error

    def texts(self, name: str) -> list[str]:
        """Return a list of texts."""
        values = self._take(name, list)
        if not all(isinstance(value, str) for value in values):
            raise Damaged(f"header field {name!r} is not a list of texts")
        return values

    def labels(self, name: str) -> dict[str, str]:
        """Return texts by name."""
        values = self._take(name, dict)
        if not all(isinstance(value, str) for value in values.values()):
            raise Damaged(f"header field {name!r} does not map texts to texts")
        return values

    def fields(self, name: str) -> Fields:
        """Return the fields of a nested object."""
        return Fields(self._take(name, dict))

    def optional_fields(self, name: str) -> Fields | None:
        """Return the fields of a nested object, or None."""
        return None if self._header.get(name, "") is None else self.fields(name)

    def _take(self, name: str, kind: type[T]) -> T:
        value = self._header.get(name)
        if not isinstance(value, kind):
            raise Damaged(f"header field {name!r} is missing or not of type {kind.__name__}")
        return value


def format_time(moment: datetime) -> str:
    """Return a time as headers carry it."""
    return moment.astimezone(UTC).strftime(_TIME)
