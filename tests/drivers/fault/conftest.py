from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.drivers.fault.stage import URLS, Stage
from tests.servers.fault_proxy import FaultProxy
from tests.servers.swift_server import SwiftServer, storage_folder, swift_server

SDKS = {"swift": "swiftclient", "s3": "boto3"}
FILES_OF_USERS = (
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "OS_CLIENT_CONFIG_FILE",
    "OS_CLIENT_SECURE_FILE",
)
PAGE_COUNT = 1_001  # the least that S3 can do with


@pytest.fixture(scope="package")
def server() -> Iterator[SwiftServer]:
    with (
        storage_folder() as folder,
        swift_server(folder / "swift", page_count=PAGE_COUNT) as server,
    ):
        yield server


@pytest.fixture(scope="package")
def proxy(server: SwiftServer) -> Iterator[FaultProxy]:
    with FaultProxy(server.ports["proxy"]) as proxy:
        yield proxy


@pytest.fixture(scope="package")
def _credentials(
    server: SwiftServer, proxy: FaultProxy, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """Log in at the proxy; the user's own logins are kept away."""
    empty = tmp_path_factory.mktemp("none")
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("AWS_", "OS_", "ST_")) or name.lower().endswith("_proxy"):
                patch.delenv(name)
        for name in FILES_OF_USERS:
            patch.setenv(name, str(empty / name))
        patch.setenv("ST_AUTH", f"{proxy.url}/auth/v1.0")
        patch.setenv("ST_USER", server.user)
        patch.setenv("ST_KEY", server.key)
        patch.setenv("AWS_ACCESS_KEY_ID", server.access_key)
        patch.setenv("AWS_SECRET_ACCESS_KEY", server.secret_key)
        yield


@pytest.fixture(scope="package")
def stages() -> Iterator[dict[str, Stage]]:
    """Hold what was set up, by scheme."""
    held: dict[str, Stage] = {}
    yield held
    for stage in held.values():
        stage.close()


@pytest.fixture(params=list(URLS))
def stage(
    request: pytest.FixtureRequest,
    stages: dict[str, Stage],
    server: SwiftServer,
    proxy: FaultProxy,
    _credentials: None,
) -> Iterator[Stage]:
    scheme: str = request.param
    pytest.importorskip(SDKS[scheme], reason=f"no SDK: pip install backupcore[{scheme}]")
    if scheme not in stages:
        stages[scheme] = Stage(scheme, server, proxy)
    yield stages[scheme]
    proxy.rules = []
