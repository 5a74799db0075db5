from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.drivers.swift.place import Place
from tests.servers.fault_proxy import FaultProxy
from tests.servers.swift_server import SwiftServer, storage_folder, swift_server

PAGE_COUNT = 100


@pytest.fixture(autouse=True)
def _settings_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the user's own logins away."""
    for name in list(os.environ):
        if name.startswith(("OS_", "ST_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(tmp_path / "clouds.yaml"))
    monkeypatch.setenv("OS_CLIENT_SECURE_FILE", str(tmp_path / "secure.yaml"))


@pytest.fixture(scope="package")
def swift() -> Iterator[SwiftServer]:
    with storage_folder() as folder, swift_server(folder, page_count=PAGE_COUNT) as server:
        yield server


@pytest.fixture
def place(swift: SwiftServer, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A container of its own, with the key in the environment."""
    place = Place(swift)
    place.log_in(monkeypatch)
    place.ask("put_container")
    return place


@pytest.fixture
def proxy(
    swift: SwiftServer, place: Place, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FaultProxy]:
    """A proxy that spoils requests, on the way to the place."""
    with FaultProxy(swift.ports["proxy"]) as proxy:
        monkeypatch.setenv("ST_AUTH", f"{proxy.url}/auth/v1.0")
        yield proxy
