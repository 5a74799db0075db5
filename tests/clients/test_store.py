"""Containers on a real Swift, by its own API and by S3, next to files: one service serves them."""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import pytest

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
NOT_OPEN_S = 2.0
AWAY_S = 1.5


@pytest.fixture(scope="module")
def swift() -> Iterator[SwiftServer]:
    with storage_folder() as folder, swift_server(folder) as server:
        yield server


@pytest.fixture(scope="module")
def three(swift: SwiftServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service with a container of each kind, named as the kind."""
    folder = tmp_path_factory.mktemp("three")
    keys = S3Place(swift.s3_endpoint, swift.access_key, swift.secret_key)
    s3_url = keys.url("by-s3", create_container="yes", conditional_put="no", list_lag_s="86400")
    swift_url = f"{SwiftPlace(swift).url}?create_container=yes"
    service = with_disk(
        folder,
        {"files": f"posix:{folder}/store", "swift": swift_url, "s3": s3_url},
        login(swift),
    )
    service.start()
    yield service
    service.stop()


@pytest.fixture
def place(swift: SwiftServer) -> SwiftPlace:
    """A container of its own."""
    place = SwiftPlace(swift)
    place.ask("put_container")
    return place


@pytest.fixture
def single(swift: SwiftServer, place: SwiftPlace, tmp_path: Path) -> Iterator[RunningService]:
    """A service on the place, started."""
    service = with_disk(tmp_path / "single", {"swift": place.url}, login(swift))
    service.start()
    yield service
    service.kill()


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


def with_disk(
    folder: Path, containers: Mapping[str, str], environment: Mapping[str, str]
) -> RunningService:
    """Return a service with `disk.img`; its first container is the default one."""
    service = configured(folder, containers, more=MORE, environment=environment)
    text = service.config.read_text()
    service.config.write_text(f'default_container = "{next(iter(containers))}"\n{text}')
    fill(folder / "images/disk.img", 1)
    return service


def key_count(place: SwiftPlace, prefix: str = "") -> int:
    """Return how many objects of a container have a key that begins so."""
    root = place.url.removeprefix(f"swift://{place.container}/")
    return len(place.ask("get_container", prefix=f"{root}/{prefix}", full_listing=True)[1])


@pytest.mark.parametrize("kind", KINDS)
def test_a_container_of_each_kind_keeps_backups_until_they_are_deleted(
    three: RunningService, kind: str
) -> None:
    disk = three.image("disk.img")
    fill(disk, KINDS.index(kind))
    first = three.create(container=kind)
    three.settle()
    content = change(disk)
    second = three.create(container=kind, incremental=True)
    row = three.backup(second)
    assert (row["status"], row["container"], row["is_incremental"]) == ("available", kind, True)
    assert row["object_count"] > 0
    three.ask("DELETE", f"backups/{first}")
    assert first not in {row["id"] for row in three.settle()}
    assert_holds(three.image(three.restore(second)), content)
    three.ask("DELETE", f"backups/{second}")
    assert second not in {row["id"] for row in three.settle()}


def test_an_incremental_backup_to_another_container_reads_everything(
    three: RunningService,
) -> None:
    three.create(container="files")
    three.settle()
    row = three.backup(three.create(container="swift", incremental=True))
    assert (row["status"], row["is_incremental"]) == ("available", False)
    assert_holds(three.image(three.restore(row["id"])), three.image("disk.img").read_bytes())


def test_a_container_that_nobody_configured_is_refused(three: RunningService) -> None:
    wish = {"volume_id": three.volume_id("disk.img"), "container": "elsewhere"}
    answer = three.ask("POST", "backups", {"backup": wish})
    message = "Invalid input received: container elsewhere is not configured"
    assert answer.code == 400
    assert answer.document == {"badRequest": {"code": 400, "message": message}}
    assert three.volume(wish["volume_id"])["status"] == "available"


@client("cinder")
def test_cinder_backs_up_to_swift_and_restores(three: RunningService) -> None:
    content = three.image("disk.img").read_bytes()
    made = three.cinder("backup-create", "disk.img", "--container", "swift", "--name", "nightly")
    found = re.search(r"[0-9a-f]{8}-[0-9a-f-]{27}", made)
    assert found is not None
    three.settle()
    shown = three.cinder("backup-show", found[0])
    assert re.search(r"\| container +\| swift ", shown)
    three.cinder("backup-restore", found[0], "--name", "by cinder")
    three.settle()
    assert_holds(three.image(three.volume_id("by%20cinder")), content)


def test_a_second_service_restores_what_it_imports_from_the_same_swift_container(
    single: RunningService, place: SwiftPlace, swift: SwiftServer, tmp_path: Path
) -> None:
    backup = single.create()
    single.settle()
    record = single.get(f"backups/{backup}/export_record")
    elsewhere = configured(
        tmp_path / "elsewhere", {"volumebackups": place.url}, environment=login(swift)
    )
    trust(elsewhere, single)
    elsewhere.start()
    try:
        elsewhere.post("backups/import_record", record)
        assert elsewhere.backup(backup)["status"] == "available"
        volume = elsewhere.restore(backup)
        assert_holds(elsewhere.image(volume), single.image("disk.img").read_bytes())
    finally:
        elsewhere.stop()


def test_a_backup_outlasts_a_short_absence_of_its_store(
    single: RunningService, swift: SwiftServer
) -> None:
    backup = single.create()
    with single.paused():
        swift.kill("proxy")
    try:
        time.sleep(AWAY_S)
        assert single.get(f"backups/{backup}")["backup"]["status"] == "creating"
    finally:
        swift.restart("proxy")
    assert single.backup(backup)["status"] == "available"
    assert_holds(single.image(single.restore(backup)), single.image("disk.img").read_bytes())


def test_a_store_without_room_is_told_and_the_next_backup_works_when_there_is_some(
    single: RunningService, place: SwiftPlace
) -> None:
    place.ask("post_container", headers={"X-Container-Meta-Quota-Bytes": "1"})
    failed = single.backup(single.create())
    assert (failed["status"], failed["fail_reason"]) == ("error", "the backup store is full")
    assert single.volume(failed["volume_id"])["status"] == "available"
    place.ask("post_container", headers={"X-Container-Meta-Quota-Bytes": ""})
    backup = single.backup(single.create())
    assert backup["status"] == "available"
    assert_holds(single.image(single.restore(backup["id"])), single.image("disk.img").read_bytes())


def test_a_service_that_waits_for_a_store_in_a_job_ends_at_once_when_told(
    single: RunningService, swift: SwiftServer
) -> None:
    backup = single.create()
    with single.paused():
        swift.kill("proxy")
    try:
        wait_until(lambda: "store unavailable, waiting" in single.log)
        single.stop()
        assert single.process.returncode in (0, 130)
    finally:
        swift.restart("proxy")
    single.start()
    row = single.backup(backup)
    assert row["status"] == "error"
    assert row["fail_reason"] == "stopped before it was done"
    assert single.backup(single.create())["status"] == "available"


def test_a_service_that_starts_before_its_store_waits_for_it(
    single: RunningService, swift: SwiftServer
) -> None:
    backup = single.create()
    single.settle()
    single.stop()
    swift.kill("proxy")
    try:
        single.launch()
        wait_until(lambda: "store unavailable, waiting" in single.life_log)
        time.sleep(NOT_OPEN_S)
        assert '"serving"' not in single.life_log
    finally:
        swift.restart("proxy")
    single.wait_until_open()
    assert single.backup(backup)["status"] == "available"


def test_a_service_that_waits_for_its_store_at_the_start_ends_when_told(
    single: RunningService, swift: SwiftServer
) -> None:
    single.stop()
    swift.kill("proxy")
    try:
        single.launch()
        wait_until(lambda: "store unavailable, waiting" in single.life_log)
        single.stop()
        assert single.process.returncode in (0, 130)
    finally:
        swift.restart("proxy")


@pytest.mark.long
def test_a_backup_whose_store_stays_away_ends_in_an_error_that_says_so(
    single: RunningService, place: SwiftPlace, swift: SwiftServer
) -> None:
    single.create()
    single.settle()
    change(single.image("disk.img"))
    backup = single.create()
    with single.paused():
        swift.kill("proxy")
    began = time.monotonic()
    try:
        single.settle(GIVEN_UP_S_MAX)
        print(f"given up after {time.monotonic() - began:.0f} s")  # noqa: T201 - for the design
        row = single.backup(backup)
        assert (row["status"], row["fail_reason"]) == ("error", "the backup store did not answer")
        assert single.volume(row["volume_id"])["status"] == "available"
    finally:
        swift.restart("proxy")
    assert key_count(place, f"backups/{backup}") == 0
    following = single.backup(single.create(incremental=True))
    assert (following["status"], following["is_incremental"]) == ("available", True)
    restored = single.restore(following["id"])
    assert_holds(single.image(restored), single.image("disk.img").read_bytes())


@pytest.mark.long
def test_a_service_whose_store_stays_away_ends_and_says_so(
    single: RunningService, swift: SwiftServer
) -> None:
    single.stop()
    swift.kill("proxy")
    began = time.monotonic()
    try:
        single.launch()
        code = single.process.wait(GIVEN_UP_S_MAX)
        print(f"given up after {time.monotonic() - began:.0f} s")  # noqa: T201 - for the design
        print(single.life_log[-1000:])  # noqa: T201 - for the design
    finally:
        swift.restart("proxy")
    assert code == 5
    assert '"serving"' not in single.life_log


def test_keys_of_the_stores_are_in_no_answer_and_no_file_of_the_service(
    three: RunningService, swift: SwiftServer
) -> None:
    told = [three.ask("POST", "backups", {"backup": {"volume_id": "x", "container": "swift"}})]
    for kind in KINDS:
        backup = three.create(container=kind)
        three.settle()
        told.append(three.ask("GET", f"backups/{backup}/export_record"))
    told += [three.ask("GET", path) for path in ("backups/detail", "volumes/detail", "os-services")]
    texts = [json.dumps(answer.document) for answer in told]
    texts += [page(three, path) for path in ("/metrics", "/openapi.json", "/healthcheck", "/")]
    texts += [three.log, (three.folder / "data/audit.log").read_text()]
    together = "".join(texts)
    assert swift.key not in together
    assert "AUTH_tk" not in together


def page(service: RunningService, path: str) -> str:
    connection = HTTPConnection(service.address.removeprefix("http://"), timeout=10)
    with closing(connection):
        connection.request("GET", path)
        return connection.getresponse().read().decode()


@pytest.mark.parametrize(
    "url",
    [
        "swift://anna:{}@nightly/prod",
        "s3://AKIA:{}@nightly/prod",
        "swift://nightly/prod?key={}",
        "s3://nightly/prod?secret_access_key={}",
        "nobody://anna:{}@nightly/prod?password={}",
    ],
)
def test_a_secret_in_the_url_of_a_container_is_not_repeated(tmp_path: Path, url: str) -> None:
    canary = secrets.token_hex(8)
    service = configured(tmp_path, {"volumebackups": url.replace("{}", canary)})
    service.launch()
    assert service.process.wait(20) not in (0, None)
    assert service.log
    assert canary not in service.log
