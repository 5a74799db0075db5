"""One connection in its transmission phase: reads and block status, every reply checked.

Nothing the server says is believed: lengths are checked before memory is taken, chunks must lie
inside what was asked for and must not overlap, cookies must be ours. After any failure but a
`ServerError` the stream is out of step and the connection must be closed.

Source: "Transmission" in https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md
"""

from __future__ import annotations

import errno
import os
import struct
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import suppress

import numpy as np
import numpy.typing as npt

from backupcore.closing import Closing
from backupcore.units import MIB
from backupcore.volume.nbd.address import Address
from backupcore.volume.nbd.handshake import shake_hands
from backupcore.volume.nbd.wire import ConnectionLost, ServerError, Wire, clean_text

__all__ = ["Connection", "Descriptors"]

Descriptors = npt.NDArray[np.int64]  # int64[n, 2], rows (length, flags)

REQUEST = struct.Struct(">IHHQQI")
MAGIC = struct.Struct(">I")
SIMPLE_REPLY = struct.Struct(">IQ")
CHUNK = struct.Struct(">HHQI")
HOLE = struct.Struct(">QI")
OFFSET = struct.Struct(">Q")
ERROR = struct.Struct(">IH")
REQUEST_MAGIC, SIMPLE_MAGIC, CHUNK_MAGIC = 0x25609513, 0x67446698, 0x668E33EF
CMD_READ, CMD_DISC, CMD_BLOCK_STATUS = 0, 2, 7
FLAG_DONE = 1
TYPE_NONE, TYPE_DATA, TYPE_HOLE, TYPE_STATUS = 0, 1, 2, 5
TYPE_ERROR, TYPE_ERROR_OFFSET, ANY_ERROR = (1 << 15) + 1, (1 << 15) + 2, 1 << 15

ERROR_LENGTH_MAX = 8192
STATUS_LENGTH_MAX = 16 * MIB + 4  # the servers in use send 8 MiB at most
CHUNK_COUNT_MIN = 64


