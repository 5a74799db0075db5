"""Log lines and the audit log: whose work they tell of, and what they never hold."""

from __future__ import annotations

import base64
import json
import logging
from pathlib import Path

import pytest

from backupcore.api.operator.log import redacted
from backupcore.errors import Refused
from tests.api.operator.conftest import PROJECT, Stand, standing

CANARY = "cAnArY5e1f0c"
NOWHERE = "5f0f0f0e-0000-4000-8000-000000000009"


def test_the_lines_of_a_request_and_of_its_job_name_it(stand: Stand) -> None:
    made = stand.api("POST", "backups", {"backup": {"volume_id": stand.volume_id()}})
    stand.settle()
    request_id = made.headers["x-openstack-request-id"]
    told = [json.loads(line) for line in stand.lines]
    mine = [line["message"] for line in told if line.get("request_id") == request_id]
    assert "request answered" in mine
    assert "backup committed" in mine
    assert all("time" in line for line in told)


def test_a_job_that_fails_tells_the_operator_why(stand: Stand) -> None:
    volume_id = stand.volume_id()
    (stand.folder / "images/disk.img").unlink()
    made = stand.api("POST", "backups", {"backup": {"volume_id": volume_id}})
    stand.settle()
    line = next(json.loads(line) for line in stand.lines if "job failed" in line)
    assert line["error"].startswith("NotFound: ")
    assert "Traceback" in line["trace"]
    assert line["request_id"] == made.headers["x-openstack-request-id"]


def test_a_whole_session_leaves_no_secret_in_the_log(stand: Stand) -> None:
    token = {"X-Auth-Token": f"{CANARY}:{PROJECT}", "Authorization": f"Bearer {CANARY}"}
    backup_id = stand.back_up()
    exported = stand.api("GET", f"backups/{backup_id}/export_record", headers=token).json
    record = json.loads(base64.b64decode(exported["backup-record"]["backup_url"]))
    record["id"] = "5f0f0f0e-0000-4000-8000-000000000001"
    url = base64.b64encode(json.dumps(record).encode()).decode()
    exported["backup-record"]["backup_url"] = url
    assert stand.api("POST", "backups/import_record", exported).code == 201
    exported["backup-record"]["backup_url"] = base64.b64encode(CANARY.encode() * 9).decode()
    assert stand.api("POST", "backups/import_record", exported).code == 400
    stand.api("GET", f"backups?name={CANARY}&token={CANARY}")
    log = logging.getLogger("backupcore.test")
    log.warning("store s3://key:%s@host/bucket away", CANARY)
    log.warning("asked", extra={"url": f"https://user:{CANARY}@host/", "backup_url": url})
    try:
        raise Refused(f"swift://u:{CANARY}@host: refused, X-Auth-Token: {CANARY}")
    except Refused:
        log.exception("failed")
    stand.settle()
    everything = "".join(stand.lines) + (stand.folder / "data/audit.log").read_text()
    assert "request answered" in everything
    for secret in (url[:40], url[-40:], exported["backup-record"]["backup_url"][:40]):
        assert secret not in everything
    # the user's name, which the token of this kind of access begins with, is no secret
    assert everything.replace(f'"user": "{CANARY}"', "").count(CANARY) == 0


def test_libraries_speak_as_we_do(stand: Stand) -> None:
    logging.getLogger("waitress.queue").warning("slow: https://a:%s@host", CANARY)
    logging.getLogger("waitress.queue").info("chatter")
    assert "slow: https://…@host" in json.loads(stand.lines[-1])["message"]


@pytest.mark.parametrize(
    "text",
    [
        "https://user:SECRET@host/path",
        "GET /?signature=SECRET&a=b",
        "X-Auth-Token: SECRET",
        "{'password': 'SECRET', 'a': 1}",
        '"backup_url": "SECRET"',
        "Authorization: Bearer SECRET",
        "aws_secret_access_key=SECRET",
        "OS_APPLICATION_CREDENTIAL_SECRET=SECRET",
    ],
)
def test_secrets_are_taken_out_of_texts(text: str) -> None:
    assert "SECRET" not in redacted(text).replace("CREDENTIAL_SECRET", "")


@pytest.mark.parametrize(
    "text", ["backup committed", "posix:/srv/store", "https://host/v3", "took 3 s: 2 of 4 done"]
)
def test_texts_without_secrets_stay_as_they_are(text: str) -> None:
    assert redacted(text) == text


