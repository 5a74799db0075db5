"""Clients that log in at a real Keystone as their users do, and whom the service lets in."""

from __future__ import annotations

import base64
import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.clients.cloud import Cloud, run, serving
from tests.clients.conftest import assert_holds, change, client
from tests.clients.test_cinder import value
from tests.clients.test_openstack import SDK_SESSION, needs_sdk
from tests.servers.keystone import Keystone, keystone, need_keystone
from tests.servers.process import free_port

pytestmark = [pytest.mark.long, need_keystone()]

RULE = {"service": "block-storage", "method": "GET", "path": "/v3/*/backups/detail"}


@pytest.fixture(scope="module")
def place() -> Iterator[tuple[Keystone, int]]:
    """A Keystone and the port where its catalogue says that backups are served."""
    with keystone() as running:
        port = free_port()
        address = f"http://127.0.0.1:{port}"
        running.offer("block-storage", f"{address}/v3/%(project_id)s")
        running.offer("volumev3", f"{address}/v3/%(project_id)s")
        running.offer("volumev2", f"{address}/v2/%(project_id)s")
        yield running, port


@pytest.fixture
def cloud(place: tuple[Keystone, int], tmp_path: Path) -> Iterator[Cloud]:
    """A service with one volume `disk.img` of project demo."""
    running, port = place
    with serving(running, port, tmp_path) as cloud:
        yield cloud


@pytest.fixture
def hasty_cloud(place: tuple[Keystone, int], tmp_path: Path) -> Iterator[Cloud]:
    """One that waits seconds for Keystone, and asks it about each request."""
    running, port = place
    options = {"http_connect_timeout": "5", "token_cache_time": "-1"}
    with serving(running, port, tmp_path, **options) as cloud:
        yield cloud


def back_up(cloud: Cloud, token: str) -> str:
    """Make a backup of disk.img by plain requests and return its id."""
    volume = cloud.ask(token, "GET", "volumes/detail?name=disk.img")[2]["volumes"][0]["id"]
    wanted = {"backup": {"volume_id": volume, "name": "plain"}}
    status, _, answer = cloud.ask(token, "POST", "backups", wanted)
    assert status == 202
    assert [row["status"] for row in cloud.settle(token)] == ["available"]
    return str(answer["backup"]["id"])


def rename(record: str) -> tuple[str, str]:
    """Return a record under another id, and that id."""
    document = json.loads(base64.b64decode(record))
    document["id"] = str(uuid4())
    return base64.b64encode(json.dumps(document).encode()).decode(), document["id"]


@client("cinder")
def test_cinder_with_a_password_backs_up_lists_restores_and_deletes(cloud: Cloud) -> None:
    login, token = cloud.keystone.variables("member"), cloud.keystone.token("member")
    first = value(run("cinder", login, "backup-create", "disk.img", "--name", "full"), "id")
    cloud.settle(token)
    content = change(cloud.images / "disk.img")
    made = run("cinder", login, "backup-create", "disk.img", "--name", "next", "--incremental")
    second = value(made, "id")
    cloud.settle(token)
    listed = run("cinder", login, "backup-list")
    assert first in listed
    assert second in listed
    assert value(run("cinder", login, "backup-show", "next"), "is_incremental") == "True"
    run("cinder", login, "backup-delete", first)
    assert [row["id"] for row in cloud.settle(token)] == [second]
    restored = value(run("cinder", login, "backup-restore", second), "volume_id")
    cloud.settle(token)
    assert_holds(cloud.image(restored), content)


@client("cinder")
def test_cinder_as_admin_exports_and_imports_a_record(cloud: Cloud) -> None:
    login, token = cloud.keystone.variables("admin"), cloud.keystone.token("admin")
    original = value(run("cinder", login, "backup-create", "disk.img"), "id")
    cloud.settle(token)
    exported = run("cinder", login, "backup-export", original)
    record, copy = rename(value(exported, "backup_url"))
    run("cinder", login, "backup-import", value(exported, "backup_service"), record)
    assert {row["id"] for row in cloud.settle(token)} == {original, copy}


