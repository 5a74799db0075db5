"""What the tests of real clients share: a service as a process, and clients as processes."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
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


@dataclass(frozen=True, slots=True)
class Answer:
    """What the API said; the document is None for an empty body."""

    code: int
    document: Any


@dataclass(slots=True)
class RunningService:
    """A `backupcore serve` of its own, over a folder with `images` and `store`.

    environment: what it is given beside ours. address: of its life at the moment.
    """

    folder: Path
    config: Path
    token: str
    environment: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] = field(init=False)
    address: str = field(default="", init=False)
    began_at: int = field(default=0, init=False)

    @property
    def log(self) -> str:
        """What it has written to standard error, in all its lives."""
        return (self.folder / "log").read_text()

    @property
    def life_log(self) -> str:
        """What it has written since it was started last."""
        return (self.folder / "log").read_bytes()[self.began_at :].decode()

    @property
    def endpoint(self) -> str:
        """The address with version and project."""
        return f"{self.address}/v3/{PROJECT}"

    def launch(self) -> None:
        """Start the process, and do not wait until it serves."""
        command = [sys.executable, "-m", "backupcore.cli", "serve", "--config", str(self.config)]
        with (self.folder / "log").open("ab") as log:
            self.began_at = log.tell()
            self.process = subprocess.Popen(
                [*command, "--json"],
                env={**_without_logins(), **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def wait_until_open(self) -> None:
        """Return when the process that was launched serves."""
        try:
            wait_until(self._is_open, START_S_MAX)
        except BaseException:
            self.kill()
            raise

    def _is_open(self) -> bool:
        for line in self.life_log.splitlines():
            if line.startswith('{"serving"'):
                self.address = str(json.loads(line)["serving"])
                return True
        assert self.process.poll() is None, self.life_log
        return False

    def start(self) -> None:
        """Start it, also once more after `stop` or `kill`."""
        self.launch()
        self.wait_until_open()

    def send(self, method: str, path: str, body: object = None) -> HTTPConnection:
        """Send a request and return its connection, on which the answer will come."""
        host = self.address.removeprefix("http://")
        connection = HTTPConnection(host, timeout=CALL_S_MAX)
        headers = {"X-Auth-Token": self.token, "Content-Type": "application/json"}
        content = None if body is None else json.dumps(body)
        connection.request(method, f"/v3/{PROJECT}/{path}", content, headers)
        return connection

    def ask(self, method: str, path: str, body: object = None) -> Answer:
        """Ask the API and return its answer, a refusal too."""
        connection = self.send(method, path, body)
        try:
            response = connection.getresponse()
            content = response.read()
        finally:
            connection.close()
        return Answer(response.status, json.loads(content) if content else None)

    def get(self, path: str) -> Any:
        """Ask the API for what is there."""
        answer = self.ask("GET", path)
        assert answer.code == 200, answer
        return answer.document

    def post(self, path: str, body: object) -> Any:
        """Ask the API for work that it takes."""
        answer = self.ask("POST", path, body)
        assert answer.code in (200, 201, 202), answer
        return answer.document

    def create(self, **wish: object) -> str:
        """Begin a backup of `disk.img` unless told otherwise and return its id."""
        wish = {"volume_id": self.volume_id("disk.img"), **wish}
        return str(self.post("backups", {"backup": wish})["backup"]["id"])

    def restore(self, backup_id: str, **wish: object) -> str:
        """Restore, to a new volume `fresh` unless told otherwise, and return the volume's id."""
        wish = wish or {"name": "fresh"}
        answer = self.post(f"backups/{backup_id}/restore", {"restore": wish})
        self.settle()
        return str(answer["restore"]["volume_id"])

    def backup(self, backup_id: str) -> dict[str, Any]:
        """Return the detail of a backup once nothing works at it."""
        return next(row for row in self.settle() if row["id"] == backup_id)

    def volume(self, volume_id: str) -> dict[str, Any]:
        """Return the detail of a volume."""
        found: dict[str, Any] = self.get(f"volumes/{volume_id}")["volume"]
        return found

    def settle(self, wait_s: float = CALL_S_MAX) -> list[dict[str, Any]]:
        """Return the backups once none is being worked at."""
        rows: list[dict[str, Any]] = []

        def are_settled() -> bool:
            rows[:] = self.get("backups/detail")["backups"]
            return not any(row["status"] in BUSY for row in rows)

        wait_until(are_settled, wait_s)
        return rows

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
            self.kill()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Let it do nothing while the world around it changes."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it without a chance to write anything."""
        self.process.kill()
        self.process.wait(STOP_S_MAX)