def test_each_change_of_backups_is_audited(stand: Stand) -> None:
    first, target = stand.back_up(), stand.volume_id()
    exported = stand.api("GET", f"backups/{first}/export_record").json
    record = json.loads(base64.b64decode(exported["backup-record"]["backup_url"]))
    record["id"] = second = "5f0f0f0e-0000-4000-8000-000000000001"
    url = base64.b64encode(json.dumps(record).encode()).decode()
    exported["backup-record"]["backup_url"] = url
    stand.api("POST", "backups/import_record", exported)
    stand.settle()
    stand.api("POST", f"backups/{first}/restore", {"restore": {"volume_id": target}})
    stand.settle()
    version = {"OpenStack-API-Version": "volume 3.9"}
    stand.api("PUT", f"backups/{first}", {"backup": {"name": "a"}}, headers=version)
    stand.api("POST", f"backups/{first}/action", {"os-reset_status": {"status": "error"}})
    stand.api("DELETE", f"backups/{first}")
    stand.api("POST", f"backups/{second}/action", {"os-force_delete": {}})
    told = [(entry["action"], entry["target"], entry["result"]) for entry in stand.audit()]
    assert told == [
        ("create", first, "accepted"),
        ("export", first, "accepted"),
        ("import", second, "accepted"),
        ("restore", first, "accepted"),
        ("update", first, "accepted"),
        ("reset", first, "accepted"),
        ("delete", first, "accepted"),
        ("force-delete", second, "accepted"),
    ]
    assert {entry["project"] for entry in stand.audit()} == {PROJECT}


def test_what_is_refused_is_audited_with_its_reason_and_request(stand: Stand) -> None:
    answer = stand.api("DELETE", "backups/no-such-backup")
    entry = stand.audit()[-1]
    assert (entry["action"], entry["target"]) == ("delete", "no-such-backup")
    assert (entry["result"], entry["user"]) == ("refused", "anna")
    assert "could not be found" in entry["reason"]
    assert entry["request_id"] == answer.headers["x-openstack-request-id"]


def test_what_the_policy_denies_is_audited_once(tmp_path: Path) -> None:
    rules = tmp_path / "policy.yaml"
    rules.write_text('"backup:create": "!"\n"backup:get_all": "!"\n')
    with standing(tmp_path, api={"auth": {"kind": "none", "policy_file": str(rules)}}) as stand:
        volume_id = stand.volume_id()
        assert stand.api("POST", "backups", {"backup": {"volume_id": volume_id}}).code == 403
        assert stand.api("GET", "backups").code == 403
        told = [(entry["action"], entry["target"], entry["result"]) for entry in stand.audit()]
        assert stand.audit()[0]["volume"] == volume_id
    assert told == [("create", None, "denied"), ("backup:get_all", None, "denied")]


def test_the_audit_log_tells_backups_from_volumes(stand: Stand) -> None:
    volume_id = stand.volume_id()
    backup_id = stand.back_up()
    made = stand.api("POST", f"backups/{backup_id}/restore", {"restore": {}}).json["restore"]
    stand.settle()
    stand.api("POST", "backups", {"backup": {"volume_id": NOWHERE}})
    stand.api("POST", f"backups/{backup_id}/restore", {"restore": {"volume_id": NOWHERE}})
    told = [(entry["action"], entry["target"], entry["volume"]) for entry in stand.audit()]
    assert told == [
        ("create", backup_id, volume_id),
        ("restore", backup_id, made["volume_id"]),
        ("create", None, NOWHERE),
        ("restore", backup_id, NOWHERE),
    ]


def test_the_audit_log_goes_on_in_a_new_file_when_the_old_one_is_moved(stand: Stand) -> None:
    stand.api("DELETE", "backups/one")
    (stand.folder / "data/audit.log").rename(stand.folder / "data/audit.log.1")
    stand.api("DELETE", "backups/two")
    assert [entry["target"] for entry in stand.audit()] == ["two"]
    assert (stand.folder / "data/audit.log").stat().st_mode & 0o777 == 0o600


def test_without_an_audit_file_nothing_is_written(tmp_path: Path) -> None:
    with standing(tmp_path, audit_file="") as stand:
        stand.api("DELETE", "backups/one")
    assert not (tmp_path / "data/audit.log").exists()
