"""A volume comes back byte for byte through the bridge."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from backupcore import Access, backup, create_repository, open_repository, open_volume, restore
from backupcore.driver.registry import open_driver
from backupcore.errors import ObjectMissing, ReadOnly, RepositoryMissing, StoreError, Unavailable
from backupcore.volume.memory import MemoryVolume
from tests.servers.sftp_server import SftpServer

CONTENT = hashlib.shake_128(b"volume").digest(3_000_001) + bytes(500_000)


class Quiet(SimpleHTTPRequestHandler):
    """Serves files, without a word."""

    def log_message(self, format: str, *words: object) -> None:  # noqa: A002 - as it is called
        """Say nothing."""


@pytest.fixture
def web(tmp_path: Path) -> Iterator[ThreadingHTTPServer]:
    """A web server that lists directories and knows no ranges, over `tmp_path/shown`."""
    pytest.importorskip("aiohttp", reason="no aiohttp: pip install aiohttp")
    answer = partial(Quiet, directory=str(tmp_path / "shown"))
    with ThreadingHTTPServer(("127.0.0.1", 0), answer) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def store(url: str) -> str:
    with create_repository(url) as repository:
        return backup(MemoryVolume(CONTENT), repository).id


def restored(url: str, backup_id: str, target: Path) -> bytes:
    with (
        open_repository(url, read_only=True) as repository,
        open_volume(str(target), access=Access.CREATE, size_bytes=len(CONTENT)) as volume,
    ):
        restore(repository, backup_id, volume)
    return target.read_bytes()


@pytest.mark.parametrize("protocol", ["memory", "file", "sftp"])
def test_what_was_backed_up_is_restored(protocol: str, sftp: SftpServer, tmp_path: Path) -> None:
    urls = {
        "memory": f"fsspec+memory://{secrets.token_hex(4)}",
        "file": f"fsspec+file://{tmp_path}/store",
        "sftp": sftp.url("/repository"),
    }
    backup_id = store(urls[protocol])
    assert restored(urls[protocol], backup_id, tmp_path / "target.img") == CONTENT


def test_a_repository_on_a_web_server_is_restored_from(
    web: ThreadingHTTPServer, tmp_path: Path
) -> None:
    (tmp_path / "shown").mkdir()
    backup_id = store(f"fsspec+file://{tmp_path}/shown/store")
    url = f"fsspec+http://127.0.0.1:{web.server_port}/store"
    assert restored(url, backup_id, tmp_path / "target.img") == CONTENT


def test_a_web_server_is_only_read_from(web: ThreadingHTTPServer, tmp_path: Path) -> None:
    (tmp_path / "shown").mkdir()
    (tmp_path / "shown/config").write_bytes(b"0123456789")
    with open_driver(f"fsspec+http://127.0.0.1:{web.server_port}") as driver:
        assert [(info.key, info.size_bytes) for info in driver.list()] == [("config", 10)]
        assert driver.get("config", 3, 4) == b"3456"
        with pytest.raises(ObjectMissing):
            driver.get("other")
        with pytest.raises(ReadOnly, match="only read from"):
            driver.put("config", [b"x"])
    with open_driver(f"fsspec+http://127.0.0.1:{web.server_port}/no") as driver:
        with pytest.raises(StoreError, match="neither it nor") as caught:
            driver.get("config")
        assert not isinstance(caught.value, ObjectMissing)


def test_a_web_server_that_is_gone_is_unavailable_whatever_is_asked(
    web: ThreadingHTTPServer,
) -> None:
    web.shutdown()
    web.server_close()
    with open_driver(f"fsspec+http://127.0.0.1:{web.server_port}") as driver:
        for call in (driver.get, driver.stat, lambda key: list(driver.list(key))):
            with pytest.raises(Unavailable):
                call("config")


def test_a_repository_that_is_not_there_is_missing(tmp_path: Path) -> None:
    with pytest.raises(RepositoryMissing):
        open_repository(f"fsspec+file://{tmp_path}/store")
