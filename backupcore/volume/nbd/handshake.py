"""The handshake: what the server exports, and under which rules it may be asked.

Fixed newstyle only: structured replies, metadata contexts, block sizes, then NBD_OPT_GO.

Source: "Handshake" in https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from backupcore.errors import VolumeMissing
from backupcore.model import SIZE_BYTES_MAX
from backupcore.units import MIB
from backupcore.volume.nbd.wire import Wire, clean_text

__all__ = ["Export", "shake_hands"]

OPENING_MAGIC = b"NBDMAGIC"
OPTION_MAGIC = b"IHAVEOPT"
REPLY_MAGIC = 0x0003E889045565A9
FIXED_NEWSTYLE, NO_ZEROES = 1, 2
OPT_GO, OPT_STRUCTURED_REPLY, OPT_SET_META_CONTEXT = 7, 8, 10
REP_ACK, REP_INFO, REP_META_CONTEXT, REP_ERROR = 1, 3, 4, 1 << 31
REP_ERR_UNSUP, REP_ERR_POLICY, REP_ERR_TLS_REQD, REP_ERR_UNKNOWN = (
    REP_ERROR + number for number in (1, 2, 5, 6)
)
INFO_EXPORT, INFO_BLOCK_SIZE = 0, 3
FLAG_CAN_MULTI_CONN = 1 << 8

GREETING = struct.Struct(">8s8sH")
OPTION_REPLY = struct.Struct(">QIII")
EXPORT_INFO = struct.Struct(">HQH")
BLOCK_SIZE_INFO = struct.Struct(">HIII")

REPLY_LENGTH_MAX = 64 * 1024  # the longest sensible one is a string of 4096 bytes
REPLY_COUNT_MAX = 1024
BLOCK_SIZE_MAX = 64 * 1024
READ_LENGTH_MAX = 32 * MIB  # what every server takes, "Block size constraints" in proto.md


@dataclass(frozen=True, slots=True)
class Export:
    """What a server said of an export.

    block_size_bytes: offsets and lengths of requests are multiples of it. contexts: metadata
    contexts that were granted, by the number the server gave them on this connection.
    """

    size_bytes: int
    can_multi_conn: bool
    block_size_bytes: int
    read_length_max: int
    is_structured: bool
    contexts: dict[int, str]


def shake_hands(wire: Wire, export: str, contexts: Sequence[str]) -> Export:
    """Return the export once the server is ready for requests.

    contexts: the names of metadata contexts to ask for; those that are not granted are missing in
    the result. Raises: VolumeMissing when it is not exported, SourceError.
    """
    _greet(wire)
    name = export.encode("utf-8", "surrogateescape")
    is_structured = _ask_structured(wire)
    granted = _ask_contexts(wire, name, contexts) if is_structured else {}
    size_bytes, flags, block_size_bytes, length_max = _go(wire, name)
    if not 0 < size_bytes <= SIZE_BYTES_MAX:
        raise VolumeMissing(f"{wire.name}: has {size_bytes} bytes: volumes have 1 to 2^62 bytes")
    if size_bytes % block_size_bytes:
        raise VolumeMissing(
            f"{wire.name}: its {size_bytes} bytes are no multiple of the server's block size "
            f"{block_size_bytes}, so its end cannot be read: export it with smaller blocks"
        )
    can_multi_conn = bool(flags & FLAG_CAN_MULTI_CONN)
    return Export(size_bytes, can_multi_conn, block_size_bytes, length_max, is_structured, granted)


def _greet(wire: Wire) -> None:
    opening, option, flags = GREETING.unpack(wire.receive(GREETING.size))
    if opening != OPENING_MAGIC:
        wire.refuse("it does not greet as one")
    if option != OPTION_MAGIC or not flags & FIXED_NEWSTYLE:
        wire.refuse("it is too old for the fixed newstyle handshake")
    wire.send(struct.pack(">I", flags & (FIXED_NEWSTYLE | NO_ZEROES)))


def _ask_structured(wire: Wire) -> bool:
    *_, (kind, data) = _option(wire, OPT_STRUCTURED_REPLY, b"")
    _refuse_tls(wire, kind, data)
    return kind == REP_ACK


def _ask_contexts(wire: Wire, name: bytes, contexts: Sequence[str]) -> dict[int, str]:
    queries = [context.encode("utf-8", "surrogateescape") for context in contexts]
    request = _string(name) + struct.pack(">I", len(queries))
    *replies, last = _option(wire, OPT_SET_META_CONTEXT, request + b"".join(map(_string, queries)))
    if last[0] != REP_ACK:
        return {}
    granted: dict[int, str] = {}
    for kind, data in replies:
        if kind != REP_META_CONTEXT or len(data) < 4 or data[4:] not in queries:
            wire.refuse("it grants metadata that nobody asked for")
        number = int.from_bytes(data[:4], "big")
        context = contexts[queries.index(data[4:])]
        if number in granted or context in granted.values():
            wire.refuse("it grants metadata twice")
        granted[number] = context
    return granted


def _go(wire: Wire, name: bytes) -> tuple[int, int, int, int]:
    """Choose the export; return its size, flags, block size and the longest read."""
    request = _string(name) + struct.pack(">HH", 1, INFO_BLOCK_SIZE)
    *replies, (kind, data) = _option(wire, OPT_GO, request)
    if kind != REP_ACK:
        _refuse_export(wire, kind, data)
    facts: tuple[int, int] | None = None
    blocks = (1, READ_LENGTH_MAX)
    for kind, data in replies:
        if kind != REP_INFO or len(data) < 2:
            wire.refuse(f"it answers NBD_OPT_GO with a reply of type {kind}")
        what = int.from_bytes(data[:2], "big")
        if what == INFO_EXPORT:
            if len(data) != EXPORT_INFO.size:
                wire.refuse("its facts of the export are cut")
            _, size_bytes, flags = EXPORT_INFO.unpack(data)
            facts = (size_bytes, flags)
        elif what == INFO_BLOCK_SIZE:
            blocks = _block_sizes(wire, data)
    if facts is None:
        wire.refuse("it does not tell the size of the export")
    return facts[0], facts[1], blocks[0], blocks[1]


def _block_sizes(wire: Wire, data: bytes) -> tuple[int, int]:
    if len(data) != BLOCK_SIZE_INFO.size:
        wire.refuse("its block sizes are cut")
    _, smallest, _, largest = BLOCK_SIZE_INFO.unpack(data)
    is_power = smallest > 0 and not smallest & (smallest - 1)
    if not is_power or smallest > BLOCK_SIZE_MAX or largest < smallest:
        wire.refuse(f"its block sizes {smallest} to {largest} cannot be")
    return smallest, min(largest, READ_LENGTH_MAX) // smallest * smallest


def _option(wire: Wire, option: int, data: bytes) -> Iterator[tuple[int, bytes]]:
    """Send an option; yield (type, data) of each reply, the last one an ACK or an error."""
    wire.send(OPTION_MAGIC + struct.pack(">II", option, len(data)) + data)
    for _ in range(REPLY_COUNT_MAX):
        magic, answered, kind, length = wire.unpack(OPTION_REPLY)
        if magic != REPLY_MAGIC or answered != option:
            wire.refuse(f"its answer to option {option} is for another one")
        if length > REPLY_LENGTH_MAX:
            wire.refuse(f"it answers option {option} with {length} bytes")
        yield kind, wire.receive(length)
        if kind == REP_ACK or kind & REP_ERROR:
            return
    wire.refuse(f"it never ends its answer to option {option}")


def _refuse_tls(wire: Wire, kind: int, data: bytes) -> None:
    if kind == REP_ERR_TLS_REQD:
        raise VolumeMissing(
            f"{wire.name}: the server demands TLS, which is not supported: let it serve a unix "
            f"socket, or reach it through a tunnel{_said(data)}"
        )


def _refuse_export(wire: Wire, kind: int, data: bytes) -> None:
    _refuse_tls(wire, kind, data)
    if kind == REP_ERR_UNKNOWN:
        raise VolumeMissing(
            f"{wire.name}: the server has no export of this name: list them with "
            f"`qemu-nbd --list` or `nbdinfo --list`{_said(data)}"
        )
    if kind == REP_ERR_UNSUP:
        wire.refuse("it is too old, it does not know NBD_OPT_GO")
    because = "its policy forbids it" if kind == REP_ERR_POLICY else f"error {kind - REP_ERROR}"
    raise VolumeMissing(f"{wire.name}: the server refuses the export: {because}{_said(data)}")


def _said(data: bytes) -> str:
    return f" (it says: {clean_text(data)})" if data else ""


def _string(text: bytes) -> bytes:
    return struct.pack(">I", len(text)) + text
