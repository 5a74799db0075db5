"""Sending and reading one object: whole, checked, and never slower than a trickle."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from swiftclient import client

from backupcore.driver import Buffer
from backupcore.driver.http import check_content_range, range_header
from backupcore.driver.transfer import PIECE_BYTES_MAX, Body, Watchdog, content_md5
from backupcore.errors import Unavailable
from backupcore.runtime import Clock
from backupcore_swift.connection import Connection

__all__ = ["Reading", "Sending"]

_MD5 = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Sending:
    """An object on its way to the store.

    what: its name in messages. digest: of its bytes.
    """

    what: str
    parts: Sequence[Buffer]
    digest: str
    headers: Mapping[str, str]
    clock: Clock

    def run(
        self, url: str, token: str, *, container: str, name: str, http_conn: Connection
    ) -> None:
        """Send it once, from the start. Raises: Unavailable when something else was stored."""
        answer: dict[str, object] = {}
        with Body(self.parts, moved=Watchdog(self.what, clock=self.clock).moved) as body:
            etag = client.put_object(
                *(url, token, container, name),
                contents=body if len(body) else b"",
                content_length=len(body),
                content_type="application/octet-stream",
                etag=self.digest,
                headers=self.headers,
                http_conn=http_conn,
                response_dict=answer,
            )
        # 202 is Swift's answer when it has kept a younger object of this name instead
        if answer["status"] != 201:
            raise Unavailable(
                f"{self.what}: {answer['status']} {answer['reason']}: not stored, for the store "
                "has a younger one: try again later, and check the clocks of Swift's proxies"
            )
        if etag != self.digest:
            raise Unavailable(
                f"{self.what}: stored with ETag {etag or 'unknown'}, sent {self.digest}: "
                "send it again"
            )


@dataclass(frozen=True, slots=True)
class Reading:
    """A range of an object on its way here.

    room: returns memory for as many bytes as there are, or longer.
    """

    what: str
    offset: int
    length: int | None
    room: Callable[[int], memoryview]
    clock: Clock

    def run(self, url: str, token: str, *, container: str, name: str, http_conn: Connection) -> int:
        """Read it once; return how many bytes there were. Raises: Unavailable."""
        asked = {} if self._is_whole() else {"range": range_header(self.offset, self.length)}
        answer: Any = client.get_object(
            *(url, token, container, name),
            headers=asked,
            http_conn=http_conn,
            resp_chunk_size=PIECE_BYTES_MAX,
        )
        headers, body = answer
        try:
            size_bytes, is_whole = self._served(headers)
            view = self.room(size_bytes)[:size_bytes]
            self._fill(view, body.resp.raw)
        finally:
            body.close()
        if is_whole and not _is_intact(view, headers):
            raise Unavailable(f"{self.what}: other bytes came than its ETag says: read it again")
        return size_bytes

    def _is_whole(self) -> bool:
        return not self.offset and self.length is None

    def _served(self, headers: Mapping[str, str]) -> tuple[int, bool]:
        """Return how many bytes come and whether they are the whole object."""
        told = headers.get("content-length", "")
        given = headers.get("content-range")
        if self._is_whole() and given is None:
            size_bytes, is_whole = int(told) if told.isdecimal() else -1, True
        else:
            size_bytes, is_whole = check_content_range(given, self.offset, self.length, self.what)
        if told != str(size_bytes):
            raise Unavailable(f"{self.what}: comes with length {told or 'unknown'}: read it again")
        return size_bytes, is_whole

    def _fill(self, view: memoryview, raw: Any) -> None:
        # urllib3 before 2.2 can only wait for all of a piece
        read: Callable[[int], bytes] = getattr(raw, "read1", None) or raw.read
        Watchdog(self.what, clock=self.clock).fill(view, read)


def _is_intact(view: memoryview, headers: Mapping[str, str]) -> bool:
    """Return whether a whole object is what its ETag says; without one it is not Swift's."""
    etag = headers.get("etag", "").strip('"')
    # the ETag of an object in segments is made of theirs
    if "x-static-large-object" in headers or "x-object-manifest" in headers:
        return True
    return etag == content_md5([view]).hex() if _MD5.fullmatch(etag) else bool(etag)
