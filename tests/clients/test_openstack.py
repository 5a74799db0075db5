"""python-openstackclient and openstacksdk as their users start them, with a token of the file."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clients.conftest import (
    CALL_S_MAX,
    PROJECT,
    RunningService,
    assert_holds,
    change,
    client,
    run_client,
)

SDK_SESSION = Path(__file__).parent / "sdk_session.py"
needs_sdk = pytest.mark.skipif(
    importlib.util.find_spec("openstack") is None, reason="no openstack: pip install openstacksdk"
)


@client("openstack")
def test_a_backup_is_made_and_listed(guarded_service: RunningService) -> None:
    service = guarded_service
    made = service.openstack("volume", "backup", "create", "disk.img", "--name", "nightly")
    service.settle()
    listed = service.openstack("volume", "backup", "list")
    assert [(row["ID"], row["Status"]) for row in listed] == [(made["id"], "available")]


@pytest.mark.long
@client("openstack")
def test_the_second_of_two_backups_is_whole_without_the_first(
    guarded_service: RunningService,
) -> None:
    service = guarded_service
    disk = service.image("disk.img")
    first = service.openstack("volume", "backup", "create", "disk.img", "--name", "full")["id"]
    service.settle()
    content = change(disk)
    second = service.openstack(
        "volume", "backup", "create", "disk.img", "--name", "next", "--incremental"
    )["id"]
    service.settle()
    listed = service.openstack("volume", "backup", "list")
    assert {row["ID"]: row["Status"] for row in listed} == {
        first: "available",
        second: "available",
    }
    assert service.openstack("volume", "backup", "show", "next")["is_incremental"] is True
    service.openstack("volume", "backup", "delete", first)
    assert [row["id"] for row in service.settle()] == [second]
    restored = service.openstack("volume", "backup", "restore", second, "fresh")["volume_id"]
    service.settle()
    assert_holds(service.image(restored), content)


@client("openstack")
def test_a_volume_is_created_from_a_backup(guarded_service: RunningService) -> None:
    service = guarded_service
    content = service.image("disk.img").read_bytes()
    service.openstack("volume", "backup", "create", "disk.img", "--name", "nightly")
    service.settle()
    made = service.openstack(
        "--os-volume-api-version", "3.47", "volume", "create", "--backup", "nightly",
        "--property", "k=v", "fresh",
    )  # fmt: skip
    service.settle()
    assert (made["name"], made["size"]) == ("fresh", 1)
    found = service.volume(made["id"])
    assert (found["status"], found["name"], found["metadata"]["k"]) == ("available", "fresh", "v")
    assert_holds(service.image(made["id"]), content)


@pytest.mark.long
@client("openstack")
def test_a_record_is_exported(guarded_service: RunningService) -> None:
    service = guarded_service
    made = service.openstack("volume", "backup", "create", "disk.img")
    service.settle()
    exported = service.openstack("volume", "backup", "record", "export", made["id"])
    assert exported["backup_service"] == "cinder.backup.drivers.backupcore.posix"
    assert len(exported["backup_url"]) > 100


@needs_sdk
def test_the_sdk_backs_up_exports_imports_and_restores(guarded_service: RunningService) -> None:
    service = guarded_service
    content = service.image("disk.img").read_bytes()
    done = subprocess.run(
        [sys.executable, str(SDK_SESSION), service.endpoint, service.token],
        capture_output=True,
        text=True,
        check=False,
        timeout=CALL_S_MAX,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["listed"] == [told["copy"]]
    assert_holds(service.image(told["volume_id"]), content)


@pytest.mark.long
@client("openstack")
def test_version_2_serves_a_client_that_asks_for_it(guarded_service: RunningService) -> None:
    service = guarded_service

    def ask(*arguments: str) -> str:
        return run_client(
            "openstack", "--os-auth-type", "admin_token",
            "--os-endpoint", f"{service.address}/v2/{PROJECT}", "--os-token", service.token,
            "--os-volume-api-version", "2", *arguments, "-f", "json",
        )  # fmt: skip

    made = json.loads(ask("volume", "backup", "create", "disk.img"))
    assert made["id"] in ask("volume", "backup", "list")
