"""A whole service on a temporary folder, and callers of several projects and roles."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import falcon
import pytest

pytest.importorskip("jsonschema", reason="no jsonschema: pip install 'backupcore[service]'")

import msgspec
from falcon.testing import Result, TestClient

from backupcore.api import create_app
from backupcore.api.access import Access, Identity, unauthorized
from backupcore.api.access.identity import implied
from backupcore.catalog import Rows
from backupcore.catalog.row import BackupRow, SnapshotRow, VolumeRow
from backupcore.catalog.status import BackupStatus, SnapshotStatus, VolumeStatus
from backupcore.job import Engine, JobOrder, JobView
from backupcore.service import Service, Settings

GIB = 1 << 30
A, B = "a" * 32, "b" * 32
Json: TypeAlias = dict[str, Any]

# Who a token is of; `unknown` is nobody's.
PEOPLE = {
    "admin": Identity("adam", A, implied(["admin"])),
    "member": Identity("mia", A, implied(["member"])),
    "reader": Identity("rea", A, implied(["reader"])),
    "stranger": Identity("bob", B, implied(["member"])),
    "nobody": Identity("nils", A, frozenset()),
}


class Badges(Access):
    """Tells people by the name they wear."""

    def identify(self, request: falcon.Request) -> Identity:
        """Look the badge up."""
        try:
            return PEOPLE[request.get_header("X-Auth-Token") or ""]
        except KeyError:
            raise unauthorized() from None


class Sleeping(Engine):
    """Takes orders and leaves them."""

    def __init__(self) -> None:
        self.orders: list[JobOrder] = []

    def submit(self, order: JobOrder) -> bool:
        """Note it."""
        self.orders.append(order)
        return True

    def watch(self, job_id: str) -> JobView | None:
        """Know nothing."""
        return None

    def jobs(self) -> list[JobView]:
        """Run nothing."""
        return []

    def cancel(self, job_id: str) -> bool:
        """Have nothing to end."""
        return False


def make_settings(folder: Path, **options: Any) -> Settings:
    """Return settings that keep everything below a folder."""
    (folder / "images").mkdir(exist_ok=True)
    (folder / "repository").mkdir(exist_ok=True)
    document = {
        "data_folder": str(folder / "data"),
        "containers": {"volumebackups": {"url": f"posix:{folder / 'repository'}"}},
        "providers": {"images": {"kind": "directory", "options": {"path": str(folder / "images")}}},
        **options,
    }
    return msgspec.convert(document, Settings)


@contextmanager
def opened(folder: Path, *, is_working: bool = False, **options: Any) -> Iterator[Service]:
    """Open a service; its jobs lie still unless it is to work."""
    make = None if is_working else lambda *_: Sleeping()
    with Service(make_settings(folder, **options), make_engine=make) as service:
        service.start()
        yield service


@dataclass
class Client:
    """Sends requests as somebody, in a project and a version."""

    service: Service
    access: Access = field(default_factory=Badges)
    token: str | None = "admin"
    prefix: str = f"/v3/{A}"
    version: str | None = None

    def __post_init__(self) -> None:
        self.testing = TestClient(create_app(self.service, self.access))

    def send(self, method: str, path: str, body: Any = None, **changes: Any) -> Result:
        """Send one request. changes: token, prefix, version, headers, raw (bytes of a body)."""
        headers: dict[str, str] = dict(changes.get("headers", {}))
        token = changes.get("token", self.token)
        version = changes.get("version", self.version)
        if token is not None:
            headers["X-Auth-Token"] = token
        if version is not None:
            headers["OpenStack-API-Version"] = f"volume {version}"
        options: Json = {"headers": headers}
        if body is not None:
            options["json"] = body
        if "raw" in changes:
            options["body"] = changes["raw"]
        return self.testing.simulate_request(
            method, changes.get("prefix", self.prefix) + path, **options
        )

    def get(self, path: str, **changes: Any) -> Result:
        """GET."""
        return self.send("GET", path, **changes)

    def post(self, path: str, body: Any = None, **changes: Any) -> Result:
        """POST."""
        return self.send("POST", path, body, **changes)

    def put(self, path: str, body: Any = None, **changes: Any) -> Result:
        """PUT."""
        return self.send("PUT", path, body, **changes)

    def delete(self, path: str, **changes: Any) -> Result:
        """DELETE."""
        return self.send("DELETE", path, **changes)

    def settled(self, backup_id: str) -> Json:
        """Return a backup when nothing works at it any more; empty when it is gone."""
        for _ in range(1000):
            found: Json = self.get(f"/backups/{backup_id}").json.get("backup", {})
            if found.get("status") not in ("creating", "restoring", "deleting"):
                return found
            time.sleep(0.01)
        raise AssertionError("it never ends")


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with opened(tmp_path) as service:
        yield service


@pytest.fixture
def client(service: Service) -> Client:
    return Client(service)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service for tests that leave it as it was."""
    with opened(tmp_path_factory.mktemp("service")) as service:
        yield service


@dataclass
class Shelf:
    """Puts rows into a catalog, in whatever state."""

    service: Service

    def _write(self, add: Callable[[Rows], None]) -> None:
        self.service.catalog.write(add)

    def _now(self) -> Any:
        return self.service.runtime.clock.now()

    def volume(self, row_id: str, project: str = A, **given: Any) -> str:
        """Add a volume of 1 GiB, which is a hole."""
        values: Mapping[str, Any] = {
            "status": VolumeStatus.AVAILABLE,
            "size": 1,
            "size_bytes": GIB,
            "provider": "images",
            "place": f"volume-{row_id}",
            "created_at": self._now(),
            **given,
        }
        images = Path(str(self.service.settings.providers["images"].options["path"]))
        with (images / str(values["place"])).open("wb") as file:
            file.truncate(values["size_bytes"])
        self._write(
            lambda rows: rows.add_volume(VolumeRow(id=row_id, project_id=project, **values))
        )
        return row_id

    def snapshot(self, row_id: str, volume_id: str, project: str = A, **given: Any) -> str:
        """Add a snapshot of 1 GiB."""
        values: Mapping[str, Any] = {
            "status": SnapshotStatus.AVAILABLE,
            "size": 1,
            "size_bytes": GIB,
            "provider": "images",
            "place": f"snapshot-{row_id}",
            "created_at": self._now(),
            **given,
        }
        self._write(
            lambda rows: rows.add_snapshot(
                SnapshotRow(id=row_id, volume_id=volume_id, project_id=project, **values)
            )
        )
        return row_id

    def backup(self, row_id: str, volume_id: str, project: str = A, **given: Any) -> str:
        """Add an available backup of 1 GiB."""
        now = self._now()
        values: Mapping[str, Any] = {
            "status": BackupStatus.AVAILABLE,
            "container": "volumebackups",
            "repository": "volumebackups",
            "stored_id": row_id,
            "size": 1,
            "size_bytes": GIB,
            "data_timestamp": now,
            "created_at": now,
            **given,
        }
        self._write(
            lambda rows: rows.add_backup(
                BackupRow(id=row_id, volume_id=volume_id, project_id=project, **values)
            )
        )
        return row_id


@pytest.fixture
def shelf(service: Service) -> Shelf:
    return Shelf(service)


def number(value: int) -> str:
    """Return a UUID by number."""
    return f"00000000-0000-4000-8000-{value:012d}"


def fault(result: Result) -> tuple[str, int, str]:
    """Return name, code and message of a refusal, whose code is the answer's own."""
    assert len(result.json) == 1, result.text
    name, inner = next(iter(result.json.items()))
    assert inner["code"] == result.status_code
    return name, inner["code"], inner["message"]
