from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers.sftp_server import SftpServer, serving_sftp


@pytest.fixture(scope="module")
def sftp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SftpServer]:
    with serving_sftp(tmp_path_factory.mktemp("sftp")) as server:
        yield server
