"""Discovery, microversions, what is open to anybody, and the headers of every answer."""

from __future__ import annotations

import re

import pytest
from falcon.testing import Result

from backupcore.api.access import OpenAccess
from backupcore.service import Service
from tests.api.conftest import A, Client, fault

REQUEST_ID = re.compile(r"req-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
HEADER = "OpenStack-API-Version"
HOST = "http://falconframework.org"
V3 = {
    "id": "v3.0",
    "status": "CURRENT",
    "version": "3.64",
    "min_version": "3.0",
    "updated": "2023-08-31T00:00:00Z",
    "links": [
        {"rel": "describedby", "type": "text/html", "href": "https://docs.openstack.org/"},
        {"rel": "self", "href": f"{HOST}/v3/"},
    ],
    "media-types": [
        {"base": "application/json", "type": "application/vnd.openstack.volume+json;version=3"}
    ],
}
V2_DIFFERS = {"id": "v2.0", "status": "DEPRECATED", "version": "", "min_version": ""}


@pytest.fixture(scope="module")
def client(shared: Service) -> Client:
    return Client(shared)


@pytest.mark.parametrize(("path", "code", "ids"), [
    ("/", 300, ["v2.0", "v3.0"]),
    ("/v2", 200, ["v2.0"]),
    ("/v2/", 200, ["v2.0"]),
    ("/v3", 200, ["v3.0"]),
    ("/v3/", 200, ["v3.0"]),
])  # fmt: skip
def test_versions_are_told_to_anybody(client: Client, path: str, code: int, ids: list[str]) -> None:
    answer = Client(client.service, token=None).get(path, prefix="")
    assert (answer.status_code, [entry["id"] for entry in answer.json["versions"]]) == (code, ids)


def test_v3_is_current(client: Client) -> None:
    assert client.get("/v3/", prefix="").json == {"versions": [V3]}


def test_v2_is_deprecated_and_has_no_microversions(client: Client) -> None:
    (entry,) = client.get("/v2/", prefix="").json["versions"]
    assert {name: entry[name] for name in V2_DIFFERS} == V2_DIFFERS
    assert entry["updated"] == "2017-02-25T12:00:00Z"


@pytest.mark.parametrize(("asked", "spoken"), [
    (None, "3.0"), ("volume 3.0", "3.0"), ("volume 3.64", "3.64"), ("volume latest", "3.64"),
    ("compute 2.1", "3.0"), ("compute 2.1, volume 3.9", "3.9"), ("volume", "3.0"),
])  # fmt: skip
def test_an_answer_tells_what_it_speaks(client: Client, asked: str | None, spoken: str) -> None:
    answer = client.get("/backups", headers={HEADER: asked} if asked else {})
    assert answer.status_code == 200
    assert answer.headers[HEADER] == f"volume {spoken}"
    assert answer.headers["Vary"] == HEADER


@pytest.mark.parametrize("asked", ["3.65", "3.99", "2.0", "4.0", "0.0"])
def test_a_microversion_that_is_not_spoken_is_406(client: Client, asked: str) -> None:
    message = f"Version {asked} is not supported by the API. Minimum is 3.0 and maximum is 3.64."
    assert fault(client.get("/backups", version=asked)) == ("computeFault", 406, message)


@pytest.mark.parametrize("asked", ["3", "3.x", "x", "3.1.2", "-3.1", "3.٣"])
def test_a_microversion_that_is_none_is_400(client: Client, asked: str) -> None:
    headers = {HEADER: f"volume {asked}".encode().decode("latin-1")}
    name, code, message = fault(client.get("/backups", headers=headers))
    assert (name, code) == ("badRequest", 400)
    assert "is of invalid format" in message


def _answers(client: Client) -> dict[str, Result]:
    return {
        "list": client.get("/backups"),
        "v2": client.get("/backups", prefix=f"/v2/{A}"),
        "not found": client.get("/backups/x"),
        "no such path": client.get("/nothing"),
        "no such method": client.send("PATCH", "/backups"),
        "head": client.send("HEAD", "/backups"),
        "unauthorized": client.get("/backups", token="unknown"),
        "not acceptable": client.get("/backups", version="3.99"),
        "malformed version": client.get("/backups", version="x"),
        "malformed body": client.post("/backups", raw=b"{"),
        "too large": client.post("/backups", raw=b" " * 200_000),
        "accepted": client.post("/volumes", {"volume": {"size": 1}}),
        "versions": client.get("/", prefix=""),
        "v3": client.get("/v3", prefix=""),
        "document": client.get("/openapi.json", prefix=""),
    }


def test_every_answer_has_an_id_of_its_own(client: Client) -> None:
    answers = _answers(client)
    ids = {name: answer.headers["x-openstack-request-id"] for name, answer in answers.items()}
    assert [name for name, value in ids.items() if not REQUEST_ID.fullmatch(value)] == []
    assert {name: answer.headers["x-compute-request-id"] for name, answer in answers.items()} == ids
    assert len(set(ids.values())) == len(ids)


def test_answers_below_v3_and_no_others_tell_the_microversion(client: Client) -> None:
    silent = {"v2", "versions", "document"}
    answers = _answers(client)
    assert {name for name, answer in answers.items() if HEADER not in answer.headers} == silent
    assert {name for name, answer in answers.items() if "Vary" not in answer.headers} == silent


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "PATCH", "TRACE", "PUT", "DELETE"])
@pytest.mark.parametrize("path", ["/backups", "/backups/detail", "/limits"])
def test_methods_that_are_not_are_404(client: Client, method: str, path: str) -> None:
    answer = client.send(method, path)
    assert answer.status_code == 404
    assert method == "HEAD" or fault(answer)[2] == "The resource could not be found."


