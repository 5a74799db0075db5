"""Calls Cinder's POSIX backup driver outside a service; runs in a virtual environment with Cinder.

    python cinder_driver.py backup LABEL IMAGE --state DIR --volume ID [--parent LABEL]
    python cinder_driver.py restore LABEL TARGET --state DIR

Only what needs a database or a message bus is replaced: the row of a backup is a JSON file, and
notifications go nowhere.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

OBJECT_BYTES = 52_428_800  # what Cinder's object store drivers default to
_GIB = 1 << 30


class Row:
    """The row of one backup, kept as a JSON file."""

    folder: Path
    id: str
    status: str

    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)

    @classmethod
    def get_by_id(cls, context: object, label: str) -> Row:
        """Return the row of a backup."""
        return cls(**json.loads((cls.folder / f"{label}.json").read_text()))

    def __getitem__(self, name: str) -> Any:
        return self.__dict__[name]

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)

    def save(self) -> None:
        """Write the row."""
        text = json.dumps(self.__dict__)
        (self.folder / f"{self.id}.json").write_text(text)

    def refresh(self) -> None:
        """Leave the row as it is: nobody else writes it."""

    @contextmanager
    def as_read_deleted(self) -> Iterator[None]:
        """See deleted rows too; there are none."""
        yield


class Volumes:
    """Stands in for the database where the driver asks for the size of a volume."""

    def __init__(self, size_bytes: int) -> None:
        self._size_gib = max(1, -(-size_bytes // _GIB))

    def volume_get(self, context: object, volume: str) -> dict[str, int]:
        """Return the row of a volume."""
        return {"size": self._size_gib}


def load_driver(state: Path, compression: str, size_bytes: int) -> tuple[Any, Any]:
    """Return the driver with its settings, and what it reads and writes volumes through."""
    options = import_module("oslo_config.cfg").CONF
    objects: Any = import_module("cinder.objects")
    objects.register_all()
    bus: Any = import_module("cinder.volume.volume_utils")
    bus.notify_about_backup_usage = _send_nothing
    module = import_module("cinder.backup.drivers.posix")
    options([], project="cinder", default_config_files=[])
    options.set_override("connection", "sqlite://", "database")
    options.set_override("backup_file_size", OBJECT_BYTES)
    options.set_override("backup_compression_algorithm", compression)
    options.set_override("backup_enable_progress_timer", False)
    objects.Backup = Row
    driver = module.PosixBackupDriver(
        import_module("cinder.context").get_admin_context(), backup_path=str(state / "objects")
    )
    driver.db = Volumes(size_bytes)
    return driver, import_module("cinder.utils").tpool_wrap


def _send_nothing(*_: object, **__: object) -> None:
    """Take the place of a message bus."""


def back_up(given: argparse.Namespace) -> None:
    """Back an image up, against a parent if there is one."""
    size_bytes = os.stat(given.path).st_size
    driver, wrap = load_driver(given.state, given.compression, size_bytes)
    row = Row(
        id=given.label,
        volume_id=given.volume,
        parent_id=given.parent,
        container=None,
        service_metadata=None,
        size=-(-size_bytes // _GIB),
        size_bytes=size_bytes,
        status="creating",
        display_name=given.label,
        display_description="",
        created_at="",
    )
    with open(given.path, "rb") as image:
        driver.backup(row, wrap(image), backup_metadata=False)
    row.status = "available"
    row.save()


def restore(given: argparse.Namespace) -> None:
    """Restore a backup to a new file, which then gets the size that a volume has by itself."""
    row = Row.get_by_id(None, given.label)
    driver, wrap = load_driver(given.state, given.compression, row.size_bytes)
    row.status = "restoring"
    with open(given.path, "wb") as target:
        driver.restore(row, row.volume_id, wrap(target), True)
    os.truncate(given.path, row.size_bytes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("verb", choices=["backup", "restore"])
    parser.add_argument("label")
    parser.add_argument("path")
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--compression", default="zlib")
    parser.add_argument("--volume", default="volume")
    parser.add_argument("--parent")
    given = parser.parse_args()
    Row.folder = given.state / "rows"
    Row.folder.mkdir(exist_ok=True)
    (back_up if given.verb == "backup" else restore)(given)


if __name__ == "__main__":
    main()
