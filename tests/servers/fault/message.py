"""One side of an HTTP/1.1 connection: heads as they came, bodies in pieces, nothing re-encoded.

A body's pieces are framing (chunk sizes, trailers) or payload; whoever wants to spoil a byte of a
body needs to know which. Source: RFC 9112 §6 and §7.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from enum import Enum
from typing import TypeAlias

__all__ = ["Framing", "Head", "Length", "Side", "answer_length", "request_length"]

HEAD_LINES_MAX = 200
LINE_BYTES_MAX = 1 << 16
RECEIVED_BYTES = 1 << 16
BUFFER_BYTES = 1 << 18


class Framing(Enum):
    """How the end of a body is told when it is not by its length."""

    CHUNKED = "chunked"
    UNTIL_CLOSE = "until close"


Length: TypeAlias = int | Framing


class Head:
    """The first line and the header fields of a message, in the bytes they came in."""

    def __init__(self, lines: list[bytes]) -> None:
        self._lines = lines
        self.words = lines[0].decode("latin-1").split(" ", 2)

    def __bytes__(self) -> bytes:
        return b"\r\n".join([*self._lines, b"", b""])

    def get(self, name: str) -> str:
        """Return a field's value, empty when there is none."""
        index = self._find(name)
        return self._lines[index].partition(b":")[2].strip().decode("latin-1") if index else ""

    def set(self, name: str, value: str) -> None:
        """Give a field another value; one that is not there stays absent."""
        index = self._find(name)
        if index:
            self._lines[index] = f"{name}: {value}".encode("latin-1")

    @property
    def is_last(self) -> bool:
        """Whether the sender closes the connection after this message."""
        is_old = b"HTTP/1.0" in self._lines[0]
        return "close" in self.get("connection").lower() or is_old

    @property
    def status(self) -> int:
        """Of an answer."""
        return int(self.words[1])

    def _find(self, name: str) -> int:
        """Return the line of a field, 0 for none."""
        wanted = name.lower().encode("latin-1") + b":"
        for index, line in enumerate(self._lines):
            if index and line[: len(wanted)].lower() == wanted:
                return index
        return 0


def request_length(head: Head) -> Length:
    """Return how much body follows a request's head."""
    if "chunked" in head.get("transfer-encoding").lower():
        return Framing.CHUNKED
    return int(head.get("content-length") or 0)


def answer_length(head: Head, method: str) -> Length:
    """Return how much body follows an answer's head."""
    if method == "HEAD" or head.status in (204, 304):
        return 0
    if "chunked" in head.get("transfer-encoding").lower():
        return Framing.CHUNKED
    length = head.get("content-length")
    return int(length) if length else Framing.UNTIL_CLOSE


class Side:
    """A socket that is read by lines and by pieces; owned by one thread.

    is_lenient: whether sending to one that has hung up is no error: its answer may wait here.
    """

    def __init__(self, link: socket.socket, *, is_lenient: bool = False) -> None:
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._is_lenient = is_lenient
        self.link = link
        self._held = bytearray()
        self._buffer = memoryview(bytearray(BUFFER_BYTES))

    @property
    def has_held(self) -> bool:
        """Whether bytes wait here that the socket does not tell of."""
        return bool(self._held)

    def send(self, data: bytes | memoryview) -> None:
        """Send all of it. Raises: OSError."""
        try:
            self.link.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            if not self._is_lenient:
                raise

    def head(self) -> Head | None:
        """Return the next head, None when the other end has hung up before one."""
        lines: list[bytes] = []
        while not lines or lines[-1]:
            line = self._line()
            if line is None:
                return None
            if line or lines:
                lines.append(line)
            if len(lines) > HEAD_LINES_MAX:
                raise EOFError("a head without an end")
        return Head(lines[:-1])

    def pieces(self, length: Length) -> Iterator[tuple[memoryview, bool]]:
        """Yield a body's pieces and whether each is payload; a piece is one's own until the next.

        Raises: EOFError when the other end hangs up inside the body.
        """
        if isinstance(length, int):
            yield from self._payload(length)
        elif length is Framing.UNTIL_CLOSE:
            while count := self._read_into(self._buffer):
                yield self._buffer[:count], True
        else:
            yield from self._chunks()

    def hang_up(self, *, is_reset: bool = False) -> None:
        """Close: in good order, or with a reset that drops what was not delivered."""
        with suppress(OSError):
            if is_reset:
                option = struct.pack("ii", 1, 0)
                self.link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, option)
            else:
                self.link.shutdown(socket.SHUT_RDWR)
        self.link.close()

    def _payload(self, length: int) -> Iterator[tuple[memoryview, bool]]:
        while length:
            count = self._read_into(self._buffer[: min(length, BUFFER_BYTES)])
            if not count:
                raise EOFError(f"{length} bytes of a body are missing")
            length -= count
            yield self._buffer[:count], True

    def _chunks(self) -> Iterator[tuple[memoryview, bool]]:
        size = -1
        while size:
            line = self._need_line()
            size = int(line.partition(b";")[0], 16)
            yield memoryview(line + b"\r\n"), False
            yield from self._payload(size)
            if size:
                yield memoryview(self._need_line() + b"\r\n"), False
        line = b"trailer"
        while line:
            line = self._need_line()
            yield memoryview(line + b"\r\n"), False

    def _need_line(self) -> bytes:
        line = self._line()
        if line is None:
            raise EOFError("a body ends between its chunks")
        return line

    def _line(self) -> bytes | None:
        while (end := self._held.find(b"\n")) < 0:
            data = self.link.recv(RECEIVED_BYTES)
            if not data or len(self._held) > LINE_BYTES_MAX:
                return None
            self._held += data
        line = bytes(self._held[:end]).rstrip(b"\r")
        del self._held[: end + 1]
        return line

    def _read_into(self, view: memoryview) -> int:
        if not self._held:
            return self.link.recv_into(view)
        count = min(len(view), len(self._held))
        view[:count] = self._held[:count]
        del self._held[:count]
        return count
