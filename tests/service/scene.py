"""A real service on a temporary folder: a repository of files, image files as volumes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

from backupcore.catalog import Listing, Scope
from backupcore.catalog.row import BackupRow, SnapshotRow, VolumeRow
from backupcore.catalog.status import BackupStatus, VolumeStatus
from backupcore.job import JobOrder, JobRun, Perform
from backupcore.job.inline import InlineEngine
from backupcore.repository import open_repository
from backupcore.service import BackupWish, Caller, Invalid, RestoreWish, Service, Settings

WAIT_S = 30.0
PROJECT = "demo"
ALICE = Caller("alice", PROJECT, frozenset({"member", "reader"}), False, "req-alice")
MALLORY = Caller("mallory", "other", frozenset({"member", "reader"}), False, "req-mallory")
READER = Caller("rita", PROJECT, frozenset({"reader"}), False, "req-rita")
ADMIN = Caller("root", PROJECT, frozenset({"admin", "member", "reader"}), True, "req-admin")
SIZE_BYTES = 300_000
BUSY = (BackupStatus.CREATING, BackupStatus.RESTORING, BackupStatus.DELETING)


def content(number: int, size_bytes: int = SIZE_BYTES) -> bytes:
    """Return bytes that differ by number and do not compress to nothing."""
    word = b"".join((number * 7919 + place).to_bytes(4, "big") for place in range(1024))
    return (word * (size_bytes // len(word) + 1))[:size_bytes]


def settings(folder: Path, **changes: Any) -> Settings:
    """Return settings of a service on a folder, whose volume `data` is there already."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    if not (folder / "images" / "data").exists():
        (folder / "images" / "data").write_bytes(content(1))
    images = {"path": str(folder / "images")}
    document: dict[str, Any] = {
        "data_folder": str(folder / "service"),
        "containers": {
            "volumebackups": {"url": f"posix:{folder / 'store'}"},
            "other": {"url": f"posix:{folder / 'other'}"},
        },
        "providers": {"images": {"kind": "directory", "project": PROJECT, "options": images}},
        "jobs": {"threads": 3, "memory_bytes": 16 << 20},
        **changes,
    }
    return msgspec.convert(document, Settings)


def providers(folder: Path, **images: Any) -> dict[str, Any]:
    """Return the section `providers` with a folder of images that cannot be frozen."""
    options = {"path": str(folder / "images"), "snapshots": "none"}
    return {"images": {"kind": "directory", "project": PROJECT, "options": options, **images}}


