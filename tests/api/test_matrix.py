"""Who may call what: a row for each call and a column for each kind of caller."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backupcore.api.resource import backup, snapshot, surroundings, volume
from backupcore.api.route import PREFIXES, ROUTES, find_route
from backupcore.service import Service
from backupcore.service.policy import RULES
from tests.api.conftest import A, B, Client, Json, Shelf, number, opened

V, S, K = number(1), number(2), number(3)
COLUMNS = ("reader", "member", "admin", "stranger", "nobody")
# What the caller's roles lead to; `stranger` names the same things from a project of its own.
READS = (200, 200, 200, 404, 403)
READS_ANYWHERE = (200, 200, 200, 200, 403)
READS_OWN = (200, 200, 200, 403, 403)
WRITES = (403, 202, 202, 404, 403)
CHANGES = (403, 200, 200, 404, 403)
MAKES_ANYWHERE = (403, 202, 202, 202, 403)
ADMIN_ACTS = (403, 403, 202, 404, 403)
ADMIN_READS = (403, 403, 200, 403, 403)

BODIES: dict[str, Json] = {
    "backup-create": {"backup": {"volume_id": V}},
    "backup-restore": {"restore": {"volume_id": V}},
    "backup-import": {"backup-record": {"backup_service": "x", "backup_url": "e30="}},
    "backup-update": {"backup": {"name": "n"}},
    "volume-create": {"volume": {"size": 1}},
    "volume-update": {"volume": {"name": "n"}},
    "snapshot-create": {"snapshot": {"volume_id": V}},
    "snapshot-update": {"snapshot": {"name": "n"}},
    "quota-set": {"quota_set": {"backups": 7}},
}
MATRIX: dict[str, tuple[int, ...]] = {
    "GET /backups": READS_ANYWHERE,
    "GET /backups/detail": READS_ANYWHERE,
    "GET /backups/{backup_id}": READS,
    "POST /backups": WRITES,
    "PUT /backups/{backup_id}": CHANGES,
    "DELETE /backups/{backup_id}": WRITES,
    "POST /backups/{backup_id}/restore": WRITES,
    "GET /backups/{backup_id}/export_record": (403, 403, 400, 404, 403),  # nothing is stored
    "GET /backups/import_record": (404,) * 5,
    "POST /backups/import_record": (403, 403, 400, 403, 403),  # the record is none
    "POST /backups/{backup_id}/action os-force_delete": ADMIN_ACTS,
    "POST /backups/{backup_id}/action os-reset_status": ADMIN_ACTS,
    "GET /volumes": READS_ANYWHERE,
    "GET /volumes/detail": READS_ANYWHERE,
    "GET /volumes/{volume_id}": READS,
    "POST /volumes": MAKES_ANYWHERE,
    "PUT /volumes/{volume_id}": CHANGES,
    "DELETE /volumes/{volume_id}": (403, 400, 400, 404, 403),  # it has a snapshot
    "POST /volumes/{volume_id}/action os-attach": WRITES,
    "POST /volumes/{volume_id}/action os-detach": (403, 400, 400, 404, 403),  # it is not attached
    "POST /volumes/{volume_id}/action os-reset_status": ADMIN_ACTS,
    "GET /snapshots": READS_ANYWHERE,
    "GET /snapshots/detail": READS_ANYWHERE,
    "GET /snapshots/{snapshot_id}": READS,
    "POST /snapshots": WRITES,
    "PUT /snapshots/{snapshot_id}": CHANGES,
    "DELETE /snapshots/{snapshot_id}": WRITES,
    "POST /snapshots/{snapshot_id}/action os-reset_status": ADMIN_ACTS,
    "GET /os-quota-sets/{target_id}": READS_OWN,
    "GET /os-quota-sets/{target_id}/defaults": READS_ANYWHERE,
    "PUT /os-quota-sets/{target_id}": ADMIN_READS,
    "DELETE /os-quota-sets/{target_id}": ADMIN_READS,
    "GET /limits": READS_ANYWHERE,
    "GET /os-availability-zone": READS_ANYWHERE,
    "GET /extensions": READS_ANYWHERE,
    "GET /os-services": ADMIN_READS,
    "GET /types": READS_ANYWHERE,
    "GET /types/{type_id}": READS_ANYWHERE,
    "GET /messages": READS_ANYWHERE,
}  # fmt: skip
IDS = {"backup_id": K, "volume_id": V, "snapshot_id": S, "target_id": A, "type_id": "default"}
MODULES = (backup, volume, snapshot, surroundings)
OF_ROUTE = {name: name.split()[0] + " " + name.split()[1] for name in MATRIX}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with opened(tmp_path_factory.mktemp("service")) as service:
        yield service


@pytest.fixture
def bare(home: Service) -> Client:
    """A client for requests that reach nothing."""
    return Client(home, version="3.64")


@pytest.fixture
def client(home: Service, request: pytest.FixtureRequest) -> Iterator[Client]:
    """A client of a service with a volume, a snapshot and a backup, as they were before."""
    client = Client(home, version="3.64")
    if client.get(f"/backups/{K}").status_code == 404:
        _clear(home)
        shelf = Shelf(home)
        shelf.volume(V)
        shelf.snapshot(S, V)
        shelf.backup(K, V)
    yield client
    if not request.node.name.split("[")[-1].startswith("GET"):
        _clear(home)


def _clear(service: Service) -> None:
    client = Client(service, version="3.64")
    for token, prefix in (("admin", f"/v3/{A}"), ("stranger", f"/v3/{B}")):
        for kind in ("backup", "snapshot", "volume"):
            found = client.get(f"/{kind}s", token=token, prefix=prefix).json[f"{kind}s"]
            with service.catalog.writing() as rows:
                remove = getattr(rows, f"remove_{kind}")
                for row in found:
                    remove(row["id"])


def _send(client: Client, name: str, **changes: Any) -> int:
    method, path, *action = name.split()
    route = next(route for route in ROUTES if route.name == f"{method} {path}")
    body = BODIES.get(route.body or "")
    if action:
        status = {"status": "error"} if action[0] == "os-reset_status" else {}
        body = {action[0]: status}
    return client.send(method, path.format(**IDS), body, **changes).status_code


@pytest.mark.parametrize("who", COLUMNS)
@pytest.mark.parametrize("name", MATRIX)
def test_a_role_leads_to_the_code_of_the_table(client: Client, name: str, who: str) -> None:
    prefix = f"/v3/{B if who == 'stranger' else A}"
    assert _send(client, name, token=who, prefix=prefix) == MATRIX[name][COLUMNS.index(who)]


@pytest.mark.parametrize("token", [None, "unknown"])
@pytest.mark.parametrize("name", MATRIX)
def test_nobody_known_gets_nowhere(bare: Client, name: str, token: str | None) -> None:
    bare.token = token
    assert _send(bare, name) == 401


@pytest.mark.parametrize(
    "who", [pytest.param(who, marks=[pytest.mark.long] * (who != "admin")) for who in COLUMNS]
)
@pytest.mark.parametrize("name", MATRIX)
def test_the_project_of_a_url_is_the_tokens(bare: Client, name: str, who: str) -> None:
    assert _send(bare, name, token=who, prefix=f"/v3/{'c' * 32}") == 400


def test_every_call_has_a_row() -> None:
    assert {route.name for route in ROUTES} == set(OF_ROUTE.values())


def test_every_responder_stands_in_the_table_of_calls(home: Service) -> None:
    found = {
        f"{name.removeprefix('on_').upper()} {path}"
        for module in MODULES
        for path, resource in module.routes(home).items()
        for name, _ in inspect.getmembers(resource, callable)
        if name.startswith("on_") and find_route(name[3:].upper(), PREFIXES[0] + path)
    }
    assert found == {route.name for route in ROUTES}


def test_every_call_has_rules_that_exist() -> None:
    assert [route.name for route in ROUTES if not set(route.rules) <= set(RULES)] == []
    assert [route.name for route in ROUTES if not route.rules] == []


def test_a_responder_that_is_not_in_the_table_is_shut(client: Client) -> None:
    assert client.post("/backups/detail", {"backup": {"volume_id": V}}).status_code == 404


@pytest.fixture(scope="module")
def shut(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A client of a service whose policy lets nobody do anything."""
    folder: Path = tmp_path_factory.mktemp("shut")
    (folder / "policy.yaml").write_text("".join(f'"{rule}": "!"\n' for rule in RULES))
    auth = {"kind": "none", "policy_file": str(folder / "policy.yaml")}
    with opened(folder, api={"auth": auth}) as service:
        shelf = Shelf(service)
        shelf.volume(V)
        shelf.snapshot(S, V)
        shelf.backup(K, V)
        yield Client(service, version="3.64")


@pytest.mark.parametrize("name", MATRIX)
def test_no_call_goes_past_the_policy(shut: Client, name: str) -> None:
    assert _send(shut, name) == (404 if name == "GET /backups/import_record" else 403)
