"""Volumes that are made from backups, and backups of other projects' volumes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.conftest import GIB, A, B, Client, Json, fault, number, opened

IMAGE = bytes(range(256)) * 4096
PREFIX_B = f"/v3/{B}"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A client of a working service with one volume, `disk.raw`."""
    folder = tmp_path_factory.mktemp("service")
    (folder / "images").mkdir()
    (folder / "images" / "disk.raw").write_bytes(IMAGE)
    images = {"kind": "directory", "options": {"path": str(folder / "images")}, "project": A}
    with opened(folder, is_working=True, providers={"images": images}) as service:
        yield Client(service, version="3.47", token="member")


@pytest.fixture(scope="module")
def backup_id(client: Client) -> str:
    """An available backup of the volume."""
    made = client.post("/backups", {"backup": {"volume_id": _disk(client)}}).json["backup"]["id"]
    assert client.settled(made)["status"] == "available"
    return str(made)


def _disk(client: Client) -> str:
    return str(client.get("/volumes?name=disk.raw&sort=created_at:asc").json["volumes"][0]["id"])


def _made(client: Client, backup_id: str, **wish: object) -> tuple[Json, Json]:
    """Return a volume made from a backup, as it was answered and when it is filled."""
    answer = client.post("/volumes", {"volume": {"backup_id": backup_id, **wish}})
    assert answer.status_code == 202, answer.text
    told: Json = answer.json["volume"]
    client.settled(backup_id)
    found: Json = client.get(f"/volumes/{told['id']}").json["volume"]
    client.delete(f"/volumes/{told['id']}")
    return told, found


def _file(client: Client, volume_id: str) -> Path:
    folder = str(client.service.settings.providers["images"].options["path"])
    return Path(folder) / f"volume-{volume_id}"


def test_a_volume_is_made_from_a_backup_and_of_its_size(client: Client, backup_id: str) -> None:
    answer = client.post("/volumes", {"volume": {"backup_id": backup_id, "name": "fresh"}})
    told = answer.json["volume"]
    client.settled(backup_id)
    assert (answer.status_code, told["size"], told["name"]) == (202, 1, "fresh")
    with _file(client, told["id"]).open("rb") as file:
        assert file.read(len(IMAGE) + 9) == IMAGE + bytes(9)
    client.delete(f"/volumes/{told['id']}")


def test_what_the_request_says_of_the_volume_counts(client: Client, backup_id: str) -> None:
    wish = {"name": " new ", "description": "of it", "metadata": {"k": "v"}, "size": "2",
            "volume_type": "fast"}  # fmt: skip
    told, found = _made(client, backup_id, **wish)
    assert (told["size"], told["name"], told["description"]) == (2, "new", "of it")
    assert (found["status"], found["size"], found["name"]) == ("available", 2, "new")
    assert found["metadata"] == {"k": "v", "src_backup_id": backup_id}
    assert (found["description"], found["volume_type"]) == ("of it", "fast")


@pytest.mark.parametrize("wish", [{}, {"size": None, "name": None, "metadata": None}])
def test_a_volume_without_a_name_is_named_as_a_restored_one(
    client: Client, backup_id: str, wish: Json
) -> None:
    told, found = _made(client, backup_id, **wish)
    assert told["name"] == f"restore_backup_{backup_id}"
    assert found["name"] == "disk.raw"


def test_a_volume_that_the_backup_does_not_fit_in_is_refused(
    client: Client, backup_id: str
) -> None:
    with client.service.catalog.writing() as rows:
        rows.edit_backup(backup_id, size=5, size_bytes=5 * GIB)
    answer = client.post("/volumes", {"volume": {"backup_id": backup_id, "size": 4}})
    said = "Invalid volume: volume size 4 is too small to restore backup of size 5."
    with client.service.catalog.writing() as rows:
        rows.edit_backup(backup_id, size=1, size_bytes=len(IMAGE))
    assert fault(answer) == ("badRequest", 400, said)


def test_a_volume_is_not_made_from_a_backup_that_is_not_there(client: Client) -> None:
    answer = client.post("/volumes", {"volume": {"backup_id": number(99)}})
    said = f"Backup {number(99)} could not be found."
    assert fault(answer) == ("itemNotFound", 404, said)


def test_who_may_not_restore_makes_no_volume_from_a_backup(client: Client, backup_id: str) -> None:
    body = {"volume": {"backup_id": backup_id}}
    assert client.post("/volumes", body, token="reader").status_code == 403
    assert client.post("/volumes", body, token="stranger", prefix=PREFIX_B).status_code == 404


def test_a_volume_has_a_size_or_a_backup(client: Client) -> None:
    for body in ({}, {"size": None, "backup_id": None}):
        answer = client.post("/volumes", {"volume": body})
        assert fault(answer) == ("badRequest", 400, "'size' is a required property")


def test_a_target_smaller_by_bytes_is_refused_in_bytes(client: Client, backup_id: str) -> None:
    other = client.service.settings.providers["images"].options["path"]
    (Path(str(other)) / "small.raw").write_bytes(IMAGE[:-1])
    client.service.volumes.adopt()
    small = client.get("/volumes?name=small.raw").json["volumes"][0]["id"]
    answer = client.post(f"/backups/{backup_id}/restore", {"restore": {"volume_id": small}})
    said = (
        f"Invalid volume: volume size {len(IMAGE) - 1} bytes is too small to restore backup of "
        f"size {len(IMAGE)} bytes."
    )
    assert fault(answer) == ("badRequest", 400, said)


def test_an_admin_backs_up_a_volume_of_another_project(client: Client) -> None:
    made = client.post("/volumes", {"volume": {"size": 1}}, token="stranger", prefix=PREFIX_B)
    volume_id = made.json["volume"]["id"]
    body = {"backup": {"volume_id": volume_id}}
    assert client.post("/backups", body).status_code == 404
    answer = client.post("/backups", body, token="admin")
    assert answer.status_code == 202
    assert client.settled(answer.json["backup"]["id"])["volume_id"] == volume_id
    volume = client.get(f"/volumes/{volume_id}", token="stranger", prefix=PREFIX_B).json["volume"]
    assert volume["status"] == "available"