class Connection(Closing):
    """An export on one connection; used by one thread at a time."""

    def __init__(
        self,
        address: Address,
        contexts: Sequence[str],
        timeout_s: float,
        *,
        opening_s: float | None = None,
    ) -> None:
        """Connect and agree; opening_s: a shorter time-out for this.

        Raises: VolumeMissing, SourceError.
        """
        self._wire = Wire(address, min(timeout_s, opening_s or timeout_s))
        self._cookie = 0
        try:
            self.export = shake_hands(self._wire, address.export, contexts)
            self._wire.limit_waits(timeout_s)
        except BaseException:
            self._wire.close()
            raise

    def close(self) -> None:
        """Tell the server and close; only between requests is it told."""
        with suppress(ConnectionLost):
            self._wire.send(REQUEST.pack(REQUEST_MAGIC, 0, CMD_DISC, 0, 0, 0))
        self._wire.close()

    def drop(self) -> None:
        """Close a connection that is out of step."""
        self._wire.close()

    def read_into(self, offset: int, view: memoryview) -> None:
        """Fill a view with one request; offset and length must fit the export's block size.

        Raises: ServerError, ConnectionLost, SourceError.
        """
        self._request(CMD_READ, offset, len(view))
        if not self.export.is_structured:
            self._receive_simple(offset, view)
            return
        reply = _ReadReply(self._wire, offset, view)
        failure: ServerError | None = None
        for kind, length in self._chunks(offset, CHUNK_COUNT_MIN + len(view) // 512):
            if kind & ANY_ERROR:
                failure = failure or self._receive_error(kind, length, offset, len(view))
            elif kind == TYPE_DATA:
                reply.receive_data(length)
            elif kind == TYPE_HOLE:
                reply.receive_hole(length)
            elif kind != TYPE_NONE or length:
                self._wire.refuse(f"it answers a read with a chunk of type {kind}")
        if failure is not None:
            raise failure
        reply.check_whole()

    def block_status(self, context: str, offset: int, length: int) -> Descriptors:
        """Return what a metadata context says from an offset on.

        int64[n, 2], rows (length, flags), one behind the other, n ≥ 1; the last may reach beyond
        what was asked for, and all together may be shorter. Raises: as `read_into`.
        """
        contexts = self.export.contexts
        found: dict[int, Descriptors] = {}
        failure: ServerError | None = None
        self._request(CMD_BLOCK_STATUS, offset, length)
        for kind, size_bytes in self._chunks(offset, CHUNK_COUNT_MIN):
            if kind & ANY_ERROR:
                failure = failure or self._receive_error(kind, size_bytes, offset, length)
            elif kind == TYPE_STATUS:
                number, table = self._receive_status(size_bytes, length)
                if number not in contexts or number in found:
                    self._wire.refuse("it tells block status that was not asked for")
                found[number] = table
            elif kind != TYPE_NONE or size_bytes:
                self._wire.refuse(f"it answers block status with a chunk of type {kind}")
        if failure is not None:
            raise failure
        tables = [table for number, table in found.items() if contexts[number] == context]
        if not tables:
            self._wire.refuse(f"it leaves out the block status {context}")
        return tables[0]

    def _request(self, command: int, offset: int, length: int) -> None:
        self._cookie += 1
        self._wire.send(REQUEST.pack(REQUEST_MAGIC, 0, command, self._cookie, offset, length))

    def _receive_simple(self, offset: int, view: memoryview) -> None:
        (magic,) = self._wire.unpack(MAGIC)
        if magic != SIMPLE_MAGIC:
            self._wire.refuse("its reply has no known beginning")
        code = self._simple_code()
        if code:
            raise self._server_error(code, b"", offset, None)
        self._wire.receive_into(view)

    def _simple_code(self) -> int:
        code, cookie = self._wire.unpack(SIMPLE_REPLY)
        self._check_cookie(cookie)
        return code

    def _chunks(self, offset: int, count_max: int) -> Iterator[tuple[int, int]]:
        """Yield (type, length) of each chunk of one reply; the payload is the caller's to take."""
        for _ in range(count_max):
            (magic,) = self._wire.unpack(MAGIC)
            if magic == SIMPLE_MAGIC:
                code = self._simple_code()
                if code:
                    raise self._server_error(code, b"", offset, None)
            if magic != CHUNK_MAGIC:
                self._wire.refuse("its reply is not structured, as was agreed on")
            flags, kind, cookie, length = self._wire.unpack(CHUNK)
            self._check_cookie(cookie)
            yield kind, length
            if flags & FLAG_DONE:
                return
        self._wire.refuse(f"it cuts its answer into more than {count_max} chunks")

    def _check_cookie(self, cookie: int) -> None:
        if cookie != self._cookie:
            self._wire.refuse("it answers a request that nobody made")

    def _receive_status(self, size_bytes: int, length: int) -> tuple[int, Descriptors]:
        if size_bytes % 8 != 4 or not 12 <= size_bytes <= STATUS_LENGTH_MAX:
            self._wire.refuse(f"it tells block status in {size_bytes} bytes")
        payload = self._wire.receive(size_bytes)
        table = np.frombuffer(payload, ">u4", offset=4).reshape(-1, 2).astype(np.int64)
        lengths = table[:, 0]
        if not lengths.all() or int(lengths[:-1].sum()) >= length:
            self._wire.refuse("it tells block status of nothing, or beyond what was asked for")
        return int.from_bytes(payload[:4], "big"), table

    def _receive_error(self, kind: int, size_bytes: int, offset: int, length: int) -> ServerError:
        if not ERROR.size <= size_bytes <= ERROR_LENGTH_MAX:
            self._wire.refuse(f"it reports an error in {size_bytes} bytes")
        payload = self._wire.receive(size_bytes)
        code, text_length = ERROR.unpack_from(payload)
        text, rest = payload[6 : 6 + text_length], payload[6 + text_length :]
        if not code or len(text) < text_length:
            self._wire.refuse("its report of an error is cut")
        if kind != TYPE_ERROR_OFFSET:
            return self._server_error(code, text, offset, None)
        if len(rest) != OFFSET.size:
            self._wire.refuse("its report of an error has no offset")
        (place,) = OFFSET.unpack(rest)
        if not offset <= place < offset + length:
            self._wire.refuse("it reports an error outside of what was asked for")
        return self._server_error(code, text, offset, place)

    def _server_error(self, code: int, text: bytes, offset: int, place: int | None) -> ServerError:
        """Return the error to raise. Raises: ConnectionLost when the server shuts down."""
        said = clean_text(text) or os.strerror(code)
        if code == errno.ESHUTDOWN:
            raise ConnectionLost(f"{self._wire.name}: the server shuts down: start it again")
        where = offset if place is None else place
        message = f"{self._wire.name}: the server fails at offset {where}: {said}: see its log"
        return ServerError(message, code=code, said=said, offset=place)


class _ReadReply:
    """Puts the chunks of one reply in their places."""

    def __init__(self, wire: Wire, offset: int, view: memoryview) -> None:
        self._wire = wire
        self._offset = offset
        self._view = view
        self._edges: list[int] = []  # of what has come: start, end, start, end … ascending

    def receive_data(self, length: int) -> None:
        """Take the payload of a data chunk."""
        if not OFFSET.size < length <= OFFSET.size + len(self._view):
            self._wire.refuse(f"it sends {length - OFFSET.size} bytes of data, not what was asked")
        (offset,) = self._wire.unpack(OFFSET)
        self._wire.receive_into(self._part(offset, length - OFFSET.size))

    def receive_hole(self, length: int) -> None:
        """Take the payload of a hole chunk."""
        if length != HOLE.size:
            self._wire.refuse(f"it describes a hole in {length} bytes")
        offset, hole_length = self._wire.unpack(HOLE)
        part = self._part(offset, hole_length)
        np.frombuffer(part, np.uint8).fill(0)

    def check_whole(self) -> None:
        """Raise SourceError unless every byte has come."""
        if self._edges != ([0, len(self._view)] if len(self._view) else []):
            self._wire.refuse("it leaves out some of the data that was asked for")

    def _part(self, offset: int, length: int) -> memoryview:
        start, end = offset - self._offset, offset - self._offset + length
        if not 0 <= start < end <= len(self._view):
            self._wire.refuse("it sends data from outside of what was asked for")
        edges = self._edges
        at = bisect_left(edges, start)
        is_inside = at % 2 == 1 and edges[at] != start
        first = at + 1 if at % 2 == 1 else at
        if is_inside or (first < len(edges) and edges[first] < end):
            self._wire.refuse("it sends the same data twice")
        self._place(first, start, end)
        return self._view[start:end]

    def _place(self, at: int, start: int, end: int) -> None:
        """Insert two edges at an even position, melting the run with its neighbours."""
        edges = self._edges
        touches_right = at < len(edges) and edges[at] == end
        touches_left = at > 0 and edges[at - 1] == start
        edges[at - touches_left : at + touches_right] = ([] if touches_left else [start]) + (
            [] if touches_right else [end]
        )
