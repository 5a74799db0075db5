"""A web server that answers what a test tells it to, and notes what it was asked."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer; status 0 is none, length -1 is not told, and a wrong one ends the connection."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    length: int | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """A request; names of headers are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Script:
    """Gives one reply after the other, the last for ever."""

    replies: list[Reply] = field(default_factory=lambda: [Reply()])
    asked: list[Asked] = field(default_factory=list)
    connection_count: int = 0
    heard: Callable[[], object] = lambda: None
    url: str = ""

    def answer(self, *replies: Reply) -> None:
        """Set what is answered from now on, and forget what was asked."""
        self.replies = list(replies)
        self.asked.clear()

    def next_reply(self) -> Reply:
        """Return what comes now."""
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]


class _Scripted(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    script: Script

    def setup(self) -> None:
        self.script.connection_count += 1
        super().setup()

    def handle_expect_100(self) -> bool:
        self.script.heard()
        return super().handle_expect_100()

    def handle(self) -> None:
        with suppress(ConnectionError):  # clients hang up as they like
            super().handle()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - name of the library
        pass

    def _reply(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        names = {name.lower(): value for name, value in self.headers.items()}
        self.script.asked.append(Asked(self.command, self.path, names, body))
        reply = self.script.next_reply()
        if not reply.status:
            self.close_connection = True
            return
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        length = len(reply.body) if reply.length is None else reply.length
        if length >= 0:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        if self.command != "HEAD":
            with suppress(OSError):  # the client may have gone
                self.wfile.write(reply.body)
            self.close_connection = length != len(reply.body)

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _reply  # noqa: N815 - names of the library


@contextmanager
def scripted_server() -> Iterator[Script]:
    """Serve a script on a free port of this machine."""
    script = Script()
    kind = type("_Handler", (_Scripted,), {"script": script})
    server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    script.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield script
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def error_reply(status: int, code: str, message: str = "said", **headers: str) -> Reply:
    """Return an error as S3 tells it."""
    text = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return Reply(status, text.encode(), {name.replace("_", "-"): headers[name] for name in headers})


def listing_reply(*keys: str, tail: str = "<IsTruncated>false</IsTruncated>") -> Reply:
    """Return a page of a listing; every object has one byte."""
    entries = "".join(f"<Contents><Key>{key}</Key><Size>1</Size></Contents>" for key in keys)
    return Reply(body=f"<ListBucketResult>{entries}{tail}</ListBucketResult>".encode())
