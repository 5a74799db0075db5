"""The calls around backups that clients make: volumes, snapshots, quotas and what else they ask."""

from __future__ import annotations

import pytest

from backupcore.service import Service
from tests.api.conftest import A, Client, Shelf, fault, number

V, S = number(1), number(2)
VOLUME_FIELDS = [
    "id", "status", "size", "availability_zone", "created_at", "updated_at", "name",
    "description", "volume_type", "snapshot_id", "source_volid", "metadata", "links", "user_id",
    "bootable", "encrypted", "replication_status", "consistencygroup_id", "multiattach",
    "attachments",
]  # fmt: skip
ADMIN_FIELDS = {
    "migration_status", "os-vol-host-attr:host", "os-vol-mig-status-attr:migstat",
    "os-vol-mig-status-attr:name_id",
}  # fmt: skip
TENANT = "os-vol-tenant-attr:tenant_id"
NULLS = dict.fromkeys(
    ("name", "description", "metadata", "snapshot_id", "source_volid", "imageRef", "volume_type",
     "availability_zone", "consistencygroup_id")
)  # fmt: skip


@pytest.fixture
def client(service: Service) -> Client:
    """A client of a service with a volume and a snapshot of it."""
    shelf = Shelf(service)
    shelf.volume(V, name="data")
    shelf.snapshot(S, V, name="snap")
    return Client(service)


def test_an_admin_sees_every_field_of_a_volume(client: Client) -> None:
    found = client.get(f"/volumes/{V}").json["volume"]
    assert set(found) == {*VOLUME_FIELDS, *ADMIN_FIELDS, TENANT}
    assert (found["bootable"], found["encrypted"]) == ("false", False)


def test_a_member_sees_no_hosts(client: Client) -> None:
    found = client.get(f"/volumes/{V}", token="member").json["volume"]
    assert set(found) == {*VOLUME_FIELDS, TENANT}


@pytest.mark.parametrize(("version", "added"), [
    ("3.12", set()), ("3.13", {"group_id"}), ("3.48", {"service_uuid", "shared_targets"}),
    ("3.63", {"volume_type_id"}),
])  # fmt: skip
def test_microversions_add_to_volumes(client: Client, version: str, added: set[str]) -> None:
    found = client.get(f"/volumes/{V}", token="member", version=version).json["volume"]
    assert added <= set(found)
    assert added or set(found) == {*VOLUME_FIELDS, TENANT}


@pytest.mark.parametrize("size", [1, "1"])
def test_a_volume_is_made_with_nulls_for_what_is_not_wanted(
    client: Client, size: int | str
) -> None:
    answer = client.post("/volumes", {"volume": {"size": size, **NULLS}})
    assert (answer.status_code, answer.json["volume"]["size"]) == (202, 1)


@pytest.mark.parametrize("size", [0, -1, "0", "x", None, 1.5, "1.0", True])
def test_a_volume_has_a_whole_size(client: Client, size: object) -> None:
    assert client.post("/volumes", {"volume": {"size": size}}).status_code == 400


@pytest.mark.parametrize("name", ["snapshot_id", "source_volid", "imageRef"])
def test_a_volume_is_made_empty(client: Client, name: str) -> None:
    answer = client.post("/volumes", {"volume": {"size": 1, name: V}})
    assert "volumes are made empty here" in fault(answer)[2]


def test_a_volume_is_found_by_its_name(client: Client) -> None:
    assert client.get("/volumes/data").status_code == 404
    found = client.get("/volumes/detail?name=data&all_tenants=1").json["volumes"]
    assert [volume["id"] for volume in found] == [V]


def test_a_list_of_volumes_links_to_its_next_page(client: Client) -> None:
    document = client.get("/volumes?limit=1").json
    assert list(document["volumes"][0]) == ["id", "name", "links"]
    assert f"marker={V}" in document["volumes_links"][0]["href"]


def test_a_volume_with_a_snapshot_stays(client: Client) -> None:
    assert fault(client.delete(f"/volumes/{V}"))[:2] == ("badRequest", 400)


