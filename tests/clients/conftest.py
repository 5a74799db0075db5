"""What the tests of real clients share: a service as a process, and clients as processes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

START_S_MAX = 60.0
STOP_S_MAX = 20.0
CALL_S_MAX = 60.0
BUSY = ("creating", "restoring", "deleting")
DATA_SIZE_BYTES = 3 << 20
DISK_SIZE_BYTES = 24 << 20
USER, PROJECT = "nightly", "demo"


def client(name: str) -> pytest.MarkDecorator:
    """Return the mark of tests that need a client's program."""
    distribution = {"cinder": "python-cinderclient", "openstack": "python-openstackclient"}[name]
    is_missing = shutil.which(name, path=_path()) is None
    return pytest.mark.skipif(is_missing, reason=f"no {name}: pip install {distribution}")


@dataclass(slots=True)
class RunningService:
    """A `backupcore serve` of its own, over a folder with `images` and `store`."""

    folder: Path
    config: Path
    token: str
    process: subprocess.Popen[bytes]
    address: str

    @property
    def log(self) -> str:
        """What it has written to standard error."""
        return (self.folder / "log").read_text()

    @property
    def endpoint(self) -> str:
        """The address with version and project."""
        return f"{self.address}/v3/{PROJECT}"

    def get(self, path: str) -> Any:
        """Ask the API."""
        request = urllib.request.Request(
            f"{self.endpoint}/{path}", headers={"X-Auth-Token": self.token}
        )
        with urllib.request.urlopen(request, timeout=CALL_S_MAX) as answer:
            return json.loads(answer.read())

    def settle(self) -> list[dict[str, Any]]:
        """Return the backups once none is being worked at."""
        end = time.monotonic() + CALL_S_MAX
        while True:
            rows: list[dict[str, Any]] = self.get("backups/detail")["backups"]
            if not any(row["status"] in BUSY for row in rows):
                return rows
            assert time.monotonic() < end, rows
            time.sleep(0.05)

    def volume_id(self, name: str) -> str:
        """Return a volume's id."""
        found = self.get(f"volumes/detail?name={name}")["volumes"]
        assert len(found) == 1
        return str(found[0]["id"])

    def image(self, name: str) -> Path:
        """Return the file of a volume."""
        path = self.folder / "images" / name
        return path if path.exists() else self.folder / "images" / f"volume-{name}"

    def cinder(self, *arguments: str) -> str:
        """Run python-cinderclient, which has no way to be given a token, and return its output."""
        return run_client(
            "cinder", "--os-auth-type", "noauth", "--os-endpoint", f"{self.address}/v3",
            "--os-user-id", USER, "--os-project-id", PROJECT, *arguments,
        )  # fmt: skip

    def openstack(self, *arguments: str) -> Any:
        """Run python-openstackclient and return its document, None for none."""
        is_quiet = arguments[2] in ("delete", "set") or arguments[0] == "token"
        out = run_client(
            "openstack", "--os-auth-type", "admin_token", "--os-endpoint", self.endpoint,
            "--os-token", self.token, *arguments, *([] if is_quiet else ["-f", "json"]),
        )  # fmt: skip
        return json.loads(out) if out.strip() else None

    def stop(self) -> None:
        """End it as an operator does."""
        self.process.terminate()
        try:
            self.process.wait(STOP_S_MAX)
        finally:
            self.process.kill()


def run_client(program: str, *arguments: str) -> str:
    """Run a client to its end, which must be a good one, and return its standard output."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OS_")}
    path = shutil.which(program, path=_path())
    assert path is not None
    done = subprocess.run(
        [path, *arguments],
        env={**kept, "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=False,
        timeout=CALL_S_MAX,
    )
    assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def serve(folder: Path, *, store: Path | None = None, auth: str = "none") -> RunningService:
    """Start a service over a folder with an `images` folder; store: where its repository is."""
    (folder / "images").mkdir(exist_ok=True)
    config = folder / "backupcore.toml"
    config.write_text(f"""
data_folder = "{folder}/data"

[api]
listen = "127.0.0.1:0"
auth = {{ kind = "{auth}", file = "{folder}/tokens.toml" }}

[containers.volumebackups]
url = "posix:{store or folder / "store"}"

[providers.images]
kind = "directory"
project = "{PROJECT}"
options = {{ path = "{folder}/images" }}
""")
    token = f"{USER}:{PROJECT}"
    if auth == "tokens":
        token = backupcore(
            "token", "add", "--file", str(folder / "tokens.toml"), "--user", USER,
            "--project", PROJECT, "--role", "admin", "-q",
        ).strip()  # fmt: skip
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "backupcore.cli", "serve", "--config", str(config), "--json"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    service = RunningService(folder, config, token, process, "")
    service.address = _wait_for_address(service)
    return service


def _wait_for_address(service: RunningService) -> str:
    end = time.monotonic() + START_S_MAX
    while True:
        for line in service.log.splitlines():
            if line.startswith('{"serving"'):
                return str(json.loads(line)["serving"])
        assert service.process.poll() is None, service.log
        assert time.monotonic() < end, service.log
        time.sleep(0.02)


def backupcore(*arguments: str) -> str:
    """Run our own command line and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "backupcore.cli", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=CALL_S_MAX,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def fill(image: Path, seed: int) -> bytes:
    """Write a disk image of data and a hole and return its bytes."""
    data = bytes((seed * 7 + number * number) % 251 for number in range(4096))
    content = data * (DATA_SIZE_BYTES // 4096)
    with image.open("wb") as file:
        file.write(content)
        file.truncate(DISK_SIZE_BYTES)
    return content.ljust(DISK_SIZE_BYTES, b"\0")


def change(image: Path) -> bytes:
    """Change some of a disk image and return its bytes."""
    with image.open("r+b") as file:
        file.seek(1 << 20)
        file.write(b"changed " * 4096)
    return image.read_bytes()


def assert_holds(image: Path, content: bytes) -> None:
    """Check that an image holds a content and zeros after it, and is of whole GiB."""
    with image.open("rb") as file:
        assert file.read(len(content)) == content
        while tail := file.read(16 << 20):
            assert not tail.strip(b"\0")
        assert file.tell() % (1 << 30) == 0


def _path() -> str:
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])


@pytest.fixture
def service(tmp_path: Path) -> Iterator[RunningService]:
    """A service with one volume `disk.img`, open to anybody on this machine."""
    yield from _serving(tmp_path, "none")


@pytest.fixture
def guarded_service(tmp_path: Path) -> Iterator[RunningService]:
    """A service with one volume `disk.img` and one token."""
    yield from _serving(tmp_path, "tokens")


def _serving(folder: Path, auth: str) -> Iterator[RunningService]:
    (folder / "images").mkdir()
    fill(folder / "images" / "disk.img", 1)
    started = serve(folder, auth=auth)
    yield started
    started.stop()
