"""A process that forks a child for every line of its input and tells how each child ended.

A line is JSON: the folder of a service, what the child asks of it, and the step before which the
child exits as if it were killed. A step is the moment before or after a change of the catalog, of
the store or at the provider, or before a question to the store. Forking here and not in the test
keeps threads of the test's process out of the child.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from backupcore.catalog import Listing, Rows, Scope
from backupcore.catalog.database import Database
from backupcore.catalog.row import BackupRow
from backupcore.driver import Buffer, Driver, ObjectInfo, Role
from backupcore.driver.layer import Layer
from backupcore.provider.directory import DirectoryProvider
from backupcore.repository import open_repository
from backupcore.service import BackupWish, ExportedRecord
from backupcore.service import store as store_module
from tests.service.scene import ADMIN, ALICE, Scene, started

KILLED = 137
CHANGES = ("add_", "move_", "edit_", "remove_")
ACTIONS = (
    "create", "create of a volume in use", "create of a snapshot", "restore", "restore to new",
    "delete", "force delete", "import",
)  # fmt: skip


class Steps:
    """Counts the steps of a child and ends it before one of them; 0 for never."""

    def __init__(self, nth: int, folder: Path) -> None:
        self.nth = nth
        self.folder = folder
        self.count = 0
        self.is_counting = False
        self.lock = threading.Lock()

    def step(self, name: str) -> None:
        if not self.is_counting:
            return
        with self.lock:
            self.count += 1
            if self.count == self.nth:
                (self.folder / "step").write_text(name)
                os._exit(KILLED)

    def around(self, name: str, call: Callable[[], Any]) -> Any:
        self.step(f"before {name}")
        result = call()
        self.step(f"after {name}")
        return result


class SteppingDriver(Layer):
    """Tells the steps of a store."""

    def __init__(self, below: Driver, steps: Steps) -> None:
        super().__init__(below)
        self.steps = steps

    def put(
        self, key: str, parts: Sequence[Buffer], *, if_absent: bool = False, role: Role = Role.DATA
    ) -> None:
        put = functools.partial(self.below.put, key, parts, if_absent=if_absent, role=role)
        self.steps.around(f"store: put {_kind(key)}", put)

    def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        self.steps.step(f"before store: get {_kind(key)}")
        return self.below.get(key, offset, length)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        self.steps.step(f"before store: list {_kind(prefix)}")
        yield from self.below.list(prefix)

    def delete(self, keys: Iterable[str]) -> None:
        chosen = list(keys)
        name = _kind(chosen[0]) if chosen else "nothing"
        self.steps.around(f"store: delete {name}", lambda: self.below.delete(chosen))


def _kind(key: str) -> str:
    return key.partition("/")[0] or "all"


def hook(steps: Steps) -> None:
    """Let catalog, store and provider of this process tell their steps."""

    def opened(url: str, **options: Any) -> Any:
        return open_repository(url, layers=lambda below: SteppingDriver(below, steps), **options)

    setattr(store_module, "open_repository", opened)  # noqa: B010 - the module exports it not
    for name in ("snapshot", "delete_snapshot", "create", "delete"):
        _hook_call(DirectoryProvider, name, steps, f"provider: {name.replace('_', ' ')}")
    _hook_catalog(steps)


def _hook_call(kind: type, name: str, steps: Steps, said: str) -> None:
    original = getattr(kind, name)

    def call(self: object, *args: Any, **options: Any) -> Any:
        return steps.around(said, lambda: original(self, *args, **options))

    setattr(kind, name, call)


def _hook_catalog(steps: Steps) -> None:
    """Tell of each transaction that changes something, right before and after it counts."""
    local = threading.local()
    names = [name for name in vars(Rows) if name.startswith(CHANGES)]
    for name in names:
        _note_change(name, local)
    original = Database.write

    def write(self: Database, change: Callable[[Any], Any]) -> Any:
        local.said = []

        def noted(connection: Any) -> Any:
            result = change(connection)
            if local.said:
                steps.step(f"before catalog: {', '.join(local.said)}")
            return result

        result = original(self, noted)
        if local.said:
            steps.step(f"after catalog: {', '.join(local.said)}")
        return result

    Database.write = write  # type: ignore[method-assign]


def _note_change(name: str, local: threading.local) -> None:
    original = getattr(Rows, name)

    def call(self: Rows, first: Any, *args: Any, **options: Any) -> Any:
        result = original(self, first, *args, **options)
        said = name.replace("_", " ")
        if args and name.startswith("move_"):
            said = f"{name.removeprefix('move_')} {args[0]}"
        if not hasattr(local, "said"):
            local.said = []
        local.said.append(said)
        return result

    setattr(Rows, name, call)


def first(scene: Scene) -> BackupRow:
    """Return the oldest backup, which was there before."""
    return sorted(scene.rows(), key=lambda row: row.created_at)[0]


def act(scene: Scene, action: str) -> None:
    """Ask the service for one thing and wait until it is done."""
    service, volume = scene.service, scene.volume
    if action.startswith("create"):
        snapshot = None
        if action.endswith("snapshot"):
            with service.catalog.reading() as rows:
                page = rows.page_snapshots(Scope.everything(), Listing(limit=1))
            snapshot = page.rows[0].id
        scene.create(snapshot_id=snapshot, is_incremental=True, is_forced=action.endswith("in use"))
    elif action == "restore":
        scene.restore(first(scene).id, volume_id=volume.id)
    elif action == "restore to new":
        scene.restore(first(scene).id, name="fresh")
    elif action == "delete":
        scene.delete(last(scene).id)
    elif action == "force delete":
        scene.gate.shut()
        row = service.backups.create(ALICE, BackupWish(volume_id=volume.id, name="doomed"))
        service.backups.force_delete(ADMIN, row.id)
        scene.gate.open()
        scene.settled_or_gone(row.id)
    else:
        exported = json.loads((scene.folder / "record").read_text())
        row = service.records.take(ADMIN, ExportedRecord(*exported))
        scene.settled(row.id)


def last(scene: Scene) -> BackupRow:
    """Return the newest backup."""
    return sorted(scene.rows(), key=lambda row: row.created_at)[-1]


def run_child(folder: str, action: str, nth: int) -> int:
    """Ask and return an exit status; the n-th step ends the process."""
    steps = Steps(nth, Path(folder))
    hook(steps)
    logging.disable()
    with started(Path(folder)) as scene:
        steps.is_counting = True
        act(scene, action)
        steps.is_counting = False
    return 0


def main() -> None:
    """Serve until the input ends."""
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            status = 99
            try:
                status = run_child(**json.loads(line))
            finally:
                os._exit(status)
        _, ended = os.waitpid(pid, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(ended)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
