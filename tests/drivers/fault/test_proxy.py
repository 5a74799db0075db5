"""The fault proxy: what no rule hits goes through unchanged, what one hits is spoiled just so."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.servers.fault_proxy import Fault, FaultProxy, Rule, Way

BODY = bytes(range(256)) * 2_000
REJECTED = "/rejected"


class Shelf(BaseHTTPRequestHandler):
    """Keeps what is put and gives it back, ranges too."""

    protocol_version = "HTTP/1.1"
    held: dict[str, bytes]

    def do_PUT(self) -> None:
        self.held[self.path] = self._body()
        self._answer(201, b"", {})

    def do_GET(self) -> None:
        data = self.held.get(self.path, BODY)
        asked = self.headers.get("Range")
        if not asked:
            self._answer(200, data, {})
            return
        first, last = map(int, asked.removeprefix("bytes=").split("-"))
        where = {"Content-Range": f"bytes {first}-{last}/{len(data)}"}
        self._answer(206, data[first : last + 1], where)

    def handle_expect_100(self) -> bool:
        if self.path == REJECTED:
            self.close_connection = True
            self._answer(413, b"", {"Connection": "close"})
            return False
        return super().handle_expect_100()

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers["Content-Length"]))
        data = b""
        while size := int(self.rfile.readline(), 16):
            data += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return data

    def _answer(self, status: int, data: bytes, fields: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**fields, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


@pytest.fixture
def held() -> dict[str, bytes]:
    return {}


@pytest.fixture
def proxy(held: dict[str, bytes]) -> Iterator[FaultProxy]:
    class Quiet(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            pass

    server = Quiet(("127.0.0.1", 0), type("Own", (Shelf,), {"held": held}))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    with FaultProxy(server.server_port) as proxy:
        yield proxy
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def client(proxy: FaultProxy) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=5)
    yield connection
    connection.close()


def get(
    client: http.client.HTTPConnection, path: str = "/a", **fields: str
) -> tuple[int, dict[str, str], bytes]:
    client.request("GET", path, headers=fields)
    answer = client.getresponse()
    return answer.status, dict(answer.headers.items()), answer.read()


def put(client: http.client.HTTPConnection, path: str = "/a", **fields: str) -> int:
    client.request("PUT", path, BODY, fields)
    answer = client.getresponse()
    answer.read()
    return answer.status


def test_requests_of_one_connection_pass_unchanged(
    proxy: FaultProxy, client: http.client.HTTPConnection, held: dict[str, bytes]
) -> None:
    assert [put(client), get(client)[2] == BODY, put(client, "/b")] == [201, True, 201]
    assert held == {"/a": BODY, "/b": BODY}
    assert proxy.connection_count == 1


def test_what_passed_is_counted(proxy: FaultProxy, client: http.client.HTTPConnection) -> None:
    put(client)
    get(client)
    seen = [(each.method, each.status, each.up_bytes, each.down_bytes) for each in proxy.exchanges]
    assert seen == [("PUT", 201, len(BODY), 0), ("GET", 200, 0, len(BODY))]
    assert proxy.count("PUT") == 1


def test_a_chunked_body_passes(
    proxy: FaultProxy, client: http.client.HTTPConnection, held: dict[str, bytes]
) -> None:
    parts = iter([BODY[:100_000], BODY[100_000:]])
    client.request("PUT", "/a", parts, encode_chunked=True)
    assert client.getresponse().read() == b""
    assert (held["/a"] == BODY, proxy.exchanges[0].up_bytes) == (True, len(BODY))


def test_a_body_sent_after_a_go_ahead_passes(proxy: FaultProxy, held: dict[str, bytes]) -> None:
    head = f"PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: {len(BODY)}\r\nExpect: 100-continue\r\n"
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as link:
        link.sendall(head.encode() + b"\r\n")
        assert link.recv(100).startswith(b"HTTP/1.1 100 ")
        link.sendall(BODY)
        assert link.recv(100).startswith(b"HTTP/1.1 201 ")
    assert held["/a"] == BODY


@pytest.mark.parametrize("rule", [None, Rule(Fault.ANSWER, status=413)])
def test_a_refusal_comes_before_the_body_where_one_waits_for_it(
    proxy: FaultProxy, rule: Rule | None
) -> None:
    proxy.rules = [rule] if rule else []
    head = f"PUT {REJECTED} HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\nExpect: 100-continue\r\n"
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as link:
        link.sendall(head.encode() + b"\r\n")
        data = b""
        while part := link.recv(1000):
            data += part
    assert data.startswith(b"HTTP/1.1 413 ")


def test_a_rule_chooses_by_method_path_and_number(
    proxy: FaultProxy, client: http.client.HTTPConnection
) -> None:
    proxy.rules = [
        Rule(Fault.ANSWER, "PUT", "/b*", status=429, headers="Retry-After: 9", after=1, count=2)
    ]
    assert [put(client, "/%62") for _ in range(5)] == [201, 429, 429, 201, 201]
    assert (put(client), get(client, "/b")[0]) == (201, 200)
    assert proxy.count(fault=Fault.ANSWER) == 2


def test_an_answer_has_the_headers_and_the_body_of_its_rule(
    proxy: FaultProxy, client: http.client.HTTPConnection
) -> None:
    proxy.rules = [Rule(Fault.ANSWER, headers="Retry-After: 9\nServer: none", body=b"<Error/>")]
    status, fields, data = get(client)
    assert (status, fields["Retry-After"], fields["Server"], data) == (
        503,
        "9",
        "none",
        b"<Error/>",
    )


def test_before_a_reset_the_server_hears_nothing_and_after_one_it_has_done_all(
    proxy: FaultProxy, client: http.client.HTTPConnection, held: dict[str, bytes]
) -> None:
    proxy.rules = [Rule(Fault.RESET_BEFORE, path="/a"), Rule(Fault.RESET_AFTER, path="/b")]
    for path in ("/a", "/b"):
        with pytest.raises(OSError, match=r"reset|hang|Broken pipe|without response"):
            put(client, path)
        client.close()
    assert held == {"/b": BODY}


def test_a_cut_upload_reaches_the_server_in_part(
    proxy: FaultProxy, client: http.client.HTTPConnection, held: dict[str, bytes]
) -> None:
    proxy.rules = [Rule(Fault.CUT, way=Way.UP, at_bytes=1_000)]
    with suppress(OSError):
        put(client)
    client.close()
    assert len(held.get("/a", b"")) <= 1_000


def test_a_cut_answer_keeps_the_length_it_promised(
    proxy: FaultProxy, client: http.client.HTTPConnection
) -> None:
    proxy.rules = [Rule(Fault.CUT, at_bytes=300_000)]
    with pytest.raises(http.client.IncompleteRead) as caught:
        get(client)
    assert (len(caught.value.partial), caught.value.expected) == (300_000, len(BODY) - 300_000)


def test_a_shortened_answer_promises_what_it_has(
    proxy: FaultProxy, client: http.client.HTTPConnection
) -> None:
    proxy.rules = [Rule(Fault.SHORTEN, at_bytes=300_000)]
    assert get(client)[2] == BODY[:300_000]
    assert get(client)[2] == BODY


@pytest.mark.parametrize("at_bytes", [0, 300_000])
def test_one_bit_is_flipped_on_the_way_down(
    proxy: FaultProxy, client: http.client.HTTPConnection, at_bytes: int
) -> None:
    proxy.rules = [Rule(Fault.FLIP, at_bytes=at_bytes)]
    data = get(client)[2]
    assert [index for index in range(len(BODY)) if data[index] != BODY[index]] == [at_bytes]
    assert data[at_bytes] ^ BODY[at_bytes] == 1


def test_one_bit_is_flipped_on_the_way_up(
    proxy: FaultProxy, client: http.client.HTTPConnection, held: dict[str, bytes]
) -> None:
    proxy.rules = [Rule(Fault.FLIP, way=Way.UP, at_bytes=299_999)]
    assert put(client) == 201
    assert held["/a"] == BODY[:299_999] + bytes([BODY[299_999] ^ 1]) + BODY[300_000:]


@pytest.mark.parametrize("at_bytes", [0, 1_000])
def test_a_stalled_answer_lasts_until_the_client_has_enough(
    proxy: FaultProxy, client: http.client.HTTPConnection, at_bytes: int
) -> None:
    client.timeout = 0.2
    proxy.rules = [Rule(Fault.STALL, at_bytes=at_bytes)]
    with pytest.raises(TimeoutError):
        get(client)
    client.close()
    assert get(client)[2] == BODY


def test_a_trickling_answer_comes_at_its_rate(
    proxy: FaultProxy, client: http.client.HTTPConnection, held: dict[str, bytes]
) -> None:
    held["/a"] = BODY[:100]
    proxy.rules = [Rule(Fault.TRICKLE, at_bytes=90, rate_bytes_s=100)]
    assert get(client)[2] == BODY[:100]


@pytest.mark.parametrize("at_bytes", [0, 1_000])
def test_a_callback_is_called_between_two_bytes(
    proxy: FaultProxy, client: http.client.HTTPConnection, at_bytes: int
) -> None:
    called = []
    proxy.rules = [Rule(Fault.CALL, at_bytes=at_bytes, callback=lambda: called.append(1))]
    assert (get(client)[2], called) == (BODY, [1])


def test_another_range_is_served(proxy: FaultProxy, client: http.client.HTTPConnection) -> None:
    proxy.rules = [Rule(Fault.MOVE_RANGE, at_bytes=7)]
    _, fields, data = get(client, Range="bytes=100-199")
    assert fields["Content-Range"] == f"bytes 107-206/{len(BODY)}"
    assert data == BODY[107:207]


def test_another_range_is_claimed(proxy: FaultProxy, client: http.client.HTTPConnection) -> None:
    proxy.rules = [Rule(Fault.CLAIM_RANGE, at_bytes=7)]
    _, fields, data = get(client, Range="bytes=100-199")
    assert fields["Content-Range"] == f"bytes 107-206/{len(BODY)}"
    assert data == BODY[100:200]


def test_connections_are_refused_for_a_while(
    proxy: FaultProxy, client: http.client.HTTPConnection
) -> None:
    get(client)
    client.close()
    with proxy.refusing(), pytest.raises(ConnectionRefusedError):
        get(client)
    client.close()
    assert get(client)[0] == 200


ENDS: list[Callable[[FaultProxy], object]] = [FaultProxy.drop, FaultProxy.close]


@pytest.mark.parametrize("end", ENDS)
def test_everybody_is_hung_up_on(
    proxy: FaultProxy, client: http.client.HTTPConnection, end: Callable[[FaultProxy], object]
) -> None:
    get(client)
    end(proxy)
    assert client.sock is not None
    assert client.sock.recv(1) == b""


def test_a_request_waits_for_the_latency(
    proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch, client: http.client.HTTPConnection
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("tests.servers.fault.connection.time.sleep", waits.append)
    proxy.latency_s = 0.25
    get(client)
    get(client)
    assert waits == [0.25, 0.25]
