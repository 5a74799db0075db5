"""Containers on a real Swift, by its own API and by S3, next to files: one service serves them."""

from __future__ import annotations

import json
import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from traceback import format_exception

import pytest
from click.testing import CliRunner

from backupcore.cli.tree import commands
from tests.clients.conftest import (
    RunningService,
    assert_holds,
    change,
    client,
    configured,
    fill,
    trust,
    wait_until,
)
from tests.drivers.s3.stage.place import Place as S3Place
from tests.drivers.swift.place import Place as SwiftPlace
from tests.servers.swift_server import SwiftServer, storage_folder, swift_server

KINDS = ("files", "swift", "s3")
MORE = """
[quotas]
backups = -1
volumes = -1
gigabytes = -1
"""
GIVEN_UP_S_MAX = 900.0
NOT_OPEN_S = 0.3
LOGINS = ("OS_", "ST_", "AWS_")
URLS = (
    "swift://anna:{}@nightly/prod",
    "s3://AKIA:{}@nightly/prod",
    "swift://nightly/prod?key={}",
    "s3://nightly/prod?secret_access_key={}",
    "nobody://anna:{}@nightly/prod?password={}",
)
WAITING = "store unavailable, waiting"


@pytest.fixture(scope="module")
def swift() -> Iterator[SwiftServer]:
    with storage_folder() as folder, swift_server(folder) as server:
        yield server


@pytest.fixture(scope="module")
def place(swift: SwiftServer) -> SwiftPlace:
    """The container `swift`."""
    place = SwiftPlace(swift)
    place.ask("put_container")
    return place


@pytest.fixture(scope="module")
def three(
    swift: SwiftServer, place: SwiftPlace, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningService]:
    """A service with a container of each kind, named as the kind."""
    folder = tmp_path_factory.mktemp("three")
    keys = S3Place(swift.s3_endpoint, swift.access_key, swift.secret_key)
    s3_url = keys.url("by-s3", create_container="yes", conditional_put="no", list_lag_s="86400")
    containers = {"files": f"posix:{folder}/store", "swift": place.url, "s3": s3_url}
    service = configured(folder, containers, more=MORE, environment=login(swift))
    text = service.config.read_text()
    service.config.write_text(f'default_container = "swift"\n{text}')
    for name in ("disk.img", "other.img"):
        fill(folder / "images" / name, 1)
    service.start()
    yield service
    service.kill()


@pytest.fixture
def service(three: RunningService) -> RunningService:
    """The same service, started again when a test has ended it."""
    if three.process.poll() is not None:
        three.start()
    return three


