"""A real PostgreSQL in a temporary folder, on a unix socket, for tests that need one.

What it holds is lost at the end, so nothing is brought to the disk. It refuses to run as root: then
it runs as `postgres`, whose folder it gets.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psycopg
import pytest

from tests.servers.process import START_S_MAX, Server, wait_for_unix

USER = "postgres"
SETTINGS = {
    "listen_addresses": "",
    "max_connections": "100",
    "shared_buffers": "32MB",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "deadlock_timeout": "100ms",
}


@cache
def programs() -> Path | None:
    """Return the folder of PostgreSQL's own programs, which Debian keeps off the PATH."""
    on_path = shutil.which("initdb")
    found = [Path(on_path).resolve().parent] if on_path else []
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version, reverse=True)
    return next((folder for folder in found if (folder / "postgres").exists()), None)


def _version(folder: Path) -> int:
    name = folder.parent.name
    return int(name) if name.isdigit() else 0


def need_postgres() -> pytest.MarkDecorator:
    """Return the mark of tests that need a PostgreSQL."""
    is_missing = programs() is None or (os.getuid() == 0 and shutil.which("setpriv") is None)
    return pytest.mark.skipif(is_missing, reason="no postgres: apt-get install postgresql")


@dataclass(frozen=True, slots=True)
class Postgres:
    """A running server; its databases are made from templates by name."""

    folder: Path
    server: Server

    def url(self, database: str) -> str:
        """Return the URL of one database."""
        return f"postgresql://{USER}@/{database}?host={self.folder}"

    def create(self, database: str, template: str = "template0") -> str:
        """Make a database that is a copy of another, to which nobody is connected; its URL."""
        self.run(f'CREATE DATABASE "{database}" TEMPLATE "{template}"')
        return self.url(database)

    def drop(self, database: str) -> None:
        """Remove a database, and whoever is connected to it."""
        self.run(f'DROP DATABASE IF EXISTS "{database}" WITH (FORCE)')

    def run(self, command: str) -> None:
        """Run one command of the administrator."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(command.encode())


@contextmanager
def postgres() -> Iterator[Postgres]:
    """Run a server in a folder of its own, which is removed at the end."""
    place = programs()
    assert place is not None
    # the path of a unix socket has room for some hundred characters only
    folder = Path(tempfile.mkdtemp(prefix="pg"))
    log = folder / "log"
    log.touch()
    as_user = _as_user(folder)
    try:
        _initialise([*as_user, str(place / "initdb")], folder / "data")
        options = {**SETTINGS, "unix_socket_directories": str(folder)}
        words = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        command = [*as_user, str(place / "postgres"), "-D", str(folder / "data"), *words]
        server = Server(command, log)
        try:
            wait_for_unix(folder / ".s.PGSQL.5432", server)
            running = Postgres(folder, server)
            _wait_until_ready(running)
            yield running
        finally:
            # at a plain SIGTERM it would wait until every client has gone
            if not server.has_failed():
                server.process.send_signal(signal.SIGINT)
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _as_user(folder: Path) -> Sequence[str]:
    """Return the words before a command that make root another user, who gets the folder."""
    if os.getuid() != 0:
        return ()
    user = pwd.getpwnam(USER)
    os.chown(folder, user.pw_uid, user.pw_gid)
    return ("setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups")


def _initialise(command: Sequence[str], data: Path) -> None:
    words = ["-D", str(data), "-A", "trust", "-U", USER, "-E", "UTF8", "--no-locale", "-N"]
    done = subprocess.run(
        [*command, *words],
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    if done.returncode:
        pytest.fail(f"initdb: {done.stdout}{done.stderr}")


def _wait_until_ready(running: Postgres) -> None:
    """Return when it answers: it listens before it has looked through its files."""
    deadline_s = time.monotonic() + START_S_MAX
    while True:
        try:
            return running.run("SELECT 1")
        except psycopg.OperationalError:
            if running.server.has_failed() or time.monotonic() > deadline_s:
                pytest.fail(f"postgres did not start: {running.server.log.read_text()}")
            time.sleep(0.02)
