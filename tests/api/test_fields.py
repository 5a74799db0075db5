"""The fields of backups by version and role, in the order the API has them."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from backupcore.catalog.status import BackupStatus
from backupcore.service import Service
from tests.api.conftest import A, Client, Json, Shelf, number

SAMPLES = Path(__file__).parent / "samples"
DETAIL = [
    "id", "status", "size", "object_count", "availability_zone", "container", "created_at",
    "updated_at", "name", "description", "fail_reason", "volume_id", "links", "is_incremental",
    "has_dependent_backups", "snapshot_id", "data_timestamp",
]  # fmt: skip
OWNER, METADATA, USER = "os-backup-project-attr:project_id", "metadata", "user_id"
LATER = {
    "3.0": [],
    "3.9": [],
    "3.17": [],
    "3.18": [OWNER],
    "3.42": [OWNER],
    "3.43": [OWNER, METADATA],
    "3.45": [OWNER, METADATA],
    "3.51": [OWNER, METADATA],
    "3.55": [OWNER, METADATA],
    "3.56": [OWNER, METADATA, USER],
    "3.64": [OWNER, METADATA, USER],
    "latest": [OWNER, METADATA, USER],
}


@pytest.fixture(scope="module")
def client(shared: Service) -> Client:
    """A client of a service with one backup, number 2."""
    shelf = Shelf(shared)
    volume_id = shelf.volume(number(1))
    shelf.backup(
        number(2),
        volume_id,
        name="backup001",
        user_id="adam",
        created_at=datetime(2026, 11, 23, 10, 43, 29, tzinfo=UTC),
        data_timestamp=datetime(2026, 11, 23, 10, 43, 29, 291501, tzinfo=UTC),
    )
    return Client(shared)


def _shown(client: Client, **changes: str | None) -> Json:
    found: Json = client.get(f"/backups/{number(2)}", **changes).json["backup"]
    return found


@pytest.mark.parametrize("version", LATER)
def test_an_admin_sees_what_a_microversion_adds(client: Client, version: str) -> None:
    assert list(_shown(client, version=version)) == DETAIL + LATER[version]


@pytest.mark.parametrize("version", LATER)
def test_a_member_sees_no_owners(client: Client, version: str) -> None:
    wanted = [name for name in LATER[version] if name == METADATA]
    assert list(_shown(client, version=version, token="member")) == DETAIL + wanted


@pytest.mark.parametrize("version", [None, "3.64", "3.99", "nonsense"])
def test_v2_knows_no_microversions(client: Client, version: str | None) -> None:
    assert list(_shown(client, version=version, prefix=f"/v2/{A}")) == DETAIL


def test_details_in_a_list_are_those_of_show(client: Client) -> None:
    listed = client.get("/backups/detail", version="3.64").json["backups"]
    assert listed == [_shown(client, version="3.64")]


@pytest.mark.parametrize("time", ["created_at", "data_timestamp"])
def test_times_have_microseconds_and_no_zone(client: Client, time: str) -> None:
    assert re.fullmatch(r"2026-11-23T10:43:29\.\d{6}", _shown(client)[time])


def test_types_are_those_of_the_contract(client: Client) -> None:
    found = _shown(client, version="3.64")
    kinds: dict[type, str] = {
        str: "id status container created_at volume_id data_timestamp",
        int: "size object_count",
        bool: "is_incremental has_dependent_backups",
        list: "links",
        dict: "metadata",
        type(None): "updated_at description fail_reason snapshot_id",
    }
    wrong = [name for kind, names in kinds.items() for name in names.split()
             if type(found[name]) is not kind]  # fmt: skip
    assert wrong == []


@pytest.mark.parametrize(("prefix", "inner"), [
    (f"/v2/{A}", f"/v2/{A}/backups"),
    (f"/v3/{A}", f"/v3/{A}/backups"),
    ("/v3", "/v3/backups"),
])  # fmt: skip
def test_links_are_made_as_the_url_was(client: Client, prefix: str, inner: str) -> None:
    host = "http://falconframework.org"
    bookmark = inner.removeprefix("/v2").removeprefix("/v3")
    assert _shown(client, prefix=prefix)["links"] == [
        {"rel": "self", "href": f"{host}{inner}/{number(2)}"},
        {"rel": "bookmark", "href": f"{host}{bookmark}/{number(2)}"},
    ]


def test_links_do_not_repeat_a_host_that_is_none(client: Client) -> None:
    answer = client.get("/backups", headers={"Host": 'x"><script>'})
    assert "script" not in answer.text


@pytest.mark.parametrize("status", BackupStatus)
def test_every_status_is_shown(client: Client, status: BackupStatus) -> None:
    row_id = number(100 + list(BackupStatus).index(status))
    Shelf(client.service).backup(row_id, number(1), status=status)
    assert client.get(f"/backups/{row_id}").json["backup"]["status"] == status
    client.service.catalog.write(lambda rows: rows.remove_backup(row_id))


@pytest.mark.parametrize("sample", [
    "backup-show.json", "backup-show-3.18.json", "backup-show-3.43.json", "backup-show-3.56.json",
])  # fmt: skip
def test_a_published_document_has_no_field_that_ours_lacks(client: Client, sample: str) -> None:
    document = json.loads((SAMPLES / sample).read_text())["backup"]
    version = sample.removesuffix(".json").removeprefix("backup-show").strip("-") or "3.0"
    assert set(document) - set(_shown(client, version=version)) == set()


@pytest.mark.parametrize("sample", ["backup-create.json", "backup-restore.json"])
def test_a_published_request_passes_the_schemas(client: Client, sample: str) -> None:
    body = json.loads((SAMPLES / sample).read_text())
    path = f"/backups/{number(2)}/restore" if "restore" in body else "/backups"
    assert "could not be found" in client.post(path, body).json["itemNotFound"]["message"]
