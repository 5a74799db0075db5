"""Packs: immutable objects of many frames and a footer that says what they hold.

    prefix and header · frames … · footer frame · trailer     (docs/design/format.md §5, §6)

An `OpenPack` grows in memory; `seal` turns it into the parts of one put.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from backupcore.chunk.digest import checksum
from backupcore.chunk.frame import HEADER_LENGTH, Frame, FrameDecoder, FrameEncoder, FrameLabel
from backupcore.driver import Driver
from backupcore.errors import Damaged, PackDamaged
from backupcore.model import Buffer, Ids, PackId
from backupcore.repository.envelope import (
    TRAILER_LENGTH_MAX,
    Header,
    read_layout,
    seal_envelope,
    start_envelope,
)
from backupcore.repository.key import PackKind
from backupcore.units import KIB, MIB

__all__ = [
    "FOOTER_FRAME",
    "PACK_SIZE_BYTES_MAX",
    "PLACE",
    "DataFooter",
    "OpenPack",
    "StoredFrame",
    "footer_of_data",
    "footer_of_map",
    "open_footer",
    "read_footer",
]

PACK_SIZE_BYTES_MAX = 32 * MIB
FOOTER_READ_BYTES = 64 * KIB  # one ranged read that holds the whole footer of most packs
_FOOTER_SHRINKAGE_MAX = 64  # a footer is mostly digests: it hardly shrinks
_CHECKSUM = struct.Struct("<Q")

# where a frame lies: one row of a leaf's frame table with its pack beside it
PLACE = np.dtype(
    [
        ("pack", "V36"),
        ("offset", "<u4"),
        ("stored_length", "<u4"),
        ("plain_length", "<u4"),
        ("checksum", "<u8"),
    ]
)
FOOTER_FRAME = np.dtype(
    [
        ("offset", "<u4"),
        ("stored_length", "<u4"),
        ("plain_length", "<u4"),
        ("slot_count", "<u2"),
        ("codec", "u1"),
        ("reserved", "u1"),
        ("number", "<u8"),
        ("checksum", "<u8"),
    ]
)
FOOTER_SLOT = np.dtype([("cell", "<u8"), ("id", "u1", (32,))])
MAP_ITEM = np.dtype(
    [
        ("offset", "<u4"),
        ("stored_length", "<u4"),
        ("plain_length", "<u4"),
        ("level", "u1"),
        ("reserved", "V3"),
        ("first_cell", "<u8"),
        ("digest", "V32"),
    ]
)


@dataclass(frozen=True, slots=True)
class StoredFrame:
    """A sealed frame of chunks: what it holds and its checksum.

    cells: int64[s], the cell of each slot. ids: uint8[s, 32].
    """

    frame: Frame
    number: int
    checksum: int
    cells: npt.NDArray[np.int64]
    ids: Ids


class OpenPack:
    """A pack that is being filled; owned by one thread until it is sealed."""

    def __init__(self, kind: PackKind, key: PackId, header: Header) -> None:
        self.kind = kind
        self.key = key
        start = start_envelope(kind.envelope, header)
        self._parts: list[Buffer] = [start]
        self._start = self.size_bytes = len(start)

    def add(self, frame: Frame) -> int:
        """Append a frame; return its offset in the object."""
        offset = self.size_bytes
        self._parts += frame.parts
        self.size_bytes += frame.stored_length
        return offset

    def seal(self, footer: Buffer, encoder: FrameEncoder, label: FrameLabel) -> list[Buffer]:
        """Return the parts of the finished object; the footer gets its checksum."""
        plain = bytes(footer) + _CHECKSUM.pack(checksum([footer]))
        stored = encoder.encode_checked(plain, label)
        sections = (self.size_bytes - self._start, stored.stored_length)
        self._parts += stored.parts
        self._parts.append(seal_envelope(self._parts, sections))
        return self._parts


def footer_length_max(frame_count: int, slot_count: int) -> int:
    """Return the most bytes a data pack's footer and trailer take."""
    plain = 8 + frame_count * FOOTER_FRAME.itemsize + slot_count * FOOTER_SLOT.itemsize
    plain += _CHECKSUM.size
    return HEADER_LENGTH + plain + TRAILER_LENGTH_MAX