@client("openstack")
@pytest.mark.parametrize("kind", ["password", "application"])
def test_openstack_backs_up_lists_restores_and_deletes(cloud: Cloud, kind: str) -> None:
    keystone, token = cloud.keystone, cloud.keystone.token("member")
    is_password = kind == "password"
    login = keystone.variables("member") if is_password else keystone.application("member", "osc")

    def ask(*arguments: str) -> Any:
        return json.loads(run("openstack", login, "volume", "backup", *arguments, "-f", "json"))

    first = ask("create", "disk.img", "--name", "full")["id"]
    cloud.settle(token)
    content = change(cloud.images / "disk.img")
    second = ask("create", "disk.img", "--name", "next", "--incremental")["id"]
    cloud.settle(token)
    assert {row["ID"] for row in ask("list")} == {first, second}
    assert ask("show", "next")["is_incremental"] is True
    run("openstack", login, "volume", "backup", "delete", first)
    assert [row["id"] for row in cloud.settle(token)] == [second]
    restored = ask("restore", second, "fresh")["volume_id"]
    cloud.settle(token)
    assert_holds(cloud.image(restored), content)


@client("openstack")
@client("cinder")
def test_cinder_imports_as_admin_what_openstack_exported(cloud: Cloud) -> None:
    login, token = cloud.keystone.variables("admin"), cloud.keystone.token("admin")
    original = back_up(cloud, token)
    words = ("volume", "backup", "record", "export", original, "-f", "json")
    exported = json.loads(run("openstack", login, *words))
    record, copy = rename(exported["backup_url"])
    run("cinder", login, "backup-import", exported["backup_service"], record)
    assert {row["id"] for row in cloud.settle(token)} == {original, copy}


@client("openstack")
def test_openstack_finds_version_2_in_the_catalogue(cloud: Cloud) -> None:
    backup = back_up(cloud, cloud.keystone.token("member"))
    login = {**cloud.keystone.variables("member"), "OS_VOLUME_API_VERSION": "2"}
    listed = run("openstack", login, "volume", "backup", "list", "-f", "json")
    assert [row["ID"] for row in json.loads(listed)] == [backup]
    log = (cloud.folder / "log").read_text()
    assert f'"path": "/v2/{cloud.keystone.projects["demo"]}/backups/detail"' in log


@needs_sdk
@pytest.mark.parametrize("kind", ["password", "application"])
def test_the_sdk_backs_up_lists_restores_and_deletes(cloud: Cloud, kind: str) -> None:
    keystone = cloud.keystone
    is_password = kind == "password"
    login = keystone.variables("admin") if is_password else keystone.application("admin", "sdk")
    content = (cloud.images / "disk.img").read_bytes()
    told = json.loads(run("python", login, str(SDK_SESSION)))
    assert told["listed"] == [told["copy"]]
    assert_holds(cloud.image(told["volume_id"]), content)


def test_another_project_neither_sees_nor_reaches_a_backup(cloud: Cloud) -> None:
    backup = back_up(cloud, cloud.keystone.token("member"))
    stranger = cloud.keystone.token("stranger", "other")

    def status(method: str, path: str, body: object = None) -> int:
        return cloud.ask(stranger, method, path, body, project="other")[0]

    assert cloud.ask(stranger, "GET", "backups", project="other")[2] == {"backups": []}
    assert status("GET", f"backups/{backup}") == 404
    assert status("DELETE", f"backups/{backup}") == 404
    assert status("POST", f"backups/{backup}/restore", {"restore": {}}) == 404


def test_a_token_opens_only_the_paths_of_its_own_project(cloud: Cloud) -> None:
    assert cloud.status(cloud.keystone.token("stranger", "other"), "GET", "backups") == 400


@pytest.mark.parametrize(
    ("user", "listing", "creating", "exporting"),
    [("nobody", 403, 403, 403), ("reader", 200, 403, 403), ("member", 200, 202, 403),
     ("admin", 200, 202, 200)],
)  # fmt: skip
def test_roles_of_keystone_decide_what_somebody_may_do(
    cloud: Cloud, user: str, listing: int, creating: int, exporting: int
) -> None:
    member, token = cloud.keystone.token("member"), cloud.keystone.token(user)
    backup = back_up(cloud, member)
    volume = cloud.ask(member, "GET", f"backups/{backup}")[2]["backup"]["volume_id"]
    wanted = {"backup": {"volume_id": volume}}
    assert cloud.status(token, "GET", "backups") == listing
    assert cloud.status(token, "POST", "backups", wanted) == creating
    assert cloud.status(token, "GET", f"backups/{backup}/export_record") == exporting
    cloud.settle(member)


