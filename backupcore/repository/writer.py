"""Puts frames, leaves and nodes into packs, and hands full packs on to be uploaded.

Owned by the thread that coordinates a session. Places are known as soon as a frame is added;
the pack is durable only when the upload it was handed to is done.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from backupcore.chunk.digest import digest
from backupcore.chunk.frame import FrameEncoder, FrameLabel
from backupcore.driver import Driver, Role
from backupcore.model import PackId
from backupcore.repository.envelope import Header
from backupcore.repository.key import DATA, MAP, PackKind, pack_id
from backupcore.repository.map import Row, null_row
from backupcore.repository.pack import (
    MAP_ITEM,
    PACK_SIZE_BYTES_MAX,
    PLACE,
    OpenPack,
    StoredFrame,
    footer_length_max,
    footer_of_data,
    footer_of_map,
)

__all__ = ["FullPack", "PackWriter"]

_MAP_FOOTER_SLACK = 4096


@dataclass(frozen=True, slots=True)
class FullPack:
    """A pack that takes no more frames: everything an uploader needs.

    payload_bytes: stored bytes of its frames.
    """

    pack: OpenPack
    footer: bytes
    label: FrameLabel
    level: int
    payload_bytes: int

    @property
    def is_data(self) -> bool:
        """Whether it holds chunks."""
        return self.pack.kind is DATA

    def put(self, driver: Driver) -> int:
        """Seal and store it; return its size in bytes. Any thread may."""
        parts = self.pack.seal(self.footer, FrameEncoder(self.level), self.label)
        driver.put(self.pack.key, parts, role=Role.DATA if self.is_data else Role.MAP)
        return sum(len(part) for part in parts)


class PackWriter:
    """Fills one data pack and one map pack at a time.

    header: fields that every pack of the session carries, the session's and writer's ids among
    them. data_header: what data packs carry besides. upload: takes a full pack over.
    """

    def __init__(
        self,
        header: Header,
        data_header: Header,
        *,
        level: int,
        upload: Callable[[FullPack], None],
        pack_size_bytes: int = PACK_SIZE_BYTES_MAX,
    ) -> None:
        self._header = header
        self._data_header = data_header
        self._level = level
        self._upload = upload
        self._pack_size_bytes = pack_size_bytes
        self._encoder = FrameEncoder(level)
        self._writer = bytes.fromhex(header["writer_id"])
        self._frame_number = 0
        self._pack_numbers = {DATA: 0, MAP: 0}
        self._data: _DataPack | None = None
        self._map: _MapPack | None = None

    def take_labels(self, count: int) -> list[FrameLabel]:
        """Return labels for frames to be made; none is given out twice."""
        first = self._frame_number
        self._frame_number += count
        return [FrameLabel(self._writer, number) for number in range(first, first + count)]

    def add_frames(self, frames: Sequence[StoredFrame]) -> npt.NDArray[np.void]:
        """Append frames, in the order of their cells; return PLACE[n], where each lies."""
        rows: list[tuple[np.void, int, int, int, int]] = []
        for stored in frames:
            if self._data is not None and not self._data.has_room(stored, self._pack_size_bytes):
                self._close_data()
            if self._data is None:
                self._data = _DataPack(self._open(DATA, {**self._header, **self._data_header}))
            offset, frame = self._data.add(stored), stored.frame
            lengths = frame.stored_length, frame.plain_length
            rows.append((self._data.reference, offset, *lengths, stored.checksum))
        return np.array(rows, PLACE)

    def add_map_item(self, plain: bytes, level: int, first_cell: int) -> Row:
        """Append a leaf or node; return the row that leads to it, its counts zero."""
        frame = self._encoder.encode_checked(plain, self.take_labels(1)[0])
        if self._map is not None and not self._map.has_room(
            frame.stored_length, self._pack_size_bytes
        ):
            self._close_map()
        if self._map is None:
            self._map = _MapPack(self._open(MAP, self._header))
        row = null_row()
        row["pack"] = self._map.reference
        row["offset"] = self._map.pack.add(frame)
        row["stored_length"], row["plain_length"] = frame.stored_length, len(plain)
        row["digest"] = np.void(digest(b"".join(frame.parts)))
        self._map.note(row, level, first_cell)
        return row

    def finish(self) -> None:
        """Hand on what is open."""
        self._close_data()
        self._close_map()

    def _open(self, kind: PackKind, header: Header) -> tuple[OpenPack, bytes]:
        number = self._pack_numbers[kind]
        self._pack_numbers[kind] = number + 1
        session, writer = header["session_id"], header["writer_id"]
        reference = bytes.fromhex(session + writer) + number.to_bytes(4, "little")
        key: PackId = pack_id(kind, reference)
        return OpenPack(kind, key, {**header, "number": number}), reference

    def _close_data(self) -> None:
        if self._data is not None:
            full, self._data = self._data, None
            footer = footer_of_data(full.frames, full.offsets)
            self._hand_on(full.pack, footer, sum(f.frame.stored_length for f in full.frames))

    def _close_map(self) -> None:
        if self._map is not None:
            full, self._map = self._map, None
            self._hand_on(full.pack, footer_of_map(np.array(full.items, MAP_ITEM)), 0)

    def _hand_on(self, pack: OpenPack, footer: bytes, payload_bytes: int) -> None:
        label = self.take_labels(1)[0]
        self._upload(FullPack(pack, footer, label, self._level, payload_bytes))


class _DataPack:
    """The data pack that is being filled."""

    def __init__(self, opened: tuple[OpenPack, bytes]) -> None:
        self.pack, reference = opened
        self.reference = np.void(reference)
        self.frames: list[StoredFrame] = []
        self.offsets: list[int] = []
        self._slot_count = 0

    def has_room(self, frame: StoredFrame, limit_bytes: int) -> bool:
        slots = self._slot_count + len(frame.cells)
        footer = footer_length_max(len(self.frames) + 1, slots)
        return self.pack.size_bytes + frame.frame.stored_length + footer <= limit_bytes

    def add(self, frame: StoredFrame) -> int:
        offset = self.pack.add(frame.frame)
        self.frames.append(frame)
        self.offsets.append(offset)
        self._slot_count += len(frame.cells)
        return offset


class _MapPack:
    """The map pack that is being filled."""

    def __init__(self, opened: tuple[OpenPack, bytes]) -> None:
        self.pack, reference = opened
        self.reference = np.void(reference)
        self.items: list[Row] = []

    def has_room(self, stored_length: int, limit_bytes: int) -> bool:
        footer = (len(self.items) + 1) * MAP_ITEM.itemsize + _MAP_FOOTER_SLACK
        return self.pack.size_bytes + stored_length + footer <= limit_bytes

    def note(self, row: Row, level: int, first_cell: int) -> None:
        item = np.zeros(1, MAP_ITEM)[0]
        for name in ("offset", "stored_length", "plain_length", "digest"):
            item[name] = row[name]
        item["level"], item["first_cell"] = level, first_cell
        self.items.append(item)