def test_a_volume_goes_after_its_snapshots(client: Client) -> None:
    client.service.catalog.write(lambda rows: rows.remove_snapshot(S))
    assert client.delete(f"/volumes/{V}").status_code == 202
    assert client.get(f"/volumes/{V}").status_code == 404


def test_a_volume_is_changed(client: Client) -> None:
    answer = client.put(f"/volumes/{V}", {"volume": {"name": " new ", "metadata": {"k": "v"}}})
    assert answer.status_code == 200
    assert (answer.json["volume"]["name"], answer.json["volume"]["metadata"]) == ("new", {"k": "v"})


def test_a_volume_is_attached_and_detached(client: Client) -> None:
    act = f"/volumes/{V}/action"
    body = {"os-attach": {"instance_uuid": number(9), "mountpoint": "/dev/vdb"}}
    assert client.post(act, body).status_code == 202
    assert client.get(f"/volumes/{V}").json["volume"]["status"] == "in-use"
    assert client.post(act, {"os-detach": {}}).status_code == 202
    assert client.get(f"/volumes/{V}").json["volume"]["status"] == "available"


def test_a_snapshot_is_shown_with_its_project(client: Client) -> None:
    found = client.get(f"/snapshots/{S}", token="member").json["snapshot"]
    assert found["os-extended-snapshot-attributes:project_id"] == A
    assert found["os-extended-snapshot-attributes:progress"] == "100%"


def test_quotas_are_those_of_the_operator(client: Client) -> None:
    wanted = {
        "id": A, "backups": 10, "backup_gigabytes": 1000, "volumes": 10, "snapshots": 10,
        "gigabytes": 1000, "per_volume_gigabytes": -1, "groups": 10,
    }  # fmt: skip
    assert client.get(f"/os-quota-sets/{A}").json["quota_set"] == wanted
    assert client.get(f"/os-quota-sets/{A}/defaults").json["quota_set"] == wanted


def test_usage_is_told_beside_the_quotas(client: Client) -> None:
    found = client.get(f"/os-quota-sets/{A}?usage=true").json["quota_set"]
    assert found["volumes"] == {"limit": 10, "in_use": 1, "reserved": 0}


def test_a_quota_is_changed_as_clients_do_it(client: Client) -> None:
    body = {"quota_set": {"tenant_id": A, "backups": "5"}}
    assert client.put(f"/os-quota-sets/{A}", body).json["quota_set"]["backups"] == 5


@pytest.mark.parametrize("groups", [11, "11", -1])
def test_a_quota_that_cannot_be_changed_is_refused(client: Client, groups: object) -> None:
    body = {"quota_set": {"groups": groups}}
    assert client.put(f"/os-quota-sets/{A}", body).status_code == 400


def test_a_deleted_quota_is_that_of_the_operator_again(client: Client) -> None:
    before = client.get(f"/os-quota-sets/{A}").json
    client.put(f"/os-quota-sets/{A}", {"quota_set": {"backups": 5, "volumes": 7}})
    answer = client.delete(f"/os-quota-sets/{A}")
    assert (answer.status_code, answer.content) == (200, b"")
    assert client.get(f"/os-quota-sets/{A}").json == before


def test_limits_tell_what_is_used(client: Client) -> None:
    limits = client.get("/limits").json["limits"]
    assert limits["rate"] == []
    assert limits["absolute"]["maxTotalBackups"] == 10
    assert limits["absolute"]["totalVolumesUsed"] == 1


def test_zones_extensions_services_and_types_are_told(client: Client) -> None:
    assert client.get("/os-availability-zone").json == {
        "availabilityZoneInfo": [{"zoneName": "nova", "zoneState": {"available": True}}]
    }
    extensions = client.get("/extensions").json["extensions"]
    assert "backups" in [extension["alias"] for extension in extensions]
    assert client.get("/os-services").json["services"][0]["binary"] == "cinder-backup"
    assert client.get("/types/default").json["volume_type"]["is_public"] is True
    assert client.get("/types/other").status_code == 404


@pytest.mark.parametrize(("version", "code"), [("3.2", 404), ("3.3", 200)])
def test_messages_are_there_from_3_3(client: Client, version: str, code: int) -> None:
    assert client.get("/messages", version=version).status_code == code