def login(server: SwiftServer) -> dict[str, str]:
    """Return the environment that holds the keys to a Swift."""
    return {
        "ST_AUTH": server.auth_url,
        "ST_USER": server.user,
        "ST_KEY": server.key,
        "AWS_ACCESS_KEY_ID": server.access_key,
        "AWS_SECRET_ACCESS_KEY": server.secret_key,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def key_count(place: SwiftPlace, prefix: str = "") -> int:
    """Return how many objects of a container have a key that begins so."""
    root = place.url.removeprefix(f"swift://{place.container}/")
    return len(place.ask("get_container", prefix=f"{root}/{prefix}", full_listing=True)[1])


@pytest.mark.parametrize("kind", KINDS)
def test_a_container_of_each_kind_keeps_backups_until_they_are_deleted(
    service: RunningService, kind: str
) -> None:
    disk = service.image("disk.img")
    fill(disk, KINDS.index(kind))
    first = service.create(container=kind)
    service.settle()
    content = change(disk)
    second = service.create(container=kind, incremental=True)
    row = service.backup(second)
    assert (row["status"], row["container"], row["is_incremental"]) == ("available", kind, True)
    assert row["object_count"] > 0
    service.ask("DELETE", f"backups/{first}")
    assert first not in {row["id"] for row in service.settle()}
    assert_holds(service.image(service.restore(second)), content)
    service.ask("DELETE", f"backups/{second}")
    assert second not in {row["id"] for row in service.settle()}


def test_an_incremental_backup_to_another_container_reads_everything(
    service: RunningService,
) -> None:
    volume = service.volume_id("other.img")
    service.create(volume_id=volume, container="files")
    service.settle()
    made = service.create(volume_id=volume, container="swift", incremental=True)
    row = service.backup(made)
    assert (row["status"], row["is_incremental"]) == ("available", False)
    assert_holds(service.image(service.restore(made)), service.image("other.img").read_bytes())


def test_a_container_that_nobody_configured_is_refused(service: RunningService) -> None:
    wish = {"volume_id": service.volume_id("disk.img"), "container": "elsewhere"}
    answer = service.ask("POST", "backups", {"backup": wish})
    message = "Invalid input received: container elsewhere is not configured"
    assert answer.code == 400
    assert answer.document == {"badRequest": {"code": 400, "message": message}}
    assert service.volume(wish["volume_id"])["status"] == "available"


@pytest.mark.long
@client("cinder")
def test_cinder_backs_up_to_swift_and_restores(service: RunningService) -> None:
    content = service.image("disk.img").read_bytes()
    made = service.cinder("backup-create", "disk.img", "--container", "swift", "--name", "nightly")
    found = re.search(r"[0-9a-f]{8}-[0-9a-f-]{27}", made)
    assert found is not None
    service.settle()
    shown = service.cinder("backup-show", found[0])
    assert re.search(r"\| container +\| swift ", shown)
    service.cinder("backup-restore", found[0], "--name", "by cinder")
    service.settle()
    assert_holds(service.image(service.volume_id("by%20cinder")), content)


def test_a_second_service_restores_what_it_imports_from_the_same_swift_container(
    service: RunningService, place: SwiftPlace, swift: SwiftServer, tmp_path: Path
) -> None:
    backup = service.create()
    service.settle()
    record = service.get(f"backups/{backup}/export_record")
    elsewhere = configured(tmp_path, {"volumebackups": place.url}, environment=login(swift))
    trust(elsewhere, service)
    elsewhere.start()
    try:
        elsewhere.post("backups/import_record", record)
        assert elsewhere.backup(backup)["status"] == "available"
        volume = elsewhere.restore(backup)
        assert_holds(elsewhere.image(volume), service.image("disk.img").read_bytes())
    finally:
        elsewhere.stop()


def test_a_backup_outlasts_a_short_absence_of_its_store(
    service: RunningService, swift: SwiftServer
) -> None:
    swift.kill("proxy")
    waited = service.log.count(WAITING)
    try:
        backup = service.create()
        wait_until(lambda: service.log.count(WAITING) > waited)
        assert service.get(f"backups/{backup}")["backup"]["status"] == "creating"
    finally:
        swift.restart("proxy")
    assert service.backup(backup)["status"] == "available"
    assert_holds(service.image(service.restore(backup)), service.image("disk.img").read_bytes())


def test_a_store_without_room_is_told_and_the_next_backup_works_when_there_is_some(
    service: RunningService, place: SwiftPlace
) -> None:
    place.ask("post_container", headers={"X-Container-Meta-Quota-Bytes": "1"})
    failed = service.backup(service.create())
    assert (failed["status"], failed["fail_reason"]) == ("error", "the backup store is full")
    assert service.volume(failed["volume_id"])["status"] == "available"
    place.ask("post_container", headers={"X-Container-Meta-Quota-Bytes": ""})
    backup = service.backup(service.create())
    assert backup["status"] == "available"
    assert_holds(
        service.image(service.restore(backup["id"])), service.image("disk.img").read_bytes()
    )


def test_a_service_that_waits_for_a_store_in_a_job_ends_at_once_when_told(
    service: RunningService, swift: SwiftServer
) -> None:
    swift.kill("proxy")
    waited = service.log.count(WAITING)
    try:
        backup = service.create()
        wait_until(lambda: service.log.count(WAITING) > waited)
        service.stop()
        assert service.process.returncode in (0, 130)
    finally:
        swift.restart("proxy")
    service.start()
    row = service.backup(backup)
    assert row["status"] == "error"
    assert row["fail_reason"] == "stopped before it was done"
    assert service.backup(service.create())["status"] == "available"


def test_a_service_that_starts_before_its_store_waits_for_it(
    service: RunningService, swift: SwiftServer
) -> None:
    backup = service.create()
    service.settle()
    service.stop()
    swift.kill("proxy")
    try:
        service.launch()
        wait_until(lambda: WAITING in service.life_log)
        time.sleep(NOT_OPEN_S)
        assert '"serving"' not in service.life_log
    finally:
        swift.restart("proxy")
    service.wait_until_open()
    assert service.backup(backup)["status"] == "available"


def test_a_service_that_waits_for_its_store_at_the_start_ends_when_told(
    service: RunningService, swift: SwiftServer
) -> None:
    service.stop()
    swift.kill("proxy")
    try:
        service.launch()
        wait_until(lambda: WAITING in service.life_log)
        service.stop()
        assert service.process.returncode in (0, 130)
    finally:
        swift.restart("proxy")


@pytest.mark.long
def test_a_backup_whose_store_stays_away_ends_in_an_error_that_says_so(
    service: RunningService, place: SwiftPlace, swift: SwiftServer
) -> None:
    service.create()
    service.settle()
    change(service.image("disk.img"))
    backup = service.create()
    with service.paused():
        swift.kill("proxy")
    began = time.monotonic()
    try:
        service.settle(GIVEN_UP_S_MAX)
        print(f"given up after {time.monotonic() - began:.0f} s")  # noqa: T201 - for the design
        row = service.backup(backup)
        assert (row["status"], row["fail_reason"]) == ("error", "the backup store did not answer")
        assert service.volume(row["volume_id"])["status"] == "available"
    finally:
        swift.restart("proxy")
    assert key_count(place, f"backups/{backup}") == 0
    following = service.backup(service.create(incremental=True))
    assert (following["status"], following["is_incremental"]) == ("available", True)
    restored = service.restore(following["id"])
    assert_holds(service.image(restored), service.image("disk.img").read_bytes())


@pytest.mark.long
def test_a_service_whose_store_stays_away_ends_and_says_so(
    service: RunningService, swift: SwiftServer
) -> None:
    service.stop()
    swift.kill("proxy")
    began = time.monotonic()
    try:
        service.launch()
        code = service.process.wait(GIVEN_UP_S_MAX)
        print(f"given up after {time.monotonic() - began:.0f} s")  # noqa: T201 - for the design
        print(service.life_log[-1000:])  # noqa: T201 - for the design
    finally:
        swift.restart("proxy")
    assert code == 5
    assert '"serving"' not in service.life_log


def test_keys_of_the_stores_are_in_no_answer_and_no_file_of_the_service(
    service: RunningService, swift: SwiftServer
) -> None:
    told = [service.ask("POST", "backups", {"backup": {"volume_id": "x", "container": "swift"}})]
    for kind in KINDS:
        backup = service.create(container=kind)
        service.settle()
        told.append(service.ask("GET", f"backups/{backup}/export_record"))
    told += [
        service.ask("GET", path) for path in ("backups/detail", "volumes/detail", "os-services")
    ]
    texts = [json.dumps(answer.document) for answer in told]
    texts += [page(service, path) for path in ("/metrics", "/openapi.json", "/healthcheck", "/")]
    texts += [service.log, (service.folder / "data/audit.log").read_text()]
    together = "".join(texts)
    assert swift.key not in together
    assert "AUTH_tk" not in together


def page(service: RunningService, path: str) -> str:
    connection = HTTPConnection(service.address.removeprefix("http://"), timeout=10)
    with closing(connection):
        connection.request("GET", path)
        return connection.getresponse().read().decode()


@pytest.mark.parametrize("url", URLS)
def test_a_secret_in_the_url_of_a_container_is_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    for name in [name for name in os.environ if name.startswith(LOGINS)]:
        monkeypatch.delenv(name)
    canary = secrets.token_hex(8)
    service = configured(tmp_path, {"volumebackups": url.replace("{}", canary)})
    done = CliRunner().invoke(commands, ["serve", "--config", str(service.config), "--json"])
    assert done.exit_code != 0
    assert done.stderr
    assert canary not in done.output + "".join(format_exception(done.exception))


@pytest.mark.long
@pytest.mark.parametrize("url", URLS)
def test_a_process_repeats_no_secret_in_the_url_of_a_container(tmp_path: Path, url: str) -> None:
    canary = secrets.token_hex(8)
    service = configured(tmp_path, {"volumebackups": url.replace("{}", canary)})
    service.launch()
    assert service.process.wait(20) not in (0, None)
    assert service.log
    assert canary not in service.log
