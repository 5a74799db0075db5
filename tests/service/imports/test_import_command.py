"""`backupcore record` and `backupcore catalog rebuild` on the catalog of a service that runs."""

from __future__ import annotations

import base64
import json
import sys
import time
import urllib.request
import uuid
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("waitress", reason="no service: pip install 'backupcore[service]'")

from tests.cli.conftest import Place, place  # noqa: F401 - a fixture
from tests.cli.test_service import ask, refusal, start, write_config
from tests.cli.test_verb import documented_fields

WAIT_S = 30.0


class Running:
    """A running service, of which everything is asked by its API."""

    def __init__(self, place: Place) -> None:  # noqa: F811 - the fixture itself
        (place.folder / "images").mkdir()
        (place.folder / "images" / "data").write_bytes(b"volume" * 10_000)
        self.place = place
        self.config = write_config(place)
        self.process, self.address = start(place, self.config)

    def back_up(self) -> str:
        volume = ask(self.address, "volumes")["volumes"][0]["id"]
        made = ask(self.address, "backups", {"backup": {"volume_id": volume}})["backup"]["id"]
        self.wait(made, "available")
        return str(made)

    def statuses(self) -> dict[str, str]:
        found = ask(self.address, "backups/detail")["backups"]
        return {backup["id"]: backup["status"] for backup in found}

    def show(self, backup_id: str) -> Any:
        return ask(self.address, f"backups/{backup_id}")["backup"]

    def wait(self, backup_id: str, status: str | None) -> None:
        end = time.monotonic() + WAIT_S
        while self.statuses().get(backup_id) != status:
            assert time.monotonic() < end, self.statuses()
            time.sleep(0.02)

    def delete(self, backup_id: str) -> None:
        url = f"{self.address}/v3/demo/backups/{backup_id}"
        request = urllib.request.Request(
            url, headers={"X-Auth-Token": "anna:demo"}, method="DELETE"
        )
        urllib.request.urlopen(request, timeout=30).close()
        self.wait(backup_id, None)

    def export(self, backup_id: str, name: str = "record.json") -> Path:
        result = self.place.run("record", "export", backup_id, "--config", self.config)
        assert result.exit_code == 0, result.output
        path = self.place.folder / name
        path.write_text(result.stdout)
        return path

    def bring_in(self, record: Path) -> tuple[str, ...]:
        return ("record", "import", str(record), "--config", self.config, "--project", "demo")


def under_another_id(record: Path) -> str:
    """Give a record another id for its row, which nobody signs, and return that."""
    document = json.loads(record.read_text())
    fields = document["backup-record"]
    inner = json.loads(base64.b64decode(fields["backup_url"]))
    inner["id"] = str(uuid.uuid4())
    fields["backup_url"] = base64.b64encode(json.dumps(inner).encode()).decode()
    record.write_text(json.dumps(document))
    return str(inner["id"])


@pytest.fixture
def running(place: Place) -> Running:  # noqa: F811 - the fixture itself
    return Running(place)


def test_a_row_of_a_running_service_is_exported_and_imported_beside_it(running: Running) -> None:
    made = running.back_up()
    record = running.export(made)
    wanted = under_another_id(record)
    found = running.place.json(*running.bring_in(record))
    assert (found["id"], found["status"], found["stored_id"]) == (wanted, "available", made)
    assert running.statuses() == {made: "available", wanted: "available"}
    running.delete(made)
    assert running.show(wanted)["status"] == "available"
    log = (running.place.folder / "data" / "audit.log").read_text().splitlines()
    actions = [json.loads(line)["action"] for line in log]
    assert actions.count("export") == actions.count("import") == 1


def test_a_record_of_what_was_deleted_is_refused_and_its_row_says_why(running: Running) -> None:
    made = running.back_up()
    record = running.export(made)
    running.delete(made)
    assert "record rejected: deleted" in refusal(running.place, *running.bring_in(record))
    shown = running.show(made)
    assert (shown["status"], shown["size"]) == ("error", 0)


def test_a_backup_of_the_command_line_shows_no_path_to_projects(running: Running) -> None:
    here = running.place
    store = str(here.folder / "service-store")
    made = here.json("backup", str(here.disk), "-r", store)
    rebuild = ("catalog", "rebuild", "--config", running.config, "--project", "demo")
    assert here.json(*rebuild)["containers"][0]["added"] == 1
    shown = running.show(made["id"])
    assert uuid.UUID(shown["volume_id"]).hex == shown["volume_id"].replace("-", "")
    assert str(here.disk) not in json.dumps(shown)
    record = running.export(made["id"])
    under_another_id(record)
    found = here.json(*running.bring_in(record))
    assert running.show(found["id"])["volume_id"] == shown["volume_id"]


def test_a_rebuilding_shows_every_count(place: Place) -> None:  # noqa: F811 - the fixture itself
    config = write_config(place, store=f'[containers.volumebackups]\nurl = "{place.folder}/store"')
    done = place.run("catalog", "rebuild", "--config", config)
    assert done.exit_code == 0, done.output
    headings = done.stdout.splitlines()[0].split()
    assert headings == ["container", "added", "known", "gone", "taken", "damaged", "skipped"]


@pytest.mark.parametrize("label", ["project=x", "service:volume:name=x"])
def test_the_command_line_gives_no_label_of_a_services(
    place: Place,  # noqa: F811 - the fixture itself
    label: str,
) -> None:
    assert "is a service's" in refusal(place, "backup", str(place.disk), "--label", label)


def test_a_service_and_a_repository_exclude_each_other(running: Running) -> None:
    where = ("--config", running.config, "-r", str(running.place.folder / "store"))
    assert "exclude each other" in refusal(running.place, "record", "export", "a", *where)


@pytest.mark.parametrize(
    ("verb", "given"),
    [
        ("export", ("--expires", "1h")),
        ("export", ("--name", "x")),
        ("export", ("--key", "k.pem")),
        ("import", ("--trusted", ".")),
    ],
)
def test_options_that_the_service_answers_are_refused_beside_it(
    running: Running, verb: str, given: tuple[str, str]
) -> None:
    said = refusal(running.place, "record", verb, "-", "--config", running.config, *given)
    assert f"{given[0]} and --config exclude each other" in said


@pytest.mark.long
def test_a_killed_import_is_settled_by_the_next_start_of_the_service(running: Running) -> None:
    """The row that a killed command leaves behind is the same as that of a cut-off job."""
    made = running.back_up()
    record = running.export(made)
    wanted = under_another_id(record)
    code = (
        "import os, sys\n"
        "from backupcore.service.work import importing\n"
        "importing.check_against_store = lambda *a, **o: os._exit(9)\n"
        "from backupcore.cli.tree import commands\n"
        "commands(sys.argv[1:])\n"
    )
    program = (sys.executable, "-c", code)
    killed = running.place.start(*running.bring_in(record), program=program)
    assert killed.wait(WAIT_S) == 9
    assert running.statuses()[wanted] == "creating"
    running.process.terminate()
    running.process.wait(WAIT_S)
    running.process, running.address = start(running.place, running.config)
    assert running.statuses() == {made: "available", wanted: "error"}


def test_the_document_of_an_import_has_the_documented_fields(running: Running) -> None:
    record = running.export(running.back_up())
    under_another_id(record)
    found = running.place.json(*running.bring_in(record))
    assert set(found) == documented_fields("record import --config")