def wait_until(is_so: Callable[[], bool], wait_s: float = CALL_S_MAX, step_s: float = 0.05) -> None:
    """Return when it is so, and fail when that takes too long."""
    end = time.monotonic() + wait_s
    while not is_so():
        assert time.monotonic() < end, "it took too long"
        time.sleep(step_s)


def run_client(program: str, *arguments: str) -> str:
    """Run a client to its end, which must be a good one, and return its standard output."""
    path = shutil.which(program, path=_path())
    assert path is not None
    done = subprocess.run(
        [path, *arguments],
        env={**_without_logins(), "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=False,
        timeout=CALL_S_MAX,
    )
    assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def serve(folder: Path, *, store: Path | None = None, auth: str = "none") -> RunningService:
    """Start a service over a folder with an `images` folder; store: where its repository is."""
    service = configured(folder, {"volumebackups": f"posix:{store or folder / 'store'}"}, auth=auth)
    service.start()
    return service


def configured(
    folder: Path,
    containers: Mapping[str, str],
    *,
    auth: str = "none",
    catalog_url: str = "",
    more: str = "",
    environment: Mapping[str, str] | None = None,
) -> RunningService:
    """Return a service that is not started. containers: URL by name. more: sections of settings."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    named = "".join(f'[containers.{name}]\nurl = "{url}"\n' for name, url in containers.items())
    catalog = f'[catalog]\nurl = "{catalog_url}"\n' if catalog_url else ""
    config = folder / "backupcore.toml"
    config.write_text(f"""
data_folder = "{folder}/data"

[api]
listen = "127.0.0.1:0"
auth = {{ kind = "{auth}", file = "{folder}/tokens.toml" }}

[providers.images]
kind = "directory"
project = "{PROJECT}"
options = {{ path = "{folder}/images" }}

{catalog}{named}{more}""")
    token = f"{USER}:{PROJECT}"
    if auth == "tokens":
        token = backupcore(
            "token", "add", "--file", str(folder / "tokens.toml"), "--user", USER,
            "--project", PROJECT, "--role", "admin", "-q",
        ).strip()  # fmt: skip
    return RunningService(folder, config, token, environment or {})


def trust(service: RunningService, exporter: RunningService) -> None:
    """Let a service that is not started believe the records of another."""
    key = str(exporter.folder / "data/record-key.pem")
    folder = service.folder / "data/trusted"
    folder.mkdir(parents=True, mode=0o700)
    (folder / "exporter.pem").write_text(backupcore("record", "key", "--key", key, "-q"))


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
        assert file.seek(0, os.SEEK_END) % (1 << 30) == 0
        at = _next_data(file.fileno(), len(content))
        while at is not None:
            file.seek(at)
            tail = file.read(16 << 20)
            assert not tail.strip(b"\0")
            at = _next_data(file.fileno(), at + len(tail))


def _next_data(descriptor: int, at: int) -> int | None:
    """Return where data begins after a place, for holes need not be read; None at the end."""
    try:
        return os.lseek(descriptor, at, os.SEEK_DATA)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return None
        raise


def _without_logins() -> dict[str, str]:
    """Return the environment without the user's own clouds."""
    own = ("OS_", "ST_", "AWS_")
    return {name: value for name, value in os.environ.items() if not name.startswith(own)}


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
