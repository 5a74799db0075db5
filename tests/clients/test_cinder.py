"""python-cinderclient as its users start it, against a service of its own."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from uuid import uuid4

import pytest

from tests.clients.conftest import (
    RunningService,
    assert_holds,
    backupcore,
    change,
    client,
    serve,
)

pytestmark = client("cinder")


def value(table: str, name: str) -> str:
    """Return a value of a table of two columns."""
    found = re.search(rf"^\| {name} +\| (.*?) *\|", table, re.MULTILINE)
    assert found is not None, table
    return found[1]


def test_the_second_of_two_backups_is_whole_without_the_first(service: RunningService) -> None:
    disk = service.image("disk.img")
    first = value(service.cinder("backup-create", "disk.img", "--name", "full"), "id")
    service.settle()
    content = change(disk)
    made = service.cinder("backup-create", "disk.img", "--name", "next", "--incremental")
    second = value(made, "id")
    service.settle()
    listed = service.cinder("backup-list")
    assert first in listed
    assert second in listed
    assert value(service.cinder("backup-show", "next"), "is_incremental") == "True"
    restored = value(service.cinder("backup-restore", first, "--name", "one"), "volume_id")
    service.settle()
    assert service.image(restored).stat().st_size == 1 << 30
    service.cinder("backup-delete", first)
    assert [row["id"] for row in service.settle()] == [second]
    restored = value(service.cinder("backup-restore", second), "volume_id")
    service.settle()
    assert_holds(service.image(restored), content)


def test_a_record_imported_under_another_id_outlives_the_original(service: RunningService) -> None:
    content = service.image("disk.img").read_bytes()
    original = value(service.cinder("backup-create", "disk.img"), "id")
    service.settle()
    exported = service.cinder("backup-export", original)
    record = json.loads(base64.b64decode(value(exported, "backup_url")))
    record["id"] = copy = str(uuid4())
    url = base64.b64encode(json.dumps(record).encode()).decode()
    service.cinder("backup-import", value(exported, "backup_service"), url)
    assert {row["id"]: row["status"] for row in service.settle()}[copy] == "available"
    service.cinder("backup-delete", original)
    assert [row["id"] for row in service.settle()] == [copy]
    restored = value(service.cinder("backup-restore", copy), "volume_id")
    service.settle()
    assert_holds(service.image(restored), content)


@pytest.mark.long
def test_another_service_with_an_empty_catalog_restores_what_it_imports(
    service: RunningService, tmp_path: Path
) -> None:
    content = service.image("disk.img").read_bytes()
    backup = value(service.cinder("backup-create", "disk.img"), "id")
    service.settle()
    exported = service.cinder("backup-export", backup)
    public = backupcore("record", "key", "--key", str(service.folder / "data/record-key.pem"), "-q")
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "data/trusted").mkdir(parents=True, mode=0o700)
    (elsewhere / "data/trusted/first.pem").write_text(public)
    second = serve(elsewhere, store=service.folder / "store")
    try:
        record = [value(exported, name) for name in ("backup_service", "backup_url")]
        second.cinder("backup-import", *record)
        assert [row["status"] for row in second.settle()] == ["available"]
        restored = value(second.cinder("backup-restore", backup), "volume_id")
        second.settle()
        assert_holds(second.image(restored), content)
    finally:
        second.stop()
