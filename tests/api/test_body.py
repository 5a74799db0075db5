"""Bodies: what the schemas let pass, and what is refused before a schema sees it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from backupcore.api.wire.body import as_bool
from backupcore.service import Service
from tests.api.conftest import Client, Json, Shelf, fault, number

LIMIT_BYTES = 114_688
TRUE = ["True", "TRUE", "true", "1", "ON", "On", "on", "YES", "Yes", "yes", "y", "t"]
FALSE = ["False", "FALSE", "false", "0", "OFF", "Off", "off", "NO", "No", "no", "n", "f"]
VOLUME, SNAPSHOT, BACKUP = number(1), number(2), number(3)
CREATE = {"volume_id": VOLUME}
IMPORT = {"backup_service": "x", "backup_url": "eA=="}
JSON = {"Content-Type": "application/json"}

GOOD: list[tuple[str, str, Json]] = [
    ("3.0", "/backups", {"backup": {**CREATE, "container": None, "name": None}}),
    ("3.0", "/backups", {"backup": {**CREATE, "container": "volumebackups", "name": "n" * 255}}),
    ("3.0", "/backups", {"backup": {**CREATE, "description": "d" * 255, "snapshot_id": None}}),
    ("3.0", "/backups", {"backup": {**CREATE, "description": "", "snapshot_id": SNAPSHOT}}),
    ("3.43", "/backups", {"backup": {**CREATE, "metadata": {"a-_:. /Z9": "v" * 255}}}),
    ("3.43", "/backups", {"backup": {**CREATE, "metadata": None}}),
    ("3.51", "/backups", {"backup": {**CREATE, "availability_zone": "nova"}}),
    ("3.51", "/backups", {"backup": {**CREATE, "availability_zone": None}}),
    ("3.0", f"/backups/{BACKUP}/restore", {"restore": {"name": "n"}}),
    ("3.0", f"/backups/{BACKUP}/restore", {"restore": {"name": None, "volume_id": None}}),
]
BAD: list[tuple[str, str, Any]] = [
    ("3.64", "/backups", []),
    ("3.64", "/backups", {}),
    ("3.64", "/backups", {"backup": None}),
    ("3.64", "/backups", {"backup": {}}),
    ("3.64", "/backups", {"backup": CREATE, "more": 1}),
    ("3.64", "/backups", {"backup": {**CREATE, "more": 1}}),
    ("3.64", "/backups", {"backup": {"volume_id": None}}),
    ("3.64", "/backups", {"backup": {"volume_id": "no-uuid"}}),
    ("3.64", "/backups", {"backup": {"volume_id": 7}}),
    ("3.64", "/backups", {"backup": {**CREATE, "name": "n" * 256}}),
    ("3.64", "/backups", {"backup": {**CREATE, "name": 5}}),
    ("3.64", "/backups", {"backup": {**CREATE, "description": "d" * 256}}),
    ("3.64", "/backups", {"backup": {**CREATE, "description": "a\nb"}}),
    ("3.64", "/backups", {"backup": {**CREATE, "container": "c" * 256}}),
    ("3.64", "/backups", {"backup": {**CREATE, "container": "elsewhere"}}),
    ("3.64", "/backups", {"backup": {**CREATE, "snapshot_id": "s"}}),
    ("3.64", "/backups", {"backup": {**CREATE, "force": 1}}),
    ("3.64", "/backups", {"backup": {**CREATE, "force": "maybe"}}),
    ("3.64", "/backups", {"backup": {**CREATE, "incremental": None}}),
    ("3.64", "/backups", {"backup": {**CREATE, "incremental": 0}}),
    ("3.42", "/backups", {"backup": {**CREATE, "metadata": {}}}),
    ("3.43", "/backups", {"backup": {**CREATE, "metadata": {"": "v"}}}),
    ("3.43", "/backups", {"backup": {**CREATE, "metadata": {"k" * 256: "v"}}}),
    ("3.43", "/backups", {"backup": {**CREATE, "metadata": {"k": "v" * 256}}}),
    ("3.43", "/backups", {"backup": {**CREATE, "metadata": {"k": 1}}}),
    ("3.43", "/backups", {"backup": {**CREATE, "metadata": {"§": "v"}}}),
    ("3.50", "/backups", {"backup": {**CREATE, "availability_zone": "z"}}),
    ("3.64", f"/backups/{BACKUP}/restore", {}),
    ("3.64", f"/backups/{BACKUP}/restore", {"restore": {"volume_id": "v"}}),
    ("3.64", f"/backups/{BACKUP}/restore", {"restore": {"name": "n" * 256}}),
    ("3.64", f"/backups/{BACKUP}/restore", {"restore": {"more": 1}}),
    ("3.64", "/backups/import_record", {"backup-record": {"backup_service": "x"}}),
    ("3.64", "/backups/import_record", {"backup-record": {**IMPORT, "backup_url": ""}}),
    ("3.64", "/backups/import_record", {"backup-record": {**IMPORT, "more": ""}}),
    ("3.64", "/backups/import_record", {"backup-record": {**IMPORT, "backup_service": "x" * 256}}),
    ("3.64", f"/backups/{BACKUP}/action", {}),
    ("3.64", f"/backups/{BACKUP}/action", {"os-force_delete": {}, "os-reset_status": {}}),
    ("3.64", f"/backups/{BACKUP}/action", {"os-reset_status": {"status": "error", "x": 1}}),
    ("3.64", f"/volumes/{VOLUME}/action", {"os-reset_status": {"status": "error", "x": 1}}),
    ("3.64", f"/volumes/{VOLUME}/action", {"os-reset_status": {"status": "bogus"}}),
    ("3.64", f"/volumes/{VOLUME}/action", {"os-reset_status": None}),
    ("3.64", f"/snapshots/{SNAPSHOT}/action", {"os-reset_status": {"status": "error", "x": 1}}),
    ("3.64", "/volumes", {"volume": {"size": 1, "backup_id": "no-uuid"}}),
    ("3.64", "/volumes", {"volume": {"size": 1, "backup_id": 7}}),
    ("3.46", "/volumes", {"volume": {"size": 1, "backup_id": BACKUP}}),
    ("3.64", "/volumes", {"volume": {"backup_id": None}}),
    ("3.64", "/volumes", {"volume": {"size": None}}),
]
DEEP = b'{"backup": ' + b'{"a":' * 40 + b"1" + b"}" * 41
MALFORMED = {
    "nothing": b"",
    "blanks": b"  \n",
    "no JSON": b"{",
    "no object": b'"text"',
    "no UTF-8": b'{"backup": "\xff"}',
    "a key twice": b'{"backup": {"name": "a", "name": "b"}}',
    "NaN": b'{"backup": {"name": NaN}}',
    "infinity": b'{"backup": -Infinity}',
    "a huge number": b'{"backup": ' + b"9" * 5000 + b"}",
    "a lone surrogate": rb'{"backup": {"name": "\ud800"}}',
    "a lone surrogate, raw": b'{"backup": {"name": "\xed\xa0\x80"}}',
    "a surrogate as key": rb'{"backup": {"\udfff": 1}}',
    "a NUL": rb'{"backup": {"name": "a\u0000b"}}',
    "deep": DEEP,
    "very deep": b"[" * 50_000 + b"]" * 50_000,
}


@pytest.fixture
def client(service: Service) -> Client:
    """A client of a service with a volume, a snapshot and a backup."""
    shelf = Shelf(service)
    shelf.volume(VOLUME)
    shelf.snapshot(SNAPSHOT, VOLUME)
    shelf.backup(BACKUP, VOLUME)
    return Client(service)


@pytest.fixture(scope="module")
def still(shared: Service) -> Client:
    """The same for bodies that change nothing."""
    shelf = Shelf(shared)
    shelf.volume(VOLUME)
    shelf.snapshot(SNAPSHOT, VOLUME)
    shelf.backup(BACKUP, VOLUME)
    return Client(shared)


@pytest.mark.parametrize(("version", "path", "body"), GOOD)
def test_a_body_that_fits_is_accepted(client: Client, version: str, path: str, body: Json) -> None:
    assert client.post(path, body, version=version).status_code == 202


@pytest.mark.parametrize(("version", "path", "body"), BAD)
def test_a_body_that_does_not_fit_is_400(
    still: Client, version: str, path: str, body: Json
) -> None:
    name, code, message = fault(still.post(path, body, version=version))
    assert (name, code) == ("badRequest", 400)
    assert message


@pytest.mark.parametrize("text", TRUE)
def test_a_text_may_mean_true(still: Client, text: str) -> None:
    wish = {**CREATE, "container": "passes", "incremental": text, "force": text}
    assert "container passes" in fault(still.post("/backups", {"backup": wish}))[2]
    assert as_bool(text)


@pytest.mark.parametrize("text", FALSE)
def test_a_text_may_mean_false(still: Client, text: str) -> None:
    wish = {**CREATE, "container": "passes", "incremental": text, "force": text}
    assert "container passes" in fault(still.post("/backups", {"backup": wish}))[2]
    assert not as_bool(text)


def test_a_field_that_is_wrong_is_named_with_its_value(still: Client) -> None:
    body = {"backup": {**CREATE, "name": 5}}
    message = still.post("/backups", body).json["badRequest"]["message"]
    assert message.startswith("Invalid input for field/attribute name. Value: 5. 5 is not of type")


def test_a_key_that_is_missing_is_named(still: Client) -> None:
    message = still.post("/backups", {"nope": 1}).json["badRequest"]["message"]
    assert "'backup' is a required property" in message or "nope" in message
    assert "'backup' is a required property" in still.post("/backups", {}).text


def test_blanks_around_names_and_descriptions_go(client: Client) -> None:
    body = {"backup": {**CREATE, "name": "  full  ", "description": "\u2003of it "}}
    made = client.post("/backups", body).json["backup"]["id"]
    found = client.get(f"/backups/{made}").json["backup"]
    assert (found["name"], found["description"]) == ("full", "of it")


@pytest.mark.parametrize("text", [VOLUME.replace("-", ""), VOLUME.upper()])
def test_a_uuid_may_lack_hyphens_or_be_in_capitals(client: Client, text: str) -> None:
    made = client.post("/backups", {"backup": {"volume_id": text}}).json["backup"]["id"]
    assert client.get(f"/backups/{made}").json["backup"]["volume_id"] == VOLUME


@pytest.mark.parametrize("raw", MALFORMED.values(), ids=list(MALFORMED))
@pytest.mark.parametrize("path", ["/backups", f"/backups/{BACKUP}/action"])
def test_what_is_no_sound_json_object_is_malformed(still: Client, path: str, raw: bytes) -> None:
    answer = still.post(path, raw=raw, headers=JSON)
    assert fault(answer) == ("badRequest", 400, "Malformed request body")


@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded", "json"])
def test_another_content_type_is_415(still: Client, kind: str) -> None:
    answer = still.post("/backups", raw=b'{"backup": {}}', headers={"Content-Type": kind})
    assert fault(answer) == ("badMediaType", 415, "Unsupported Content-Type")


@pytest.mark.parametrize("kind", [
    "application/json; charset=UTF-8", "Application/JSON", "application/vnd.openstack.volume+json",
])  # fmt: skip
def test_json_by_any_of_its_names_is_read(still: Client, kind: str) -> None:
    answer = still.post("/backups", raw=b'{"backup": {}}', headers={"Content-Type": kind})
    assert "volume_id" in fault(answer)[2]


@pytest.mark.parametrize("kind", ["", "text/plain"])
def test_an_empty_body_is_400_whatever_its_type(still: Client, kind: str) -> None:
    answer = still.post("/backups", raw=b"", headers={"Content-Type": kind})
    assert fault(answer)[:2] == ("badRequest", 400)


def test_a_body_over_the_limit_is_413_before_it_is_parsed(still: Client) -> None:
    answer = still.post("/backups", raw=b"{" * (LIMIT_BYTES + 1), headers=JSON)
    assert fault(answer)[:2] == ("overLimit", 413)
    assert answer.json["overLimit"]["retryAfter"] == "0"
    assert answer.headers["retry-after"] == "0"


def test_a_body_at_the_limit_is_parsed(still: Client) -> None:
    raw = json.dumps({"backup": {**CREATE, "name": ""}}).encode()
    raw = raw.replace(b'""', b'"' + b"n" * (LIMIT_BYTES - len(raw)) + b'"')
    assert len(raw) == LIMIT_BYTES
    assert "name" in fault(still.post("/backups", raw=raw, headers=JSON))[2]


def test_a_body_without_a_length_is_counted_as_it_is_read(still: Client) -> None:
    extras = {"CONTENT_LENGTH": "", "wsgi.input_terminated": True}
    answer = still.testing.simulate_post(
        f"{still.prefix}/backups",
        headers={"X-Auth-Token": "admin", **JSON},
        body=b"[" * (LIMIT_BYTES + 1),
        extras=extras,
    )
    assert fault(answer)[:2] == ("overLimit", 413)


def test_what_a_refusal_repeats_of_a_body_is_bounded(still: Client) -> None:
    body = {"backup": {**CREATE, "x" * 5000: "y" * 5000}}
    assert len(fault(still.post("/backups", body))[2]) < 600


@pytest.mark.parametrize("name", ["a\r\nX-Evil: 1", "é\u2028", "<script>"])
def test_what_users_write_reaches_no_header(client: Client, name: str) -> None:
    answer = client.post("/backups", {"backup": {**CREATE, "name": name}})
    assert answer.status_code == 202
    assert not [value for value in answer.headers.values() if name[:2] in value]
