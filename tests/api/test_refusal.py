"""Every refusal of the contract: its code, its envelope, its words."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from falcon.testing import Result

from backupcore.catalog.status import BackupStatus, SnapshotStatus, VolumeStatus
from backupcore.errors import AccessDenied, Unavailable
from backupcore.service import NotReady, Service
from tests.api.conftest import GIB, A, B, Client, Shelf, fault, number, opened

V, IN_USE, BUSY, SMALL, EMPTY, OTHERS = (number(value) for value in range(1, 7))
S, S_BUSY, S_OTHER = (number(value) for value in range(11, 14))
FULL, FOREIGN, UNSIZED = (number(value) for value in range(21, 24))
IN = {status: number(30 + index) for index, status in enumerate(BackupStatus)}
UNKNOWN = number(99)
BIG = 5 * GIB


@pytest.fixture(scope="module")
def client(shared: Service) -> Client:
    """A client of a service with things in all states."""
    shelf = Shelf(shared)
    for row_id in (V, EMPTY):
        shelf.volume(row_id)
    shelf.volume(OTHERS, B)
    shelf.volume(IN_USE, status=VolumeStatus.IN_USE)
    shelf.volume(BUSY, status=VolumeStatus.BACKING_UP)
    shelf.volume(SMALL, size_bytes=GIB)
    shelf.snapshot(S, V)
    shelf.snapshot(S_BUSY, V, status=SnapshotStatus.BACKING_UP)
    shelf.snapshot(S_OTHER, EMPTY)
    shared.catalog.write(lambda rows: rows.set_limits(A, {"backups": 100}))
    shelf.backup(FULL, V, size=5, size_bytes=BIG)
    shelf.backup(FOREIGN, OTHERS, B)
    shelf.backup(UNSIZED, V, size_bytes=None)
    for status, row_id in IN.items():
        shelf.backup(row_id, EMPTY if status is not BackupStatus.AVAILABLE else V, status=status)
    return Client(shared, token="member")


def _create(**given: Any) -> tuple[str, str, Any]:
    return "POST", "/backups", {"backup": {"volume_id": V, **given}}


def _restore(backup_id: str, **given: Any) -> tuple[str, str, Any]:
    return "POST", f"/backups/{backup_id}/restore", {"restore": given}


def _reset(status: Any, row_id: str = FULL, **more: Any) -> tuple[str, str, Any]:
    return "POST", f"/backups/{row_id}/action", {"os-reset_status": {"status": status, **more}}


def _import(document: Any) -> tuple[str, str, Any]:
    text = base64.b64encode(json.dumps(document).encode()).decode()
    body = {"backup_service": "cinder.backup.drivers.backupcore.posix", "backup_url": text}
    return "POST", "/backups/import_record", {"backup-record": body}


NO_BACKUP = f"Backup {UNKNOWN} could not be found."
NO_FOREIGN = f"Backup {FOREIGN} could not be found."
NOT_DELETABLE = "Invalid backup: Backup status must be available or error"
NOT_AVAILABLE = "Invalid backup: Backup status must be available"
NOT_EXPORTABLE = "Invalid backup: Backup status must be available and not creating."
NOT_SOURCE = ("Invalid volume: Volume to be backed up must be available or in-use, but the current "
              'status is "backing-up".')  # fmt: skip
NO_SNAPSHOT = ("Invalid snapshot: Snapshot to be backed up must be available, but the current "
               'status is "backing-up".')  # fmt: skip
NO_BASE = "Invalid backup: No backups available to do an incremental backup."
NOT_TARGET = "Invalid volume: Volume to be restored to must be available"
VALID = "valid statuses are: ['available', 'error']."
UNPARSED = "Invalid input received: Can't parse backup record."
NOT_OURS = "Invalid input received: this is no backup record of this service."
AGAIN = "Verify the request body and Content-Type header and try again."
_OTHER_PROJECT_ACTION = ("POST", f"/backups/{FOREIGN}/action", {"os-force_delete": None})

CASES: dict[str, tuple[tuple[str, str, Any], int, str]] = {
    "show unknown": (("GET", f"/backups/{UNKNOWN}", None), 404, NO_BACKUP),
    "show what is no id": (("GET", "/backups/daily", None), 404,
                           "Backup daily could not be found."),
    "delete unknown": (("DELETE", f"/backups/{UNKNOWN}", None), 404, NO_BACKUP),
    "restore unknown": (_restore(UNKNOWN), 404, NO_BACKUP),
    "export unknown": (("GET", f"/backups/{UNKNOWN}/export_record", None), 404, NO_BACKUP),
    "update unknown": (("PUT", f"/backups/{UNKNOWN}", {"backup": {}}), 404, NO_BACKUP),
    "act on unknown": (("POST", f"/backups/{UNKNOWN}/action", {"os-force_delete": {}}), 404,
                       NO_BACKUP),
    "show another project's": (("GET", f"/backups/{FOREIGN}", None), 404, NO_FOREIGN),
    "delete another project's": (("DELETE", f"/backups/{FOREIGN}", None), 404, NO_FOREIGN),
    "restore another project's": (_restore(FOREIGN), 404, NO_FOREIGN),
    "act on another project's": (_OTHER_PROJECT_ACTION, 404, NO_FOREIGN),
    "of an unknown volume": (_create(volume_id=UNKNOWN), 404,
                             f"Volume {UNKNOWN} could not be found."),
    "of another project's volume": (_create(volume_id=OTHERS), 404,
                                    f"Volume {OTHERS} could not be found."),
    "of an unknown snapshot": (_create(snapshot_id=UNKNOWN), 404,
                               f"Snapshot {UNKNOWN} could not be found."),
    "of another volume's snapshot": (
        _create(snapshot_id=S_OTHER), 400,
        f"Invalid volume: Volume {V} does not match with snapshot.volume_id {EMPTY}."),
    "of a busy snapshot": (
        _create(snapshot_id=S_BUSY), 400,
        NO_SNAPSHOT),
    "of a busy volume": (_create(volume_id=BUSY), 400, NOT_SOURCE),
    "of a busy volume by force": (_create(volume_id=BUSY, force=True), 400, NOT_SOURCE),
    "of a volume in use": (_create(volume_id=IN_USE), 400,
                           "Invalid volume: Backing up an in-use volume must use the force flag."),
    "incremental without a base": (_create(volume_id=SMALL, incremental=True), 400, NO_BASE),
    "incremental without an available base": (_create(volume_id=EMPTY, incremental=True), 400,
                                              NO_BASE),
    "incremental of an older snapshot": (_create(snapshot_id=S, incremental=True), 400, NO_BASE),
    "to a container that is not": (_create(container="x"), 400,
                                   "Invalid input received: container x is not configured"),
    **{
        f"delete one that is {status}": (("DELETE", f"/backups/{IN[status]}", None), 400,
                                         NOT_DELETABLE)
        for status in (BackupStatus.CREATING, BackupStatus.RESTORING, BackupStatus.DELETING,
                       BackupStatus.ERROR_DELETING)
    },
    **{
        f"restore one that is {status}": (_restore(row_id), 400, NOT_AVAILABLE)
        for status, row_id in IN.items() if status is not BackupStatus.AVAILABLE
    },
    "restore one without a size": (_restore(UNSIZED), 400,
                                   "Invalid backup: Backup to be restored has invalid size"),
    "restore to an unknown volume": (_restore(FULL, volume_id=UNKNOWN), 404,
                                     f"Volume {UNKNOWN} could not be found."),
    "restore to another project's volume": (_restore(FULL, volume_id=OTHERS), 404,
                                            f"Volume {OTHERS} could not be found."),
    "restore to a busy volume": (_restore(FULL, volume_id=BUSY), 400, NOT_TARGET),
    "restore to a small volume": (
        _restore(FULL, volume_id=SMALL), 400,
        "Invalid volume: volume size 1 is too small to restore backup of size 5."),
    "no such action": (("POST", f"/backups/{FULL}/action", {"os-bogus": 1}), 400,
                       f"There is no such action: os-bogus. {AGAIN}"),
    "reset to nonsense": (_reset("bogus"), 400, f"Backup status: bogus is invalid, {VALID}"),
    "reset to nothing": (_reset(None), 400, f"Backup status: None is invalid, {VALID}"),
    "reset to creating": (_reset("creating"), 400,
                          f"Backup status: creating is invalid, {VALID}"),
    "reset and more": (_reset("error", more=1), 400,
                       "Additional properties are not allowed ('more' was unexpected)"),
    "denied": (("GET", f"/backups/{FULL}/export_record", None), 403,
               "Policy doesn't allow backup:export-import to be performed."),
    "another project in the URL": (("GET", f"/../{B}/backups", None), 400, "Malformed request url"),
    "no such path": (("GET", "/nothing", None), 404, "The resource could not be found."),
    "update below 3.9": (("PUT", f"/backups/{FULL}", {"backup": {}}), 404,
                         "The resource could not be found."),
}  # fmt: skip
ADMIN_CASES: dict[str, tuple[tuple[str, str, Any], int, str]] = {
    **{
        f"export one that is {status}": (("GET", f"/backups/{row_id}/export_record", None), 400,
                                         NOT_EXPORTABLE)
        for status, row_id in IN.items() if status is not BackupStatus.AVAILABLE
    },
    "reset what is being deleted": (
        _reset("available", IN[BackupStatus.DELETING]), 400,
        "Invalid backup: the stored backup is being deleted"),
    "reset what is not stored": (
        _reset("available", IN[BackupStatus.ERROR]), 400,
        "Invalid backup: the stored backup is not there"),
    "a quota of what there is not": (
        ("PUT", f"/os-quota-sets/{A}", {"quota_set": {"shares": 1, "groups": 10, "cats": 2}}), 400,
        "Invalid input received: Bad key(s) in quota set: cats, shares"),
    "import a list": (_import([]), 400, UNPARSED),
    "import what is another service's": (_import({"id": UNKNOWN, "size": 1}), 400, NOT_OURS),
}  # fmt: skip
NAMES = {400: "badRequest", 403: "forbidden", 404: "itemNotFound", 413: "overLimit"}


def _sent(client: Client, request: tuple[str, str, Any], **changes: Any) -> Result:
    method, path, body = request
    if path.startswith("/../"):
        return client.send(method, path.removeprefix("/.."), body, prefix="/v3", **changes)
    return client.send(method, path, body, **changes)


@pytest.mark.parametrize(("request_", "code", "message"), CASES.values(), ids=list(CASES))
@pytest.mark.parametrize("prefix", [f"/v2/{A}", f"/v3/{A}", "/v3"])
def test_a_member_is_refused_in_the_words_of_the_api(
    client: Client, prefix: str, request_: tuple[str, str, Any], code: int, message: str
) -> None:
    if prefix != "/v3" or "/../" not in request_[1]:
        answer = _sent(Client(client.service, token="member", prefix=prefix), request_)
        if code == 404 and request_[0] == "PUT":
            message = "The resource could not be found."
        assert fault(answer) == (NAMES[code], code, message)


@pytest.mark.parametrize(
    ("request_", "code", "message"), ADMIN_CASES.values(), ids=list(ADMIN_CASES)
)
def test_an_admin_is_refused_in_the_words_of_the_api(
    client: Client, request_: tuple[str, str, Any], code: int, message: str
) -> None:
    assert fault(_sent(client, request_, token="admin")) == (NAMES[code], code, message)


def test_an_admin_has_no_way_around_the_project_in_the_url(client: Client) -> None:
    answer = client.get("/backups", token="admin", prefix=f"/v3/{B}")
    assert fault(answer) == ("badRequest", 400, "Malformed request url")


def test_update_from_3_9_finds_no_unknown_backup(client: Client) -> None:
    answer = client.put(f"/backups/{UNKNOWN}", {"backup": {}}, version="3.9")
    assert fault(answer) == ("itemNotFound", 404, NO_BACKUP)


@pytest.mark.parametrize("token", [None, "unknown", ""])
def test_nobody_known_is_401(client: Client, token: str | None) -> None:
    answer = Client(client.service, token=None).get("/backups", token=token)
    assert fault(answer)[:2] == ("unauthorized", 401)


@pytest.fixture
def poor(tmp_path: Path) -> Iterator[tuple[Client, Shelf]]:
    """A service whose projects may have next to nothing."""
    quotas = {"backups": 1, "backup_gigabytes": 3, "volumes": 2, "gigabytes": 3}
    with opened(tmp_path, quotas=quotas) as service:
        yield Client(service), Shelf(service)


def test_one_backup_too_many_is_413(poor: tuple[Client, Shelf]) -> None:
    client, shelf = poor
    shelf.backup(FULL, shelf.volume(V))
    answer = client.post("/backups", {"backup": {"volume_id": V}})
    said = "BackupLimitExceeded: Maximum number of backups allowed (1) exceeded"
    assert fault(answer) == ("overLimit", 413, said)
    assert answer.headers["retry-after"] == answer.json["overLimit"]["retryAfter"] == "0"


def test_backups_too_large_are_413(poor: tuple[Client, Shelf]) -> None:
    client, shelf = poor
    client.service.catalog.write(lambda rows: rows.set_limits(A, {"backups": 9, "gigabytes": 9}))
    volume_id = shelf.volume(V, size=2, size_bytes=2 * GIB)
    shelf.backup(FULL, volume_id, size=2)
    message = fault(client.post("/backups", {"backup": {"volume_id": volume_id}}))[2]
    assert message == (
        "VolumeBackupSizeExceedsAvailableQuota: Requested backup exceeds allowed Backup gigabytes "
        "quota. Requested 2G, quota is 3G and 2G has been consumed."
    )


def test_a_restore_that_makes_one_volume_too_many_is_413(poor: tuple[Client, Shelf]) -> None:
    client, shelf = poor
    for row_id in (V, EMPTY):
        shelf.volume(row_id)
    shelf.backup(FULL, V)
    code, message = fault(client.post(f"/backups/{FULL}/restore", {"restore": {}}))[1:]
    said = "Maximum number of volumes allowed (2) exceeded for quota 'volumes'."
    assert (code, message) == (413, said)
    answer = client.post("/volumes", {"volume": {"size": 1}})
    assert fault(answer)[2] == f"VolumeLimitExceeded: {said}"


def test_a_restore_that_makes_volumes_too_large_is_413(poor: tuple[Client, Shelf]) -> None:
    client, shelf = poor
    shelf.volume(V, size=2, size_bytes=2 * GIB)
    shelf.backup(FULL, V, size=2, size_bytes=2 * GIB)
    code, message = fault(client.post(f"/backups/{FULL}/restore", {"restore": {}}))[1:]
    assert code == 413
    assert message.startswith("Requested volume or snapshot exceeds allowed gigabytes quota.")


def test_a_reset_while_the_store_is_away_is_503(service: Service, tmp_path: Path) -> None:
    shelf = Shelf(service)
    shelf.backup(FULL, shelf.volume(V), status=BackupStatus.ERROR)
    (tmp_path / "repository").rename(tmp_path / "away")
    answer = _sent(Client(service), _reset("available"))
    said = "The backup store is not available."
    assert fault(answer) == ("serviceUnavailable", 503, said)


def test_a_zone_that_is_not_the_services_is_400(client: Client) -> None:
    body = {"backup": {"volume_id": V, "availability_zone": "az7"}}
    answer = client.post("/backups", body, version="3.51")
    said = "Invalid input received: Availability zone 'az7' is invalid."
    assert fault(answer) == ("badRequest", 400, said)


@pytest.mark.parametrize(("error", "code", "name"), [
    (NotReady("nobody is there"), 503, "serviceUnavailable"),
    (Unavailable("s3://key:secret@host is away"), 503, "serviceUnavailable"),
    (AccessDenied("secret"), 503, "serviceUnavailable"),
    (RuntimeError("secret"), 500, "computeFault"),
])  # fmt: skip
def test_what_fails_inside_tells_nothing_of_the_inside(
    service: Service, monkeypatch: pytest.MonkeyPatch, error: Exception, code: int, name: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(service.backups, "page", fail)
    answer = Client(service).get("/backups")
    assert fault(answer)[:2] == (name, code)
    assert "secret" not in answer.text
