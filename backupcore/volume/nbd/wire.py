"""The bytes of a connection: exact receives with time-outs, and the failures they meet.

A wait ends when the server is silent for the whole time-out; a slow server that keeps sending is
waited for.
"""

from __future__ import annotations

import socket
import struct
from typing import NoReturn

from backupcore.errors import SourceError
from backupcore.volume.nbd.address import Address

__all__ = ["ConnectionLost", "RequestFailed", "ServerError", "Wire", "clean_text"]

TEXT_LENGTH_MAX = 200


class ConnectionLost(SourceError):
    """The server cannot be reached, hung up or is silent; a new connection may help."""


class RequestFailed(SourceError):
    """What was asked for is not to be had; the connection is in step and goes on."""


class ServerError(RequestFailed):
    """The server answered a request with an error.

    code: its NBD error. said: in words. offset: where, when it told.
    """

    def __init__(self, message: str, *, code: int, said: str, offset: int | None) -> None:
        super().__init__(message)
        self.code = code
        self.said = said
        self.offset = offset


class Wire:
    """A connected stream socket; used by one thread at a time."""

    def __init__(self, address: Address, timeout_s: float) -> None:
        """Connect. Raises: ConnectionLost."""
        self.name = address.identity
        try:
            self._socket = _connect(address, timeout_s)
            self.limit_waits(timeout_s)
        except (OSError, UnicodeError) as error:
            raise ConnectionLost(
                f"{self.name}: cannot be reached: {_reason(error)}: check that the NBD server "
                "runs there, takes one more client and lets this user in"
            ) from error

    def limit_waits(self, timeout_s: float) -> None:
        """Set how long the server may be silent."""
        self._timeout_s = timeout_s
        seconds = int(timeout_s)
        limit = struct.pack("@ll", seconds, int((timeout_s - seconds) * 1e6))
        # With the kernel's own time-out one call fills a whole buffer without the interpreter.
        self._socket.settimeout(None)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)

    def receive(self, length: int) -> bytes:
        """Return that many bytes. Raises: ConnectionLost."""
        buffer = bytearray(length)
        self.receive_into(memoryview(buffer))
        return bytes(buffer)

    def receive_into(self, view: memoryview) -> None:
        """Fill the whole view. Raises: ConnectionLost."""
        while len(view):
            try:
                count = self._socket.recv_into(view, 0, socket.MSG_WAITALL)
            except OSError as error:
                self._lose(error)
            if not count:
                raise ConnectionLost(f"{self.name}: the server hung up: see its log")
            view = view[count:]

    def unpack(self, layout: struct.Struct) -> tuple[int, ...]:
        """Return the numbers of a fixed layout. Raises: ConnectionLost."""
        return layout.unpack(self.receive(layout.size))

    def send(self, data: bytes) -> None:
        """Send all of it. Raises: ConnectionLost."""
        try:
            self._socket.sendall(data)
        except OSError as error:
            self._lose(error)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def refuse(self, fact: str) -> NoReturn:
        """Raise SourceError: the server breaks the protocol, which trying again does not mend."""
        raise SourceError(f"{self.name}: not a sound NBD server: {fact}: update or change it")

    def _lose(self, error: OSError) -> NoReturn:
        if isinstance(error, BlockingIOError | TimeoutError):
            raise ConnectionLost(
                f"{self.name}: the server is silent for {self._timeout_s:g} s: check it, or give "
                "timeout_s a longer time"
            ) from error
        raise ConnectionLost(f"{self.name}: the connection broke: {_reason(error)}") from error


def _connect(address: Address, timeout_s: float) -> socket.socket:
    if address.socket_path:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(timeout_s)
            connection.connect(address.socket_path)
        except BaseException:
            connection.close()
            raise
    else:
        connection = socket.create_connection((address.host, address.port), timeout_s)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return connection


def clean_text(data: bytes) -> str:
    """Return a server's own words, short and without control characters, fit for a message."""
    text = data[:TEXT_LENGTH_MAX].decode("utf-8", "replace")
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _reason(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)
