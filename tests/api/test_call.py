"""The calls: their codes and bodies, on a service whose jobs do their work."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.conftest import A, Client, Json, opened

IMAGE_BYTES = 3 << 20
CANARY = "canary-of-a-token"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A client of a working service with one volume in it."""
    folder = tmp_path_factory.mktemp("service")
    _image(folder)
    images = {"kind": "directory", "options": {"path": str(folder / "images")}, "project": A}
    unlimited = {"backups": -1, "volumes": -1, "gigabytes": -1, "backup_gigabytes": -1}
    with opened(folder, is_working=True, providers={"images": images}, quotas=unlimited) as service:
        yield Client(service, version="3.64")


@pytest.fixture(scope="module")
def backup_id(client: Client) -> str:
    """An available backup named `full`."""
    return _made(client, name="  full  ")


def _image(folder: Path) -> None:
    (folder / "images").mkdir()
    (folder / "images" / "disk.raw").write_bytes(bytes(range(256)) * (IMAGE_BYTES >> 8))


def _volume_id(client: Client) -> str:
    found: Json = client.get("/volumes/detail?sort=created_at:asc&limit=1").json
    return str(found["volumes"][0]["id"])


def _made(client: Client, **options: object) -> str:
    answer = client.post("/backups", {"backup": {"volume_id": _volume_id(client), **options}})
    assert answer.status_code == 202, answer.text
    made = str(answer.json["backup"]["id"])
    assert client.settled(made)["status"] == "available"
    return made


def _exported(client: Client, backup_id: str, row_id: str | None = None) -> Json:
    """Return a record; row_id: the id that it asks for, as importers may choose."""
    record: Json = client.get(f"/backups/{backup_id}/export_record").json["backup-record"]
    if row_id is not None:
        document = json.loads(base64.b64decode(record["backup_url"])) | {"id": row_id}
        record["backup_url"] = base64.b64encode(json.dumps(document).encode()).decode()
    return record


@pytest.mark.parametrize("prefix", [f"/v2/{A}", f"/v3/{A}", "/v3"])
def test_create_answers_202_with_a_summary(client: Client, prefix: str) -> None:
    body = {"backup": {"volume_id": _volume_id(client), "name": "new"}}
    answer = client.post("/backups", body, prefix=prefix)
    client.settled(answer.json["backup"]["id"])
    assert (answer.status_code, list(answer.json["backup"])) == (202, ["id", "name", "links"])


def test_a_backup_becomes_available_with_its_facts(client: Client, backup_id: str) -> None:
    found = client.settled(backup_id)
    assert found["status"] == "available"
    assert (found["size"], found["object_count"]) == (1, 1)
    assert found["container"] == "volumebackups"
    assert found["data_timestamp"] == found["created_at"]


def test_an_incremental_backup_says_so(client: Client, backup_id: str) -> None:
    made = _made(client, incremental="yes")
    assert client.settled(made)["is_incremental"] is True


def test_show_answers_200_with_a_detail(client: Client, backup_id: str) -> None:
    answer = client.get(f"/backups/{backup_id}")
    assert (answer.status_code, answer.json["backup"]["name"]) == (200, "full")


def test_delete_answers_202_without_a_body(client: Client) -> None:
    made = _made(client)
    answer = client.delete(f"/backups/{made}")
    assert (answer.status_code, answer.content) == (202, b"")
    assert client.settled(made) == {}


@pytest.mark.parametrize("body", [{"restore": {}}, {"restore": None}, {"restore": {"name": None}}])
def test_restore_without_a_volume_makes_one(client: Client, backup_id: str, body: Json) -> None:
    answer = client.post(f"/backups/{backup_id}/restore", body)
    assert answer.status_code == 202
    assert answer.json["restore"] == {
        "backup_id": backup_id,
        "volume_id": answer.json["restore"]["volume_id"],
        "volume_name": f"restore_backup_{backup_id}",
    }
    client.settled(backup_id)


def test_a_restored_volume_is_named_like_its_source(client: Client, backup_id: str) -> None:
    restored = client.post(f"/backups/{backup_id}/restore", {"restore": {}}).json["restore"]
    client.settled(backup_id)
    volume = client.get(f"/volumes/{restored['volume_id']}").json["volume"]
    assert volume["name"] == client.get(f"/volumes/{_volume_id(client)}").json["volume"]["name"]
    assert volume["metadata"] == {"src_backup_id": backup_id}


