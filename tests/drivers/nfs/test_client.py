"""The driver over the wire, through the kernel's NFS client."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from backupcore.driver import Driver
from backupcore.driver.registry import open_driver
from backupcore.errors import ObjectMissing, StoreError, Unavailable
from backupcore.testing.driver import DriverConformance
from tests.servers.ganesha import EXPORT, NfsServer, ganesha, need_ganesha
from tests.servers.process import free_port, need


def need_client() -> pytest.MarkDecorator:
    """Return the mark of tests that mount; it names what is missing."""
    kinds = Path("/proc/filesystems").read_text().split()
    if "nfs4" not in kinds:
        return pytest.mark.skipif(True, reason="no NFS client in this kernel: modprobe nfsv4")
    return need("mount.nfs")


pytestmark = [need_ganesha(), need_client()]


@pytest.fixture
def server(folder: Path, tmp_path: Path) -> Iterator[NfsServer]:
    """A server that exports the folder."""
    with ganesha(tmp_path / "server", folder) as server:
        yield server


class TestNfsOverTheWire(DriverConformance):
    list_count = 200

    @pytest.fixture
    def url(self, server: NfsServer) -> str:
        return f"nfs://127.0.0.1:{server.port}{EXPORT}?options=noac"

    @pytest.fixture
    def driver(self, url: str) -> Iterator[Driver]:
        with open_driver(url) as driver:
            yield driver

    @pytest.fixture
    def second_driver(self, url: str) -> Iterator[Driver]:
        with open_driver(url) as driver:
            yield driver


def test_two_caches_of_one_export_agree_on_what_is_missing(
    server: NfsServer, tmp_path: Path
) -> None:
    options = f"vers=4.2,nosharecache,port={server.port}"
    points = [tmp_path / "one", tmp_path / "two"]
    try:
        for point in points:
            point.mkdir()
            words = ["mount", "-t", "nfs", "-o", options, f"127.0.0.1:{EXPORT}", str(point)]
            subprocess.run(words, check=True)
        urls = [f"nfs://127.0.0.1{EXPORT}?mount={point}" for point in points]
        with open_driver(urls[0]) as one, open_driver(urls[1]) as two:
            one.put("data/first", [b"x"])
            for key in ("data/next", "register", "deep/er/key"):
                with pytest.raises(ObjectMissing):
                    two.get(key)
                one.put(key, [b"new"], if_absent=True)
                assert two.get(key) == b"new"
    finally:
        for point in points:
            subprocess.run(["umount", "-l", str(point)], check=False)


def test_a_mount_of_our_own_is_gone_with_its_driver(server: NfsServer) -> None:
    with open_driver(f"nfs://127.0.0.1:{server.port}{EXPORT}") as driver:
        driver.put("config", [b"x"])
        assert EXPORT in Path("/proc/self/mountinfo").read_text()
    assert server.read("config") == b"x"
    assert EXPORT not in Path("/proc/self/mountinfo").read_text()


def test_a_directory_that_the_server_does_not_have_is_told(server: NfsServer) -> None:
    with pytest.raises(StoreError, match="create the directory on the server"):
        open_driver(f"nfs://127.0.0.1:{server.port}{EXPORT}/missing")


def test_a_server_that_is_not_there_is_unavailable() -> None:
    with pytest.raises(Unavailable, match="Connection refused"):
        open_driver(f"nfs://127.0.0.1:{free_port()}{EXPORT}")


def test_a_soft_mount_gives_up_and_works_again_when_the_server_is_back(server: NfsServer) -> None:
    url = f"nfs://127.0.0.1:{server.port}{EXPORT}?options=soft,timeo=10,retrans=1"
    with open_driver(url) as driver:
        driver.put("config", [b"x"])
        server.kill()
        with pytest.raises(Unavailable):
            driver.put("data/1", [os.urandom(4 << 20)])
        server.restart()
        while True:
            try:
                driver.put("data/1", [b"again"])
            except Unavailable:
                continue
            break
        assert driver.get("data/1") == b"again"
    assert server.read("data/1") == b"again"