def test_who_proves_nothing_is_told_where_to_log_in(cloud: Cloud) -> None:
    keystone = cloud.keystone
    revoked = keystone.token("member")
    keystone.revoke(revoked)
    for token in (revoked, "garbage", "", "gAAAAAB" + "x" * 170, keystone.token("member", None)):
        status, headers, _ = cloud.ask(token, "GET", "backups")
        assert status == 401, token
        assert headers["www-authenticate"] == f'Keystone uri="{keystone.url}"'
        assert headers["x-openstack-request-id"].startswith("req-")


def test_a_revoked_token_is_refused_at_once_when_none_is_kept(hasty_cloud: Cloud) -> None:
    token = hasty_cloud.keystone.token("member")
    assert hasty_cloud.status(token, "GET", "backups") == 200
    hasty_cloud.keystone.revoke(token)
    assert hasty_cloud.status(token, "GET", "backups") == 401


def test_who_somebody_is_cannot_be_claimed(cloud: Cloud) -> None:
    claims = {"X_Roles": "admin", "X_Identity_Status": "Confirmed", "X_User_Id": "root"}
    project = {"X_Project_Id": cloud.keystone.projects["demo"]}
    assert cloud.status("", "GET", "backups", **claims, **project) == 401
    reader = cloud.keystone.token("reader")
    wanted = {"backup-record": {"backup_service": "s", "backup_url": "eA=="}}
    assert cloud.status(reader, "POST", "backups/import_record", wanted, **claims) == 403


def test_a_service_lends_an_expired_token_its_own(cloud: Cloud) -> None:
    keystone = cloud.keystone
    with keystone.issuing_for(2) as url:
        expired = keystone.token("member", url=url)
    time.sleep(2.5)
    service = keystone.token("backupcore", "service")
    another = keystone.token("admin")
    assert cloud.status(expired, "GET", "backups") == 401
    assert cloud.status(expired, "GET", "backups", X_Service_Token=another) == 401
    assert cloud.status(expired, "GET", "backups", X_Service_Token="garbage") == 401
    assert cloud.status(expired, "GET", "backups", X_Service_Token=service) == 200
    assert cloud.status(expired, "GET", "backups") == 401


def test_a_service_token_alone_opens_nothing(cloud: Cloud) -> None:
    service = cloud.keystone.token("backupcore", "service")
    assert cloud.status("", "GET", "backups", X_Service_Token=service) == 401


def test_an_application_credential_with_rules_opens_what_they_say(cloud: Cloud) -> None:
    login = cloud.keystone.application("member", "ruled", rules=[RULE])
    token = cloud.keystone.application_token(login)
    assert cloud.status(token, "GET", "backups/detail") == 200
    assert cloud.status(token, "GET", "volumes/detail") == 401


def test_while_keystone_is_away_requests_may_be_repeated_later(hasty_cloud: Cloud) -> None:
    keystone = hasty_cloud.keystone
    token = keystone.token("member")
    keystone.server.kill()
    try:
        assert hasty_cloud.status(token, "GET", "backups") == 503
    finally:
        keystone.restart()
    assert hasty_cloud.status(token, "GET", "backups") == 200
    keystone.server.kill()
    try:
        assert hasty_cloud.status(token, "GET", "backups") == 503
    finally:
        keystone.restart()
    assert hasty_cloud.status(token, "GET", "backups") == 200


def test_a_keystone_that_hangs_holds_nobody_up_for_ever(hasty_cloud: Cloud) -> None:
    token, process = hasty_cloud.keystone.token("member"), hasty_cloud.keystone.server.process
    process.send_signal(signal.SIGSTOP)
    try:
        began_s = time.monotonic()
        assert hasty_cloud.status(token, "GET", "backups") == 503
        assert time.monotonic() - began_s < 40
    finally:
        process.send_signal(signal.SIGCONT)
    assert hasty_cloud.status(token, "GET", "backups") == 200


def test_who_was_seen_lately_comes_in_while_keystone_is_away(cloud: Cloud) -> None:
    token = cloud.keystone.token("member")
    assert cloud.status(token, "GET", "backups") == 200
    cloud.keystone.server.kill()
    try:
        assert cloud.status(token, "GET", "backups") == 200
    finally:
        cloud.keystone.restart()
