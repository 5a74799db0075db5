"""What is killed: a service with a backup of old, requests that are sent, and what REST shows."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from uuid import UUID

from backupcore.repository import open_repository
from tests.clients.conftest import RunningService

SIZE_BYTES = 8 << 20


def content(number: int) -> bytes:
    """Return bytes that differ by number and compress to nothing less."""
    return random.Random(number).randbytes(SIZE_BYTES)


@dataclass
class Sight:
    """What REST shows of what is worked at, from the sending of the request on."""

    look: Callable[[], str]
    seen: list[str] = field(default_factory=list)

    def take(self) -> str:
        status = self.look()
        if not self.seen or self.seen[-1] != status:
            self.seen.append(status)
        return status

    @property
    def last(self) -> str:
        """The status seen last; `again` when it had been another one meanwhile."""
        status = self.seen[-1]
        return f"{status} again" if status in self.seen[:-1] or self._is_gone() else status

    def _is_gone(self) -> bool:
        return self.seen[-1] == "nothing" and len(self.seen) > 1


@dataclass
class Stage:
    """A service with volumes `disk.img` and `target.img` and a backup `first` of old."""

    service: RunningService
    first: str = ""
    victim: str = ""
    number: int = 0
    target_before: bytes = b""

    @property
    def store(self) -> Path:
        return self.service.folder / "store"

    @property
    def copy(self) -> str:
        """The id under which a record is imported once more."""
        return str(UUID(int=self.number))

    def write(self) -> bytes:
        """Give `disk.img` a content that it never had."""
        self.number += 1
        data = content(self.number)
        with (self.service.folder / "images/disk.img").open("r+b") as file:
            file.write(data)
        return data

    def read(self, volume: dict[str, Any]) -> bytes:
        """Return what a volume begins with."""
        named = self.service.folder / "images" / volume["name"]
        path = named if named.exists() else self.service.image(volume["id"])
        with path.open("rb") as file:
            return file.read(SIZE_BYTES)

    def restored(self, backup_id: str) -> bytes:
        """Restore over `target.img` and return what it holds then."""
        self.act_on_volume("target.img", "os-reset_status", {"status": "available"})
        target = self.service.volume_id("target.img")
        self.service.restore(backup_id, volume_id=target)
        return self.read(self.service.volume(target))

    def backups(self) -> dict[str, dict[str, Any]]:
        return {row["id"]: row for row in self.service.get("backups/detail")["backups"]}

    def named(self, name: str) -> dict[str, Any] | None:
        return next((row for row in self.backups().values() if row["name"] == name), None)

    def volumes(self) -> dict[str, dict[str, Any]]:
        return {row["id"]: row for row in self.service.get("volumes/detail")["volumes"]}

    def fresh(self) -> dict[str, Any] | None:
        """Return the volume that a restore to new made."""
        return next((row for row in self.volumes().values() if row["name"] == "fresh"), None)

    def stored(self) -> set[str]:
        with open_repository(str(self.store), read_only=True) as repository:
            return {found.id for found in repository.backups()}

    def act_on_volume(self, name: str, action: str, body: object) -> None:
        self.service.post(f"volumes/{self.service.volume_id(name)}/action", {action: body})


def begin(stage: Stage, action: str) -> tuple[HTTPConnection, Sight]:
    """Prepare and send a request; return the connection, which is not read, and the sight."""
    service = stage.service
    stage.write()
    disk = service.volume_id("disk.img")
    wish: dict[str, object] = {"volume_id": disk, "name": "subject"}
    sight = Sight(lambda: _status(stage.named("subject")))
    if action in ("create", "incremental"):
        wish["incremental"] = action == "incremental"
        return _sent(service, sight, "POST", "backups", {"backup": wish})
    if action == "create of a volume in use":
        stage.act_on_volume("disk.img", "os-attach", {"instance_uuid": None, "mountpoint": "vdb"})
        return _sent(service, sight, "POST", "backups", {"backup": {**wish, "force": True}})
    if action == "force delete":
        stage.victim = service.create(name="subject")
        path = f"backups/{stage.victim}/action"
        return _sent(service, sight, "POST", path, {"os-force_delete": None})
    stage.victim = service.create(name="subject")
    service.settle()
    return _begin_on_victim(stage, action, sight)


def _begin_on_victim(stage: Stage, action: str, sight: Sight) -> tuple[HTTPConnection, Sight]:
    service, path = stage.service, f"backups/{stage.victim}"
    if action == "delete":
        return _sent(service, sight, "DELETE", path)
    if action == "export":
        return _sent(service, sight, "GET", f"{path}/export_record")
    if action == "import":
        exported = service.get(f"{path}/export_record")["backup-record"]
        record = json.loads(base64.b64decode(exported["backup_url"]))
        record["id"] = stage.copy
        exported["backup_url"] = base64.b64encode(json.dumps(record).encode()).decode()
        sight = Sight(lambda: _status(stage.backups().get(stage.copy)))
        body = {"backup-record": exported}
        return _sent(service, sight, "POST", "backups/import_record", body)
    if action == "restore to new":
        sight = Sight(lambda: _status(stage.fresh()))
        body = {"restore": {"name": "fresh"}}
        return _sent(service, sight, "POST", f"{path}/restore", body)
    target = service.volume_id("target.img")
    stage.target_before = stage.read(service.volume(target))
    sight = Sight(lambda: _status(stage.volumes()[target]))
    return _sent(service, sight, "POST", f"{path}/restore", {"restore": {"volume_id": target}})


def _sent(
    service: RunningService, sight: Sight, method: str, path: str, body: object = None
) -> tuple[HTTPConnection, Sight]:
    sight.take()
    return service.send(method, path, body), sight


def _status(row: dict[str, Any] | None) -> str:
    return "nothing" if row is None else str(row["status"])
