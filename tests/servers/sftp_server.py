"""A real SFTP server for tests: paramiko's, over a folder, as a process of its own.

It lets one key in and shows the folder as its root. `serving_sftp` starts it on a free port and
writes what a client needs beside the folder: its key, and the server's in a file of known hosts.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paramiko
from paramiko.common import AUTH_FAILED, AUTH_SUCCESSFUL, OPEN_SUCCEEDED
from paramiko.sftp import SFTP_OK

from tests.servers.process import Server, free_port, wait_for_port

USER = "keeper"


@dataclass(frozen=True, slots=True)
class SftpServer:
    """A running server: what it shows, what its clients need, and its process."""

    folder: Path
    port: int
    key_path: Path
    known_hosts: Path
    server: Server

    def url(self, path: str, query: str = "") -> str:
        """Return the URL of a path of the server, with the key that it lets in."""
        own = f"key_filename={self.key_path}&allow_agent=false&look_for_keys=false"
        hosts = f"known_hosts={self.known_hosts}"
        return f"fsspec+sftp://{USER}@127.0.0.1:{self.port}{path}?{own}&{hosts}{query}"


@contextmanager
def serving_sftp(place: Path) -> Iterator[SftpServer]:
    """Run a server over `place/shown`."""
    folder, port = place / "shown", free_port()
    folder.mkdir()
    own, clients = paramiko.ECDSAKey.generate(), paramiko.ECDSAKey.generate()
    own.write_private_key_file(str(place / "server_key"))
    clients.write_private_key_file(str(place / "client_key"))
    line = f"[127.0.0.1]:{port} {own.get_name()} {own.get_base64()}\n"
    (place / "known_hosts").write_text(line)
    words = [str(folder), str(port), str(place / "server_key"), clients.get_base64()]
    command = [sys.executable, "-m", "tests.servers.sftp_server", *words]
    server = Server(command, place / "sftp.log")
    try:
        wait_for_port(port, server)
        yield SftpServer(folder, port, place / "client_key", place / "known_hosts", server)
    finally:
        server.stop()


def code(error: OSError) -> int:
    """Return the protocol's number for an error of the kernel."""
    return int(paramiko.SFTPServer.convert_errno(error.errno or 0))


class OneUser(paramiko.ServerInterface):  # type: ignore[misc]
    """Lets in who has the key."""

    def __init__(self, base64: str) -> None:
        self._base64 = base64

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        is_known = username == USER and key.get_base64() == self._base64
        return int(AUTH_SUCCESSFUL if is_known else AUTH_FAILED)

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return int(OPEN_SUCCEEDED)


class OpenFile(paramiko.SFTPHandle):  # type: ignore[misc]
    """An open file, read and written at the offsets a client names."""

    def __init__(self, descriptor: int, flags: int) -> None:
        super().__init__(flags)
        self._descriptor = descriptor

    def read(self, offset: int, length: int) -> bytes | int:
        try:
            return os.pread(self._descriptor, length, offset)
        except OSError as error:
            return code(error)

    def write(self, offset: int, data: Any) -> int:
        try:
            os.pwrite(self._descriptor, data, offset)
        except OSError as error:
            return code(error)
        return int(SFTP_OK)

    def stat(self) -> paramiko.SFTPAttributes:
        return paramiko.SFTPAttributes.from_stat(os.fstat(self._descriptor))

    def close(self) -> None:
        os.close(self._descriptor)


class Folder(paramiko.SFTPServerInterface):  # type: ignore[misc]
    """Files of a folder."""

    def __init__(self, server: paramiko.ServerInterface, folder: str) -> None:
        super().__init__(server)
        self._folder = folder

    def _real(self, path: str) -> str:
        return f"{self._folder}{self.canonicalize(path)}"

    def _do(self, call: Callable[..., None], *paths: str) -> int:
        try:
            call(*(self._real(path) for path in paths))
        except OSError as error:
            return code(error)
        return int(SFTP_OK)

    def open(self, path: str, flags: int, attr: paramiko.SFTPAttributes) -> OpenFile | int:
        try:
            return OpenFile(os.open(self._real(path), flags, 0o600), flags)
        except OSError as error:
            return code(error)

    def list_folder(self, path: str) -> list[paramiko.SFTPAttributes] | int:
        found = []
        try:
            with os.scandir(self._real(path)) as entries:
                for entry in entries:
                    status = entry.stat(follow_symlinks=False)
                    found.append(paramiko.SFTPAttributes.from_stat(status, entry.name))
        except OSError as error:
            return code(error)
        return found

    def stat(self, path: str) -> paramiko.SFTPAttributes | int:
        try:
            return paramiko.SFTPAttributes.from_stat(os.stat(self._real(path)))
        except OSError as error:
            return code(error)

    lstat = stat

    def remove(self, path: str) -> int:
        return self._do(os.remove, path)

    def posix_rename(self, oldpath: str, newpath: str) -> int:
        return self._do(os.rename, oldpath, newpath)

    def mkdir(self, path: str, attr: paramiko.SFTPAttributes) -> int:
        return self._do(os.mkdir, path)

    def rmdir(self, path: str) -> int:
        return self._do(os.rmdir, path)


def serve(folder: str, port: int, key_path: str, client_base64: str) -> None:
    """Let clients in until the process is ended."""
    key = paramiko.ECDSAKey.from_private_key_file(key_path)
    with socket.create_server(("127.0.0.1", port), backlog=64) as listener:
        while True:
            link, _ = listener.accept()
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            transport = paramiko.Transport(link)
            transport.add_server_key(key)
            transport.set_subsystem_handler("sftp", paramiko.SFTPServer, Folder, folder)
            threading.Thread(
                target=transport.start_server, kwargs={"server": OneUser(client_base64)}
            ).start()


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4])