def test_restore_to_a_volume_takes_it_and_not_the_name(client: Client, backup_id: str) -> None:
    made = client.post("/volumes", {"volume": {"size": 1, "name": "target"}}).json["volume"]["id"]
    body = {"restore": {"volume_id": made.replace("-", "").upper(), "name": "other"}}
    answer = client.post(f"/backups/{backup_id}/restore", body)
    client.settled(backup_id)
    assert answer.json["restore"]["volume_id"] == made
    assert answer.json["restore"]["volume_name"] == "target"


def test_export_answers_200_with_two_texts(client: Client, backup_id: str) -> None:
    answer = client.get(f"/backups/{backup_id}/export_record")
    assert answer.status_code == 200
    assert list(answer.json["backup-record"]) == ["backup_service", "backup_url"]
    assert (
        answer.json["backup-record"]["backup_service"] == "cinder.backup.drivers.backupcore.posix"
    )


def test_import_answers_201_and_the_backup_becomes_available(
    client: Client, backup_id: str
) -> None:
    wanted = "11111111-1111-4111-8111-111111111111"
    body = {"backup-record": _exported(client, backup_id, wanted)}
    answer = client.post("/backups/import_record", body)
    assert (answer.status_code, answer.json["backup"]["id"]) == (201, wanted)
    assert client.settled(wanted)["volume_id"] == _volume_id(client)


def test_a_stored_backup_stays_until_the_last_row_that_names_it_goes(
    client: Client,
) -> None:
    first = _made(client)
    second = "22222222-2222-4222-8222-222222222222"
    client.post("/backups/import_record", {"backup-record": _exported(client, first, second)})
    client.settled(second)
    client.delete(f"/backups/{first}")
    assert client.settled(first) == {}
    assert client.get(f"/backups/{second}/export_record").status_code == 200


def test_import_of_an_id_that_is_there_is_refused(client: Client, backup_id: str) -> None:
    body = {"backup-record": _exported(client, backup_id)}
    answer = client.post("/backups/import_record", body)
    message = answer.json["badRequest"]["message"]
    assert message == "Invalid backup: Backup already exists in database."


@pytest.mark.parametrize("value", [{}, None])
def test_force_delete_answers_202_without_a_body(client: Client, value: object) -> None:
    made = _made(client)
    answer = client.post(f"/backups/{made}/action", {"os-force_delete": value})
    assert (answer.status_code, answer.content) == (202, b"")
    assert client.settled(made) == {}


def test_reset_status_answers_202_and_sets_it(client: Client) -> None:
    made = _made(client)
    answer = client.post(f"/backups/{made}/action", {"os-reset_status": {"status": "ERROR"}})
    assert (answer.status_code, answer.content) == (202, b"")
    assert client.settled(made)["status"] == "error"


def test_update_answers_200_with_a_summary(client: Client) -> None:
    made = _made(client, metadata={"a": "1", "b": "2"})
    body = {"backup": {"name": " new ", "metadata": {"c": "3"}}}
    answer = client.put(f"/backups/{made}", body)
    assert (answer.status_code, answer.json["backup"]["name"]) == (200, "new")
    assert client.settled(made)["metadata"] == {"c": "3"}


def test_an_empty_update_changes_nothing(client: Client, backup_id: str) -> None:
    before = client.settled(backup_id)
    answer = client.put(f"/backups/{backup_id}", {"backup": {}})
    assert (answer.status_code, client.settled(backup_id)) == (200, before)


def test_what_import_record_names_is_read_as_an_id(client: Client) -> None:
    answer = client.get("/backups/import_record")
    assert answer.json["itemNotFound"]["message"] == "Backup import_record could not be found."


@pytest.mark.parametrize("path", ["/backups.json", "/backups/detail.json", "/backups/"])
def test_an_end_of_json_or_a_slash_is_accepted(client: Client, path: str) -> None:
    assert client.get(path).status_code == 200


def test_whatever_is_accepted_the_answer_is_json(client: Client) -> None:
    answer = client.get("/backups", headers={"Accept": "application/xml"})
    assert answer.headers["content-type"] == "application/json"


def test_tokens_and_records_are_never_logged(
    client: Client, backup_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    record = _exported(client, backup_id, "33333333-3333-4333-8333-333333333333")
    client.get("/backups", token=CANARY)
    client.post("/backups/import_record", {"backup-record": record})
    client.settled("33333333-3333-4333-8333-333333333333")
    forged = record | {"backup_url": record["backup_url"][:-8] + "AAAAAAA="}
    client.post("/backups/import_record", {"backup-record": forged})
    seen = "".join(f"{entry.getMessage()}{entry.__dict__}" for entry in caplog.records)
    assert seen
    assert [text for text in (CANARY, record["backup_url"][:60]) if text in seen] == []
