"""A service that asks a Keystone who comes in, as a process; and clients that log in there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any

from tests.clients.conftest import BUSY, CALL_S_MAX, START_S_MAX, STOP_S_MAX, fill
from tests.servers.keystone import Keystone


@dataclass(slots=True)
class Cloud:
    """The running service, with one volume `disk.img` of project demo."""

    keystone: Keystone
    address: str
    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def images(self) -> Path:
        return self.folder / "images"

    def status(
        self, token: str, method: str, path: str, body: object = None, **headers: str
    ) -> int:
        """Return what a request in project demo is answered with; `_` in headers is `-`."""
        return self.ask(token, method, path, body, **headers)[0]

    def ask(
        self,
        token: str,
        method: str,
        path: str,
        body: object = None,
        *,
        project: str = "demo",
        **headers: str,
    ) -> tuple[int, Mapping[str, str], Any]:
        """Return status, headers and document; `_` in the names of headers is `-`."""
        request = urllib.request.Request(
            f"{self.address}/v3/{self.keystone.projects[project]}/{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"X-Auth-Token": token, "Content-Type": "application/json"}
            | {name.replace("_", "-"): text for name, text in headers.items()},
            method=method,
        )
        try:
            with urllib.request.urlopen(request, timeout=CALL_S_MAX) as answer:
                content = answer.read()
                return answer.status, lower(answer.headers), json.loads(content or "null")
        except urllib.error.HTTPError as error:
            with error:
                return error.code, lower(error.headers), error.read()

    def settle(self, token: str) -> list[dict[str, Any]]:
        """Return the backups of project demo once none is being worked at."""
        end_s = time.monotonic() + CALL_S_MAX
        while True:
            rows: list[dict[str, Any]] = self.ask(token, "GET", "backups/detail")[2]["backups"]
            if not any(row["status"] in BUSY for row in rows):
                return rows
            assert time.monotonic() < end_s, rows
            time.sleep(0.05)

    def image(self, volume: str) -> Path:
        return self.images / f"volume-{volume}"


def lower(headers: Message) -> dict[str, str]:
    """Return headers by names in small letters."""
    return {name.lower(): text for name, text in headers.items()}


def run(program: str, variables: Mapping[str, str], *arguments: str) -> str:
    """Run a client with a login in its environment and return its standard output."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    found = shutil.which(program, path=path)
    assert found is not None
    kept = {name: text for name, text in os.environ.items() if not name.startswith("OS_")}
    done = subprocess.run(
        [found, *arguments],
        env={**kept, "LC_ALL": "C.UTF-8", **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=CALL_S_MAX,
    )
    assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@contextmanager
def serving(running: Keystone, port: int, folder: Path, **options: str) -> Iterator[Cloud]:
    """Run a service on a port. options: of keystonemiddleware, beside the login."""
    (folder / "images").mkdir()
    fill(folder / "images/disk.img", 1)
    given = {**running.authtoken(), **options}
    table = "\n".join(f"{name} = {json.dumps(text)}" for name, text in given.items())
    config = folder / "backupcore.toml"
    config.write_text(f"""
data_folder = "{folder}/data"
[api]
listen = "127.0.0.1:{port}"
[api.auth]
kind = "keystone"
[api.auth.keystone]
{table}
[containers.volumebackups]
url = "posix:{folder}/store"
[providers.images]
kind = "directory"
project = "{running.projects["demo"]}"
options = {{ path = "{folder}/images" }}
""")
    command = ["-m", "backupcore.cli", "serve", "--config", str(config), "--json"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    end_s = time.monotonic() + START_S_MAX
    try:
        while '{"serving"' not in (folder / "log").read_text():
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < end_s
            time.sleep(0.02)
        yield Cloud(running, f"http://127.0.0.1:{port}", folder, process)
    finally:
        process.terminate()
        try:
            process.wait(STOP_S_MAX)
        finally:
            process.kill()