@pytest.mark.parametrize("path", ["/v1", "/v3x/a/backups", "/v2/backups", "/v3/a/b/c", "/docs/x"])
def test_paths_that_are_not_are_404(client: Client, path: str) -> None:
    answer = client.get(path, prefix="")
    assert fault(answer) == ("itemNotFound", 404, "The resource could not be found.")


@pytest.mark.parametrize("path", ["/", "/v3", "/docs", "/openapi.json"])
def test_what_is_open_is_only_read(client: Client, path: str) -> None:
    assert client.post(path, {}, prefix="").status_code == 404


def test_noauth_without_a_token_hands_one_out(client: Client) -> None:
    answer = Client(client.service, OpenAccess(), token=None).get("/backups")
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["X-Auth-Token"] == "admin:admin"
    assert answer.headers["X-Server-Management-Url"] == f"{HOST}/v3/{A}/backups"
    assert REQUEST_ID.fullmatch(answer.headers["x-openstack-request-id"])


def test_noauth_hands_out_what_the_client_asks_for(client: Client) -> None:
    headers = {"X-Auth-User": "mia", "X-Auth-Project-Id": A}
    answer = Client(client.service, OpenAccess(), token=None).get("/backups", headers=headers)
    assert answer.headers["X-Auth-Token"] == f"mia:{A}"


def test_noauth_repeats_no_name_that_is_none(client: Client) -> None:
    headers = {"X-Auth-User": "a b", "X-Auth-Project-Id": "é" * 9}
    answer = Client(client.service, OpenAccess(), token=None).get("/%0d%0aX:1", headers=headers)
    assert answer.headers.get("X-Auth-Token", "admin:admin") == "admin:admin"
    assert not [value for value in answer.headers.values() if "\n" in value]


@pytest.mark.parametrize(("token", "project"), [(f"mia:{A}", A), (A, A), (f"mia:{A}:x", None)])
def test_noauth_believes_the_token(client: Client, token: str, project: str | None) -> None:
    answer = Client(client.service, OpenAccess(), token=token).get("/backups")
    assert answer.status_code == (200 if project == A else 400)