def footer_of_data(frames: Sequence[StoredFrame], offsets: Sequence[int]) -> bytes:
    """Return the plain footer of a data pack."""
    rows = [
        (
            offset,
            stored.frame.stored_length,
            stored.frame.plain_length,
            len(stored.cells),
            stored.frame.codec,
            0,
            stored.number,
            stored.checksum,
        )
        for stored, offset in zip(frames, offsets, strict=True)
    ]
    table = np.array(rows, FOOTER_FRAME)
    slots = np.zeros(sum(len(frame.cells) for frame in frames), FOOTER_SLOT)
    if len(slots):
        slots["cell"] = np.concatenate([frame.cells for frame in frames])
        slots["id"] = np.concatenate([frame.ids for frame in frames])
    counts = np.array([len(table), len(slots)], "<u4")
    return counts.tobytes() + table.tobytes() + slots.tobytes()


def footer_of_map(items: npt.NDArray[np.void]) -> bytes:
    """Return the plain footer of a map pack; items: MAP_ITEM[n]."""
    return np.array([len(items), 0], "<u4").tobytes() + items.tobytes()


@dataclass(frozen=True, slots=True)
class DataFooter:
    """What a data pack holds.

    frames: FOOTER_FRAME[f]. cells: int64[s] and ids: uint8[s, 32], in the order of the frames.
    """

    frames: npt.NDArray[np.void]
    cells: npt.NDArray[np.int64]
    ids: Ids

    @classmethod
    def parse(cls, plain: Buffer) -> DataFooter:
        """Read a plain footer. Raises: Damaged."""
        if len(plain) < 8:
            raise Damaged("footer is shorter than its counts")
        frame_count, slot_count = (int(count) for count in np.frombuffer(plain[:8], "<u4"))
        split = 8 + frame_count * FOOTER_FRAME.itemsize
        if split + slot_count * FOOTER_SLOT.itemsize != len(plain):
            raise Damaged("footer's counts do not fit its length")
        frames = np.frombuffer(plain[8:split], FOOTER_FRAME)
        slots = np.frombuffer(plain[split:], FOOTER_SLOT)
        if int(frames["slot_count"].sum()) != slot_count or frames["reserved"].any():
            raise Damaged("footer's frames do not fit its slots")
        return cls(frames, slots["cell"].astype(np.int64), np.ascontiguousarray(slots["id"]))

    def places(self, reference: bytes) -> npt.NDArray[np.void]:
        """Return PLACE[f]: where the frames lie, given the 36 bytes that refer to the pack."""
        rows = np.zeros(len(self.frames), PLACE)
        rows["pack"] = np.void(reference)
        for name in ("offset", "stored_length", "plain_length", "checksum"):
            rows[name] = self.frames[name]
        return rows


def read_footer(driver: Driver, key: PackId, size_bytes: int) -> bytearray:
    """Return a pack's plain footer without its checksum, from the pack's end.

    Raises: PackDamaged, ObjectMissing.
    """
    start = max(0, size_bytes - FOOTER_READ_BYTES)
    tail = driver.get(key, start)
    try:
        layout = read_layout(tail, size_bytes)
        if len(layout.sections) != 2:
            raise Damaged(f"pack has {len(layout.sections)} sections, not 2")
        offset, length = layout.sections[1]
        stored = tail[offset - start : offset - start + length]
        if offset < start:
            stored = driver.get(key, offset, length)
        return open_footer(stored)
    except Damaged as error:
        raise PackDamaged(f"{key}: footer is damaged: {error}: run verify") from error


def open_footer(stored: Buffer) -> bytearray:
    """Return the plain footer of a pack, without its checksum. Raises: Damaged."""
    plain_length = int.from_bytes(stored[8:12], "little")
    if not _CHECKSUM.size <= plain_length <= len(stored) * _FOOTER_SHRINKAGE_MAX:
        raise Damaged(f"footer claims {plain_length} bytes")
    plain = FrameDecoder().decode(stored, plain_length)
    written = bytes(plain[-_CHECKSUM.size :])
    del plain[-_CHECKSUM.size :]
    if _CHECKSUM.pack(checksum([plain])) != written:
        raise Damaged("footer is not what was written")
    return plain