class Gate:
    """Lets jobs begin only while it is open; a job that is stopped passes to hear that itself."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.opened.set()
        self.begun: list[str] = []

    def guard(self, perform: Perform) -> Perform:
        def run(order: JobOrder, job: JobRun) -> None:
            self.begun.append(order.id)
            while not self.opened.wait(0.005):
                if job.stop.is_set():
                    break
            perform(order, job)

        return run

    def shut(self) -> None:
        self.opened.clear()

    def open(self) -> None:
        self.opened.set()


@dataclass
class Scene:
    """A service that was started, and what one wants to know of it."""

    folder: Path
    service: Service
    gate: Gate
    number: int = field(default=0)

    @property
    def volume(self) -> VolumeRow:
        """The volume `data`, as its row is now."""
        listing = Listing(filters={"place": "data"}, limit=1)
        with self.service.catalog.reading() as rows:
            return rows.page_volumes(Scope.everything(), listing).rows[0]

    def volume_row(self, volume_id: str) -> VolumeRow:
        with self.service.catalog.reading() as rows:
            return rows.volume(volume_id, Scope.everything())

    def snapshot_row(self, snapshot_id: str) -> SnapshotRow:
        with self.service.catalog.reading() as rows:
            return rows.snapshot(snapshot_id, Scope.everything())

    def rows(self) -> list[BackupRow]:
        with self.service.catalog.reading() as rows:
            return rows.page_backups(Scope.everything(), Listing(limit=1000)).rows

    def row(self, backup_id: str) -> BackupRow | None:
        return next((row for row in self.rows() if row.id == backup_id), None)

    def write(self, number: int, name: str = "data", size_bytes: int = SIZE_BYTES) -> bytes:
        """Give a volume's file another content and return it."""
        data = content(number, size_bytes)
        (self.folder / "images" / name).write_bytes(data)
        return data

    def read(self, volume: VolumeRow, size_bytes: int = SIZE_BYTES) -> bytes:
        with (self.folder / "images" / volume.place).open("rb") as file:
            return file.read(size_bytes)

    def add_volume(self, name: str, size_bytes: int = SIZE_BYTES) -> VolumeRow:
        """Put a file beside the volumes and adopt it."""
        (self.folder / "images" / name).write_bytes(bytes(size_bytes))
        self.service.volumes.adopt()
        listing = Listing(filters={"place": name}, limit=1)
        with self.service.catalog.reading() as rows:
            return rows.page_volumes(Scope.everything(), listing).rows[0]

    def create(self, caller: Caller = ALICE, **wish: Any) -> BackupRow:
        """Make a backup of `data` unless told otherwise and return its row when it is done."""
        row = self.service.backups.create(
            caller, BackupWish(**{"volume_id": self.volume.id, **wish})
        )
        return self.settled(row.id)

    def settled(self, backup_id: str) -> BackupRow:
        """Return a backup's row when nothing works at it any more."""
        row = self.settled_or_gone(backup_id)
        assert row is not None, f"{backup_id} is gone"
        return row

    def settled_or_gone(self, backup_id: str) -> BackupRow | None:
        self.wait(lambda: not self._is_busy(backup_id))
        return self.row(backup_id)

    def _is_busy(self, backup_id: str) -> bool:
        jobs = [view.order.backup_id for view in self.service.engine.jobs()]
        row = self.row(backup_id)
        return backup_id in jobs or (row is not None and row.status in BUSY)

    def wait(self, is_so: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + WAIT_S
        while not is_so():
            assert time.monotonic() < deadline_s, "it took too long"
            time.sleep(0.005)

    def restore(self, backup_id: str, caller: Caller = ALICE, **wish: Any) -> VolumeRow:
        """Restore and return the volume's row when it is done."""
        restoring = self.service.backups.restore(caller, backup_id, RestoreWish(**wish))
        self.settled(backup_id)
        return self.volume_row(restoring.volume.id)

    def delete(self, backup_id: str, caller: Caller = ALICE) -> BackupRow | None:
        self.service.backups.delete(caller, backup_id)
        return self.settled_or_gone(backup_id)

    def stored(self, container: str = "store") -> list[str]:
        """Return the ids of the backups that the store has."""
        with open_repository(str(self.folder / container), read_only=True) as repository:
            return [found.id for found in repository.backups()]

    def objects(self) -> dict[str, bytes]:
        """Return every object of the store by key."""
        root = self.folder / "store"
        files = (path for path in sorted(root.rglob("*")) if path.is_file())
        return {str(path.relative_to(root)): path.read_bytes() for path in files}

    def frozen(self) -> list[str]:
        """Return the files of snapshots."""
        here = self.folder / "images" / ".snapshots"
        return sorted(path.name for path in here.iterdir()) if here.exists() else []

    def set_status(self, volume_id: str, status: VolumeStatus) -> None:
        self.service.volumes.reset(ADMIN, volume_id, status)

    def attach(self) -> None:
        self.service.volumes.attach(ALICE, self.volume.id, {})

    def refusal(self, call: Callable[[], object], kind: type[Exception] = Invalid) -> str:
        """Return what a call is refused with; it has to be of exactly this class."""
        with pytest.raises(kind) as caught:
            call()
        assert type(caught.value) is kind
        return str(caught.value)


@contextmanager
def started(folder: Path, **changes: Any) -> Iterator[Scene]:
    """Start a service on a folder and close it."""
    gate = Gate()

    def engine(perform: Perform, given: Settings, lane_limits: Mapping[str, int]) -> InlineEngine:
        return InlineEngine(
            gate.guard(perform), thread_count=given.jobs.threads, lane_limits=lane_limits
        )

    with Service(settings(folder, **changes), make_engine=engine) as service:
        service.start()
        yield Scene(folder, service, gate)
