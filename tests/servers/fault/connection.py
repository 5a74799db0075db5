"""One connection through a fault proxy: request by request, spoiled where a rule says so."""

from __future__ import annotations

import select
import socket
import time
from contextlib import suppress

from tests.servers.fault.message import (
    Framing,
    Head,
    Length,
    Side,
    answer_length,
    request_length,
)
from tests.servers.fault.rule import Exchange, Fault, Rule, Rulebook, Way

__all__ = ["Connection"]

HEARING_S = 0.05  # how long a stalled connection may stay deaf to the end
GONE = select.POLLRDHUP | select.POLLHUP | select.POLLERR
BETWEEN_BYTES = (Fault.CUT, Fault.STALL, Fault.CALL)


class HungUp(Exception):
    """The connection is over, as a rule or one of its ends wanted."""


class Connection:
    """A client's connection and the one to the server behind it; `run` is its thread."""

    def __init__(
        self, link: socket.socket, server: tuple[str, int], book: Rulebook, *, latency_s: float
    ) -> None:
        self._client = Side(link)
        self._server: Side | None = None
        self._server_address = server
        self._book = book
        self._latency_s = latency_s
        self._is_over = False

    def run(self) -> None:
        """Pass on requests until either end hangs up or a rule ends it."""
        try:
            while not self._is_over and self._exchange():
                pass
        except (HungUp, OSError, EOFError, ValueError):
            self._client.hang_up(is_reset=True)
        finally:
            self._client.hang_up()
            if self._server is not None:
                self._server.hang_up()

    def interrupt(self) -> None:
        """Bring the connection to its end, from any thread."""
        self._is_over = True
        for side in (self._client, self._server):
            if side is not None:
                with suppress(OSError):
                    side.link.shutdown(socket.SHUT_RDWR)

    def _exchange(self) -> bool:
        """Pass one request on and its answer back; return whether another may follow."""
        head = self._client.head()
        if head is None:
            return False
        seen, rule = self._book.begin(*head.words[:2])
        if self._latency_s:
            time.sleep(self._latency_s)
        if rule and rule.fault is Fault.RESET_BEFORE:
            seen.fault = rule.fault
            raise HungUp
        if rule and rule.fault is Fault.ANSWER:
            return self._answer(head, rule, seen)
        if rule and rule.fault is Fault.MOVE_RANGE:
            _move(head, "Range", rule, seen)
        early = self._ask(head, rule, seen)
        is_kept = self._reply(early or self._need_answer(), rule, seen)
        return is_kept and early is None and not head.is_last

    def _answer(self, head: Head, rule: Rule, seen: Exchange) -> bool:
        """Answer in the server's stead. A client that asked whether to send its body need not."""
        is_asking = bool(head.get("expect"))
        if not is_asking:
            pieces = self._client.pieces(request_length(head))
            seen.up_bytes = sum(len(piece) * is_payload for piece, is_payload in pieces)
        lines = [f"HTTP/1.1 {rule.status} Injected", f"Content-Length: {len(rule.body)}"]
        lines += rule.headers.splitlines()
        if is_asking:
            lines.append("Connection: close")
        text = "\r\n".join(lines) + "\r\n\r\n"
        seen.status, seen.fault = rule.status, rule.fault
        self._client.send(text.encode("latin-1") + rule.body * (seen.method != "HEAD"))
        return not is_asking

    def _ask(self, head: Head, rule: Rule | None, seen: Exchange) -> Head | None:
        """Send a request to the server; return its answer when it gives one before the body."""
        length = request_length(head)
        server = self._connect()
        server.send(bytes(head))
        early = self._await_body(server) if length != 0 and head.get("expect") else None
        if early is None:
            spoiling = rule if rule and rule.way is Way.UP else None
            self._relay(self._client, server, length, spoiling, seen)
        return early

    def _await_body(self, server: Side) -> Head | None:
        """Return when the client sends its body, or the answer that came first."""
        while not self._client.has_held:
            ready, _, _ = select.select([self._client.link, server.link], [], [])
            if self._client.link in ready:
                break
            head = self._need_answer()
            if head.status != 100:
                return head
            self._client.send(bytes(head))
        return None

    def _need_answer(self) -> Head:
        head = self._server.head() if self._server else None
        if head is None:
            raise HungUp
        return head

    def _reply(self, head: Head, rule: Rule | None, seen: Exchange) -> bool:
        """Pass the answer on; return whether the server keeps the connection."""
        assert self._server is not None
        rule = None if rule and rule.way is Way.UP else rule
        while head.status < 200:
            self._client.send(bytes(head))
            head = self._need_answer()
        length = answer_length(head, seen.method)
        if rule:
            self._spoil_head(head, length, rule, seen)
        seen.status = head.status
        self._client.send(bytes(head))
        self._relay(self._server, self._client, length, rule, seen)
        return not head.is_last and length is not Framing.UNTIL_CLOSE

    def _spoil_head(self, head: Head, length: Length, rule: Rule, seen: Exchange) -> None:
        assert self._server is not None
        if rule.fault is Fault.RESET_AFTER:
            for _ in self._server.pieces(length):
                pass
            seen.fault = rule.fault
            raise HungUp
        if rule.fault is Fault.CLAIM_RANGE:
            _move(head, "Content-Range", rule, seen)
        if rule.fault is Fault.SHORTEN and length != 0:
            head.set("Content-Length", str(rule.at_bytes))
        if rule.at_bytes == 0 and rule.fault in BETWEEN_BYTES:
            self._act(rule, seen)

    def _relay(
        self, source: Side, sink: Side, length: Length, rule: Rule | None, seen: Exchange
    ) -> None:
        """Pass a body on and count its bytes of payload, before whoever gets them can look."""
        passed, is_up = 0, source is self._client
        for piece, is_payload in source.pieces(length):
            start, passed = passed, passed + len(piece) * is_payload
            if is_up:
                seen.up_bytes = passed
            else:
                seen.down_bytes = passed
            if rule is not None and passed > max(start, rule.at_bytes):
                self._spoil(piece, max(0, rule.at_bytes - start), sink, rule, seen)
            else:
                sink.send(piece)

    def _spoil(self, piece: memoryview, start: int, sink: Side, rule: Rule, seen: Exchange) -> None:
        """Pass on a piece of which the bytes from `start` on are a rule's."""
        if rule.fault is Fault.SHORTEN:
            sink.send(piece[:start])
            seen.fault = rule.fault
        elif rule.fault is Fault.TRICKLE:
            sink.send(piece[:start])
            seen.fault = rule.fault
            self._trickle(piece[start:], sink, rule.rate_bytes_s)
        elif seen.fault is None and rule.fault in BETWEEN_BYTES:
            sink.send(piece[:start])
            self._act(rule, seen)
            sink.send(piece[start:])
        else:
            if rule.fault is Fault.FLIP and seen.fault is None:
                seen.fault = rule.fault
                piece[start] ^= 1
            sink.send(piece)

    def _act(self, rule: Rule, seen: Exchange) -> None:
        """Do what a rule wants done between two bytes."""
        seen.fault = rule.fault
        if rule.fault is Fault.CALL and rule.callback is not None:
            rule.callback()
        if rule.fault is Fault.STALL:
            self._wait_for_end()
        if rule.fault is Fault.CUT:
            self._client.hang_up()
            raise HungUp

    def _trickle(self, piece: memoryview, sink: Side, rate_bytes_s: float) -> None:
        step = max(1, int(rate_bytes_s * HEARING_S))
        for start in range(0, len(piece), step):
            sink.send(piece[start : start + step])
            time.sleep(step / rate_bytes_s)
            if self._is_gone(0):
                raise HungUp

    def _wait_for_end(self) -> None:
        """Keep the connection open and silent until the client has had enough of it."""
        while not self._is_gone(HEARING_S):
            pass
        raise HungUp

    def _is_gone(self, wait_s: float) -> bool:
        poll = select.poll()
        poll.register(self._client.link, GONE)
        return self._is_over or bool(poll.poll(wait_s * 1000))

    def _connect(self) -> Side:
        """Return the connection to the server; a new one when the server has left the old."""
        if self._server is not None and _is_readable(self._server.link):
            self._server.hang_up()
            self._server = None
        if self._server is None:
            self._server = Side(socket.create_connection(self._server_address), is_lenient=True)
        return self._server


def _is_readable(link: socket.socket) -> bool:
    """Return whether something came in between two requests: only an end can."""
    return bool(select.select([link], [], [], 0)[0])


def _move(head: Head, name: str, rule: Rule, seen: Exchange) -> None:
    """Move the range that a header names, such as `bytes=0-9` or `bytes 0-9/10`."""
    value = head.get(name)
    if not value:
        return
    seen.fault = rule.fault
    separator = "=" if "=" in value else " "
    unit, _, rest = value.partition(separator)
    span, slash, size = rest.partition("/")
    moved = "-".join(str(int(edge) + rule.at_bytes) if edge else "" for edge in span.split("-"))
    head.set(name, f"{unit}{separator}{moved}{slash}{size}")
