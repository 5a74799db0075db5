"""The bridge keeps the promises of a driver over memory, a local directory and a real server."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Iterator

import pytest

from backupcore.driver import Driver
from backupcore.driver.registry import open_driver
from backupcore.testing.driver import DriverConformance
from tests.servers.sftp_server import SftpServer


class OverAUrl(DriverConformance):
    list_count = 300

    @pytest.fixture
    def driver(self, url: str) -> Iterator[Driver]:
        with open_driver(url) as driver:
            yield driver

    @pytest.fixture
    def second_driver(self, url: str) -> Iterator[Driver]:
        with open_driver(url) as driver:
            yield driver


class TestMemory(OverAUrl):
    @pytest.fixture
    def url(self) -> str:
        return f"fsspec+memory://kit-{secrets.token_hex(4)}/store"


class TestLocal(OverAUrl):
    @pytest.fixture
    def url(self) -> Iterator[str]:
        place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        with tempfile.TemporaryDirectory(dir=place) as directory:
            yield f"fsspec+file://{directory}/store"


class TestSftp(OverAUrl):
    list_count = 50

    @pytest.fixture
    def url(self, sftp: SftpServer) -> str:
        return sftp.url(f"/store-{secrets.token_hex(4)}")
