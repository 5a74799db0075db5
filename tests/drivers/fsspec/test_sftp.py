"""What only a real server shows: keys of hosts and users, and connections that break."""

from __future__ import annotations

from pathlib import Path

import paramiko
import pytest

from backupcore.driver.registry import open_driver
from backupcore.errors import AccessDenied, ObjectMissing, StoreError, Unavailable
from tests.servers.process import wait_for_port
from tests.servers.sftp_server import SftpServer


def test_a_server_that_went_away_is_unavailable_and_works_again_when_it_is_back(
    sftp: SftpServer,
) -> None:
    with open_driver(sftp.url("/restarted")) as driver:
        driver.put("config", [b"x"])
        sftp.server.kill()
        with pytest.raises(Unavailable, match="restarted/config"):
            driver.get("config")
        with pytest.raises(Unavailable):
            driver.stat("config")
        sftp.server.restart()
        wait_for_port(sftp.port, sftp.server)
        assert driver.get("config") == b"x"


def test_a_server_nobody_vouches_for_is_refused(sftp: SftpServer, tmp_path: Path) -> None:
    empty = tmp_path / "known_hosts"
    empty.touch()
    url = sftp.url("/x").replace(str(sftp.known_hosts), str(empty))
    with open_driver(url) as driver, pytest.raises(AccessDenied, match="ssh-keyscan"):
        driver.put("config", [b"x"])
    assert not (sftp.folder / "x").exists()


def test_a_server_is_taken_as_it_is_when_that_is_asked_for(sftp: SftpServer) -> None:
    url = sftp.url("/any").replace(str(sftp.known_hosts), "any")
    with open_driver(url) as driver:
        driver.put("config", [b"x"])
    assert (sftp.folder / "any/config").read_bytes() == b"x"


def test_a_user_the_server_does_not_know_is_denied_and_not_named(
    sftp: SftpServer, tmp_path: Path
) -> None:
    key_path = tmp_path / "key"
    paramiko.ECDSAKey.generate().write_private_key_file(str(key_path))
    url = sftp.url("/x").replace(str(sftp.key_path), str(key_path)).replace("keeper@", "thief@")
    with (
        open_driver(url) as driver,
        pytest.raises(AccessDenied, match="check the credentials") as caught,
    ):
        driver.get("config")
    assert "thief" not in str(caught.value)


def test_objects_are_files_and_drafts_are_gone(sftp: SftpServer) -> None:
    with open_driver(sftp.url("/layout")) as driver:
        driver.put("data/session/1", [b"ab", b"cd"])
    files = [path for path in (sftp.folder / "layout").rglob("*") if path.is_file()]
    assert files == [sftp.folder / "layout/data/session/1"]
    assert files[0].read_bytes() == b"abcd"


def test_where_even_the_parent_is_missing_no_object_is_called_missing(sftp: SftpServer) -> None:
    with open_driver(sftp.url("/no/such/store")) as driver:
        with pytest.raises(StoreError, match="neither it nor what is above it") as caught:
            driver.get("config")
        assert not isinstance(caught.value, ObjectMissing)
        with pytest.raises(StoreError, match="parent directory is missing"):
            driver.put("config", [b"x"])
    with open_driver(sftp.url("/no/such/store", "&create_container=yes")) as driver:
        driver.put("config", [b"x"])
        assert driver.get("config") == b"x"


def test_a_put_that_the_server_refuses_is_an_error_that_says_where_to_look(
    sftp: SftpServer,
) -> None:
    (sftp.folder / "blocked").mkdir()
    (sftp.folder / "blocked/config").mkdir()
    with open_driver(sftp.url("/blocked")) as driver, pytest.raises(StoreError, match="its log"):
        driver.put("config", [b"x"])
    assert list((sftp.folder / "blocked/.temporary").iterdir()) == []


def test_a_key_file_that_is_not_there_is_no_missing_object(sftp: SftpServer) -> None:
    url = sftp.url("/x").replace(str(sftp.key_path), str(sftp.folder / "none"))
    with open_driver(url) as driver:
        with pytest.raises(StoreError, match="check options") as caught:
            driver.get("config")
        assert not isinstance(caught.value, ObjectMissing)
