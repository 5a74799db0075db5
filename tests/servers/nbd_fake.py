"""An NBD server that says what a test tells it to, true or not."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from backupcore.closing import Closing
from backupcore.runtime import SystemClock

SIZE_BYTES = 1 << 20
ACK, INFO, META_CONTEXT, ERROR = 1, 3, 4, 1 << 31
GO, STRUCTURED_REPLY, SET_META_CONTEXT = 7, 8, 10
READ, DISCONNECT, BLOCK_STATUS = 0, 2, 7
DONE = 1
NONE, DATA, HOLE, STATUS, ERROR_CHUNK, ERROR_OFFSET = 0, 1, 2, 5, 32769, 32770


class Gone(Exception):
    """The client hung up."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asks in the transmission phase."""

    kind: int
    cookie: int
    offset: int
    length: int


@dataclass
class Peer:
    """One client, spoken to by a script."""

    link: socket.socket
    number: int  # 1 for the first client of a server
    asked: list[str] = field(default_factory=list)

    def receive(self, length: int) -> bytes:
        """Return that many bytes."""
        data = b""
        while len(data) < length:
            part = self.link.recv(length - len(data))
            if not part:
                raise Gone
            data += part
        return data

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.link.sendall(data)

    def greet(self, flags: int = 3) -> None:
        """Exchange greetings."""
        self.send(b"NBDMAGICIHAVEOPT" + struct.pack(">H", flags))
        self.receive(4)

    def option(self) -> tuple[int, bytes]:
        """Return the next option and its data."""
        magic, option, length = struct.unpack(">8sII", self.receive(16))
        assert magic == b"IHAVEOPT"
        return option, self.receive(length)

    def reply(self, option: int, kind: int, data: bytes = b"") -> None:
        """Answer an option."""
        self.send(struct.pack(">QIII", 0x3E889045565A9, option, kind, len(data)) + data)

    def negotiate(
        self,
        size_bytes: int = SIZE_BYTES,
        *,
        flags: int = 1,
        blocks: tuple[int, int, int] | None = None,
        is_structured: bool = True,
        withheld: str = "",
    ) -> None:
        """Do the handshake as a sound server, granting every context but one."""
        self.greet()
        option = 0
        while option != GO:
            option, data = self.option()
            if option == STRUCTURED_REPLY and not is_structured:
                self.reply(option, ERROR + 1)
                continue
            if option == SET_META_CONTEXT:
                self._grant(data, withheld)
            if option == GO:
                self.reply(option, INFO, struct.pack(">HQH", 0, size_bytes, flags))
                if blocks:
                    self.reply(option, INFO, struct.pack(">HIII", 3, *blocks))
            self.reply(option, ACK)

    def _grant(self, data: bytes, withheld: str) -> None:
        (name_length,) = struct.unpack_from(">I", data)
        data = data[8 + name_length :]
        while data:
            (length,) = struct.unpack_from(">I", data)
            context, data = data[4 : 4 + length], data[4 + length :]
            self.asked.append(context.decode())
            if context.decode() != withheld:
                number = struct.pack(">I", 100 + len(self.asked))
                self.reply(SET_META_CONTEXT, META_CONTEXT, number + context)

    def request(self) -> Request:
        """Return the next request; raises Gone when the client takes leave."""
        magic, _, kind, cookie, offset, length = struct.unpack(">IHHQQI", self.receive(28))
        assert magic == 0x25609513
        if kind == DISCONNECT:
            raise Gone
        return Request(kind, cookie, offset, length)

    def chunk(self, cookie: int, kind: int, payload: bytes = b"", *, flags: int = DONE) -> None:
        """Send one chunk of a structured reply."""
        self.send(struct.pack(">IHHQI", 0x668E33EF, flags, kind, cookie, len(payload)) + payload)

    def simple(self, cookie: int, error: int = 0, data: bytes = b"") -> None:
        """Send a simple reply."""
        self.send(struct.pack(">IIQ", 0x67446698, error, cookie) + data)

    def data(self, request: Request, data: bytes) -> None:
        """Answer a read with one chunk of data."""
        self.chunk(request.cookie, DATA, struct.pack(">Q", request.offset) + data)

    def status(self, request: Request, *rows: tuple[int, int], context: int = 101) -> None:
        """Answer with the block status (length, flags) of one context."""
        payload = struct.pack(">I", context) + b"".join(struct.pack(">II", *row) for row in rows)
        self.chunk(request.cookie, STATUS, payload)


class FakeServer(Closing):
    """Listens on a unix socket and runs a script for each client, in a thread of its own."""

    def __init__(self, path: Path, script: Callable[[Peer], None]) -> None:
        self._script = script
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen()
        self.peers: list[Peer] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                link, _ = self._listener.accept()
                self.peers.append(Peer(link, len(self.peers) + 1))
                thread = threading.Thread(target=self._speak, args=(self.peers[-1],))
                self._threads.append(thread)
                thread.start()

    def _speak(self, peer: Peer) -> None:
        with peer.link, suppress(Gone, OSError):
            self._script(peer)

    def close(self) -> None:
        """Hang up on everybody."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._threads[0].join()
        for peer in self.peers:
            with suppress(OSError):
                peer.link.shutdown(socket.SHUT_RDWR)
        for thread in self._threads[1:]:
            thread.join()


class QuickClock(SystemClock):
    """Waits for nothing and remembers how long it should have."""

    def __init__(self) -> None:
        self.waits_s: list[float] = []

    def sleep(self, wait_s: float) -> None:
        self.waits_s.append(wait_s)
