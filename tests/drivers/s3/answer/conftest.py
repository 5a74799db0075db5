from __future__ import annotations

from collections.abc import Iterator

import pytest

from backupcore.driver import Driver
from backupcore.driver.registry import open_driver
from tests.drivers.s3.stage.scripted import Reply, Script, scripted_server


@pytest.fixture(scope="module")
def server() -> Iterator[Script]:
    with scripted_server() as script:
        yield script


@pytest.fixture
def script(server: Script, monkeypatch: pytest.MonkeyPatch) -> Script:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    server.answer(Reply())
    return server


@pytest.fixture
def driver(script: Script) -> Iterator[Driver]:
    with open_driver(f"s3://bucket/place?endpoint_url={script.url}") as driver:
        yield driver
