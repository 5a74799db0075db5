"""A service behind the operator's door, asked without a port, and its log as lines."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("prometheus_client", reason="no service: pip install 'backupcore[service]'")

import msgspec
from falcon.testing import StartResponseMock, create_environ

from backupcore.api.operator.log import service_logging
from backupcore.api.operator.metrics import Metrics
from backupcore.api.server import guarded
from backupcore.runtime import SystemClock
from backupcore.service import Service, Settings

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

PROJECT = "demo"
TOKEN = f"anna:{PROJECT}"
WAIT_S = 30.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    code: int
    headers: dict[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


@dataclass(slots=True)
class Stand:
    """A service with a door before it."""

    folder: Path
    service: Service
    door: WSGIApplication
    lines: list[str] = field(default_factory=list)

    def ask(self, method: str, path: str, body: Any = None, **extra: Any) -> Answer:
        """Send a request; remote: where it comes from. headers: more of them."""
        headers = {"X-Auth-Token": TOKEN, "Content-Type": "application/json"}
        environ = create_environ(
            path.partition("?")[0],
            query_string=path.partition("?")[2],
            method=method,
            headers={**headers, **extra.get("headers", {})},
            body=json.dumps(body) if body is not None else "",
            remote_addr=extra.get("remote", "127.0.0.1"),
        )
        start = StartResponseMock()
        text = b"".join(self.door(environ, start)).decode()
        assert start.status is not None
        return Answer(int(start.status.split()[0]), dict(start.headers or ()), text)

    def api(self, method: str, path: str, body: Any = None, **extra: Any) -> Answer:
        """Send a request to the API."""
        return self.ask(method, f"/v3/{PROJECT}/{path}", body, **extra)

    def volume_id(self) -> str:
        """Return the id of the one volume."""
        return str(self.api("GET", "volumes").json["volumes"][0]["id"])

    def back_up(self) -> str:
        """Make a backup to its end and return its id."""
        made = self.api("POST", "backups", {"backup": {"volume_id": self.volume_id()}})
        assert made.code == 202, made.text
        self.settle()
        return str(made.json["backup"]["id"])

    def settle(self) -> None:
        """Wait until no job is at hand."""
        end = time.monotonic() + WAIT_S
        while self.service.engine.jobs():
            assert time.monotonic() < end
            time.sleep(0.01)

    def metric(self, name: str) -> float:
        """Return a sample of /metrics, by its name and labels."""
        for line in self.ask("GET", "/metrics").text.splitlines():
            if line.rpartition(" ")[0] == name:
                return float(line.rpartition(" ")[2])
        raise KeyError(name)

    def audit(self) -> list[dict[str, Any]]:
        """Return the entries of the audit log."""
        text = (self.folder / "data/audit.log").read_text()
        return [json.loads(line) for line in text.splitlines()]


class Catching(logging.Handler):
    """Keeps lines as the command line writes them."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__()
        self._lines = lines
        self._plain = frozenset(vars(logging.makeLogRecord({})))

    def emit(self, record: logging.LogRecord) -> None:
        facts = {key: fact for key, fact in vars(record).items() if key not in self._plain}
        self._lines.append(json.dumps({"message": record.getMessage(), **facts}, default=str))


@contextmanager
def standing(folder: Path, **options: Any) -> Iterator[Stand]:
    """Open a service with the volume `disk.img`."""
    (folder / "images").mkdir()
    (folder / "images/disk.img").write_bytes(bytes(range(256)) * 8192)
    document = {
        "data_folder": str(folder / "data"),
        "containers": {"volumebackups": {"url": f"posix:{folder / 'store'}"}},
        "providers": {
            "images": {
                "kind": "directory",
                "project": PROJECT,
                "options": {"path": str(folder / "images")},
            }
        },
        **options,
    }
    document["api"] = {"auth": {"kind": "none"}, **options.get("api", {})}
    settings, metrics, lines = msgspec.convert(document, Settings), Metrics(), list[str]()
    logger, catching = logging.getLogger("backupcore"), Catching(lines)
    logger.addHandler(catching)
    try:
        with (
            service_logging(SystemClock()),
            Service(settings, observer=metrics) as service,
        ):
            service.start()
            metrics.look_at(service)
            yield Stand(folder, service, guarded(service, settings, metrics), lines)
    finally:
        logger.removeHandler(catching)


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[Stand]:
    with standing(tmp_path) as made:
        yield made
