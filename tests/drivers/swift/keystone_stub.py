"""As much of Keystone v3 as a login needs; the tokens it gives are those of a real Swift.

Source: Identity API v3, "Authentication and token management".
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PASSWORD = "correct-horse-battery"
SECRET = "application-secret-canary"


@dataclass
class Keystone:
    """What it answers and what it was asked.

    token: returns storage URL and token. statuses: to answer the next logins with instead.
    """

    url: str
    token: Callable[[], tuple[str, str]]
    region: str = "north"
    life_s: float = 3600.0
    statuses: list[int] = field(default_factory=list)
    logins: list[dict[str, Any]] = field(default_factory=list)

    def log_in(self, identity: dict[str, Any]) -> tuple[int, str, object]:
        """Return status, token and body."""
        self.logins.append(identity)
        if self.statuses:
            return self.statuses.pop(0), "", {"error": {"message": "as the test wants it"}}
        by_password = identity.get("password", {}).get("user", {}).get("password")
        by_application = identity.get("application_credential", {}).get("secret")
        if by_password != PASSWORD and by_application != SECRET:
            return 401, "", {"error": {"code": 401, "message": "it requires authentication"}}
        storage_url, token = self.token()
        return 201, token, self._body(storage_url)

    def _body(self, storage_url: str) -> object:
        issued = datetime.now(UTC)
        endpoint = {"region": self.region, "region_id": self.region, "id": "e", "url": storage_url}
        until = issued + timedelta(seconds=self.life_s)
        return {
            "token": {
                "methods": ["password"],
                "issued_at": issued.strftime("%Y-%m-%dT%H:%M:%S.000000Z"),
                "expires_at": until.strftime("%Y-%m-%dT%H:%M:%S.000000Z"),
                "user": {"id": "u", "name": "u", "domain": {"id": "default", "name": "Default"}},
                "project": {"id": "p", "name": "p", "domain": {"id": "default", "name": "D"}},
                "catalog": [
                    {
                        "type": "object-store",
                        "name": "swift",
                        "id": "s",
                        "endpoints": [endpoint | {"interface": "public"}],
                    }
                ],
            }
        }


@contextmanager
def keystone(token: Callable[[], tuple[str, str]]) -> Iterator[Keystone]:
    """Run it on a port of its own."""

    class Answer(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            links = [{"rel": "self", "href": told.url}]
            version = {"id": "v3.14", "status": "stable", "links": links}
            self._send(200, {"version": version})

        def do_POST(self) -> None:
            size_bytes = int(self.headers["Content-Length"])
            identity = json.loads(self.rfile.read(size_bytes))["auth"]["identity"]
            status, token, body = told.log_in(identity)
            self._send(status, body, {"X-Subject-Token": token} if token else {})

        def _send(self, status: int, body: object, headers: dict[str, str] | None = None) -> None:
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *given: object) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        server.daemon_threads = True
        told = Keystone(f"http://127.0.0.1:{server.server_address[1]}/v3", token)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield told
        finally:
            server.shutdown()
            thread.join()
