"""A real NFS server beside the driver: what was put in the exported folder, libnfs reads."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import backupcore_nfs
from backupcore import backup, create_repository, open_repository, open_volume, restore
from backupcore.volume import Access
from tests.drivers.nfs.machine import EXPORT_URL, FakeMachine, opened
from tests.servers.ganesha import NfsServer, ganesha, need_ganesha

pytestmark = need_ganesha()


@pytest.fixture
def server(folder: Path, tmp_path: Path) -> Iterator[NfsServer]:
    """A server that exports the folder."""
    with ganesha(tmp_path / "server", folder) as server:
        yield server


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "disk.img"
    path.write_bytes(os.urandom(3 << 20) + bytes(1 << 20) + b"text " * 100_000)
    return path


def stored(folder: Path) -> list[str]:
    """Return the names of all objects, as the folder has them."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return sorted(str(path.relative_to(folder)) for path in files)


def check_served(server: NfsServer) -> None:
    """Compare every object with what a client of another make reads over the wire."""
    names = stored(server.folder)
    assert any(name.startswith("data/") for name in names)
    for name in names:
        assert server.read(name) == (server.folder / name).read_bytes(), name


def test_what_a_backup_stores_another_client_reads_over_the_wire(
    server: NfsServer,
    machine: FakeMachine,
    image: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(backupcore_nfs, "Machine", lambda: machine)
    url = f"{EXPORT_URL}?mount={server.folder}"
    with create_repository(url) as repository, open_volume(str(image)) as volume:
        done = backup(volume, repository)
    check_served(server)
    server.kill()
    server.restart()
    check_served(server)
    with open_repository(url) as repository:
        target = str(tmp_path / "restored.img")
        with open_volume(target, access=Access.CREATE, size_bytes=done.size_bytes) as volume:
            restore(repository, done.id, volume)
    assert (tmp_path / "restored.img").read_bytes() == image.read_bytes()


def test_a_client_sees_an_object_when_its_put_returns_and_not_before(
    server: NfsServer, machine: FakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[set[str]] = []
    real = os.link

    def link(*given: Any, **named: Any) -> None:
        seen.append(server.names("") | server.names("data"))
        real(*given, **named)

    with opened(f"{EXPORT_URL}?mount={server.folder}", machine) as driver:
        driver.put("data/old", [b"old"])
        monkeypatch.setattr(os, "link", link)
        driver.put("data/new", [b"new" * 1000], if_absent=True)
        assert server.read("data/new") == b"new" * 1000
        driver.delete(["data/old"])
    assert [names & {"old", "new"} for names in seen] == [{"old"}]
    assert server.names("data") == {"new"}
