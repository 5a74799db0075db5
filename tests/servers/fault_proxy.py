"""A proxy before a web server that lets every request through but those its rules spoil.

    with FaultProxy(port) as proxy:
        proxy.rules = [Rule(Fault.ANSWER, "PUT", "*/data/*", status=503, headers="Retry-After: 7")]

It understands HTTP/1.1 as far as it needs to know where a request ends, so rules hold for each
request of a kept-alive connection; what it passes on it does not change, signatures stay valid.
`exchanges` tells what went through, for tests and for counting requests; nothing here needs pytest.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from tests.servers.fault.connection import Connection
from tests.servers.fault.rule import Exchange, Fault, Rule, Rulebook, Way

__all__ = ["Exchange", "Fault", "FaultProxy", "Rule", "Way"]


class FaultProxy:
    """Listens on a port of its own before a server's port, a thread for each connection.

    latency_s: added to every request.
    """

    def __init__(self, server_port: int, *, latency_s: float = 0.0) -> None:
        self.latency_s = latency_s
        self.connection_count = 0
        self._server = ("127.0.0.1", server_port)
        self._book = Rulebook()
        self._lock = threading.Lock()
        self._connections: dict[Connection, threading.Thread] = {}
        self._listener = _listen(0)
        self.port = int(self._listener.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self._accepting = self._accept()

    def __enter__(self) -> FaultProxy:
        return self

    def __exit__(self, *given: object) -> None:
        self.close()

    @property
    def rules(self) -> Sequence[Rule]:
        """What is spoiled; the first rule that hits counts. Setting them counts from anew."""
        return self._book.rules

    @rules.setter
    def rules(self, rules: Sequence[Rule]) -> None:
        self._book.replace(rules)

    @property
    def exchanges(self) -> list[Exchange]:
        """What went through, oldest first."""
        return self._book.exchanges

    def count(self, method: str = "*", path: str = "*", *, fault: Fault | None = None) -> int:
        """Return how many requests there were, or how many a kind of fault has hit."""
        return self._book.count(method, path, fault=fault)

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """Hang up on everybody and refuse connections meanwhile."""
        self.close()
        try:
            yield
        finally:
            self._listener = _listen(self.port)
            self._accepting = self._accept()

    def drop(self) -> None:
        """Hang up on everybody; who comes again is let in."""
        with self._lock:
            connections = dict(self._connections)
        for connection, thread in connections.items():
            connection.interrupt()
            thread.join()

    def close(self) -> None:
        """Hang up on everybody."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join()
        self.drop()

    def _accept(self) -> threading.Thread:
        thread = threading.Thread(target=self._listen, args=(self._listener,), daemon=True)
        thread.start()
        return thread

    def _listen(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                link, _ = listener.accept()
                self.connection_count += 1
                connection = Connection(link, self._server, self._book, latency_s=self.latency_s)
                thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
                with self._lock:
                    self._connections[connection] = thread
                thread.start()

    def _serve(self, connection: Connection) -> None:
        try:
            connection.run()
        finally:
            with self._lock:
                self._connections.pop(connection, None)


def _listen(port: int) -> socket.socket:
    return socket.create_server(("127.0.0.1", port), backlog=128)
