"""Connections to the account, each for one call at a time, and the renewal of a refused token."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar
from urllib.parse import ParseResult

from requests.adapters import HTTPAdapter
from swiftclient import client
from swiftclient.exceptions import ClientException
from urllib3.poolmanager import PoolKey

from backupcore_swift.login import Login, Ticket
from backupcore_swift.translation import status_of

__all__ = ["Connection", "Line"]

CONNECT_S_MAX = 30.0  # also for each piece that is sent
READ_S_MAX = 90.0  # a proxy waits a minute for its storage servers before it answers
# sent at once, where urllib3 would take 16 KiB: a block ends in time at the rate of the watchdog
BLOCK_BYTES = 32 << 10

T = TypeVar("T")
Connection: TypeAlias = tuple[ParseResult, client.HTTPConnection]


class Line:
    """As many connections as there are calls at once, kept for the next ones."""

    def __init__(self, login: Login) -> None:
        self._login = login
        self._lock = threading.Lock()
        self._idle: list[Connection] = []
        self._is_closed = False

    def call(self, ask: Callable[..., T], **given: Any) -> T:
        """Call a function of the SDK's with storage URL, token and `http_conn`.

        A refused token is renewed and the call repeated, once, whatever it is: a request that was
        refused so has changed nothing. Raises: what the function or the login raises.
        """
        ticket = self._login.ticket()
        try:
            return self._call(ticket, ask, given)
        except ClientException as error:
            if status_of(error) != 401:
                raise
        return self._call(self._login.renew(ticket), ask, given)

    def close(self) -> None:
        """Close the connections, those in use after their call."""
        with self._lock:
            self._is_closed = True
            idle, self._idle = self._idle, []
        for _, connection in idle:
            connection.close()

    def _call(self, ticket: Ticket, ask: Callable[..., T], given: dict[str, Any]) -> T:
        connection = self._take(ticket.storage_url)
        try:
            answer = ask(ticket.storage_url, ticket.token, http_conn=connection, **given)
        except BaseException:
            connection[1].close()  # what is left in it would be read as the next answer
            raise
        self._give_back(connection)
        return answer

    def _take(self, storage_url: str) -> Connection:
        with self._lock:
            while self._idle:
                idle = self._idle.pop()
                if idle[1].url == storage_url:
                    return idle
                idle[1].close()
        connection: Connection = client.http_connection(
            storage_url, timeout=(CONNECT_S_MAX, READ_S_MAX)
        )
        for scheme in ("http://", "https://"):
            connection[1].request_session.mount(scheme, _Adapter())
        # a redirect would take the token to another host
        connection[1].requests_args |= {
            "allow_redirects": False,
            "verify": self._login.trust.verify,
            "cert": self._login.trust.certificate,
        }
        return connection

    def _give_back(self, connection: Connection) -> None:
        with self._lock:
            if not self._is_closed:
                self._idle.append(connection)
                return
        connection[1].close()


class _Adapter(HTTPAdapter):
    """Sends in larger blocks, where urllib3 can; each costs some calls of Python."""

    def init_poolmanager(self, *given: Any, **named: Any) -> None:
        if "key_blocksize" in PoolKey._fields:
            named["blocksize"] = BLOCK_BYTES
        super().init_poolmanager(*given, **named)
