"""A container of a real Swift, seen from both sides: by the driver and by the SDK."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

import pytest
from swiftclient import client

from backupcore.driver import Driver
from backupcore.driver.registry import open_driver
from tests.servers.swift_server import SwiftServer


class Place:
    def __init__(self, server: SwiftServer) -> None:
        self.server = server
        self.container = f"backups-{secrets.token_hex(4)}"
        self.url = f"swift://{self.container}/nightly/b+c"

    def log_in(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ST_AUTH", self.server.auth_url)
        monkeypatch.setenv("ST_USER", self.server.user)
        monkeypatch.setenv("ST_KEY", self.server.key)

    def open(self, **options: Any) -> Driver:
        return open_driver(self.url, **options)

    def ask(self, function: str, *names: str, **given: Any) -> Any:
        """Call a function of the SDK's on the container or an object in it."""
        url, token = self.token()
        http_connection = client.http_connection(url)
        ask: Callable[..., Any] = getattr(client, function)
        try:
            return ask(url, token, self.container, *names, http_conn=http_connection, **given)
        finally:
            http_connection[1].close()

    def token(self, user: str = "", key: str = "") -> tuple[str, str]:
        """Return storage URL and token of a user, the administrator unless named."""
        server = self.server
        url, token = client.get_auth(server.auth_url, user or server.user, key or server.key)
        return str(url), str(token)
