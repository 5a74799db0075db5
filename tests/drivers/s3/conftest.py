from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import botocore.session
import pytest
from botocore.loaders import create_loader

from tests.drivers.s3.stage.place import BUCKET, Place
from tests.servers.radosgw import RadosGateway, radosgw
from tests.servers.swift_server import storage_folder, swift_server

LOADER = create_loader()


@pytest.fixture(autouse=True)
def _settings_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the user's own AWS settings away, and read the SDK's models once only."""
    monkeypatch.setattr(botocore.session, "create_loader", lambda _: LOADER)
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-credentials"))


@pytest.fixture(scope="session")
def gateway_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RadosGateway]:
    with radosgw(tmp_path_factory.mktemp("radosgw")) as server:
        yield server


@pytest.fixture(scope="session")
def gateway_place(gateway_server: RadosGateway) -> Place:
    server = gateway_server
    place = Place(server.s3_endpoint, server.access_key, server.secret_key)
    with place.client() as client:
        client.create_bucket(Bucket=BUCKET)
    return place


@pytest.fixture(scope="session")
def guest_place(gateway_server: RadosGateway) -> Place:
    server = gateway_server
    return Place(server.s3_endpoint, server.guest_access_key, server.guest_secret_key)


@pytest.fixture(scope="session")
def swift_place() -> Iterator[Place]:
    with storage_folder() as folder, swift_server(folder) as server:
        place = Place(server.s3_endpoint, server.access_key, server.secret_key)
        with place.client() as client:
            client.create_bucket(Bucket=BUCKET)
        yield place


@pytest.fixture
def gateway(gateway_place: Place, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A radosgw, with its keys in the environment."""
    gateway_place.log_in(monkeypatch)
    return gateway_place


@pytest.fixture
def swift(swift_place: Place, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A Swift that speaks S3, with its keys in the environment."""
    swift_place.log_in(monkeypatch)
    return swift_place
