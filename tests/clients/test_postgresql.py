"""The service with its catalog in a real PostgreSQL, which also goes away and comes back."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.clients.conftest import (
    CALL_S_MAX,
    Answer,
    RunningService,
    assert_holds,
    change,
    configured,
    fill,
    wait_until,
)
from tests.servers.postgres import Postgres, need_postgres, postgres
from tests.servers.process import STOP_S_MAX

pytestmark = [need_postgres(), pytest.mark.xdist_group("postgres-of-clients")]

BACKUP_COUNT_MAX = 3
DATA_SIZE_BYTES = 48 << 20
_numbers = itertools.count()


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with postgres() as running:
        yield running


@pytest.fixture(scope="module")
def common(server: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service with `disk.img` and a database of its own."""
    yield from serving(server, tmp_path_factory.mktemp("common"), backup_count_max=-1)


@pytest.fixture
def service(common: RunningService) -> RunningService:
    """The same service, started again when a test has ended it."""
    if common.process.poll() is not None:
        common.start()
    return common


@pytest.fixture
def limited(server: Postgres, tmp_path: Path) -> Iterator[RunningService]:
    """A service that lets a project have few backups, with none yet."""
    yield from serving(server, tmp_path, backup_count_max=BACKUP_COUNT_MAX)


def serving(server: Postgres, folder: Path, *, backup_count_max: int) -> Iterator[RunningService]:
    """Run a service with `disk.img` and a database of its own."""
    name = f"service{next(_numbers)}"
    service = configured(
        folder,
        {"volumebackups": f"posix:{folder}/store"},
        catalog_url=server.create(name),
        more=f"[quotas]\nbackups = {backup_count_max}\n",
    )
    fill(folder / "images/disk.img", 1)
    service.start()
    yield service
    service.kill()
    server.drop(name)


def leave(server: Postgres) -> None:
    """End the server at once, and whatever is asked of it."""
    server.server.process.send_signal(signal.SIGINT)
    server.server.process.wait(STOP_S_MAX)


def come_back(server: Postgres) -> None:
    """Start the server again and return when it answers."""
    server.server.restart()

    def answers() -> bool:
        try:
            server.run("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    wait_until(answers)


def fill_much(service: RunningService) -> bytes:
    """Give `disk.img` so much that a backup takes a while, and return it."""
    first = next(_numbers) * DATA_SIZE_BYTES
    numbers = range(first, first + DATA_SIZE_BYTES // 4096)
    data = b"".join(number.to_bytes(8, "big") * 512 for number in numbers)
    service.image("disk.img").write_bytes(data)
    return data


def is_under_way(service: RunningService) -> bool:
    """Return whether a backup has begun to store and has not ended."""
    return any((service.folder / "store").glob("sessions/*/*"))


def has_manifest(service: RunningService, backup_id: str) -> bool:
    return any((service.folder / "store").glob(f"backups/*/{backup_id}/*"))


def begin_and_leave(service: RunningService, server: Postgres) -> str:
    """Return a backup that has begun and not ended when the database goes away."""

    def has_begun(backup: str) -> bool:
        return is_under_way(service) or has_manifest(service, backup)

    for _ in range(5):
        backup = service.create()
        wait_until(partial(has_begun, backup), step_s=0.001)
        with service.paused():
            leave(server)
            if not has_manifest(service, backup):
                return backup
        come_back(server)
    raise AssertionError("every backup had ended before the database went away")


def asked(service: RunningService) -> list[Answer]:
    """Return the answers to a call of each kind."""
    volume = "00000000-0000-0000-0000-000000000001"
    return [
        service.ask("GET", "backups"),
        service.ask("GET", "backups/detail"),
        service.ask("GET", "backups/one"),
        service.ask("GET", "volumes/detail"),
        service.ask("POST", "backups", {"backup": {"volume_id": volume}}),
        service.ask("POST", "backups/one/restore", {"restore": {}}),
        service.ask("POST", "backups/one/action", {"os-force_delete": {}}),
        service.ask("DELETE", "backups/one"),
        service.ask("GET", "backups/one/export_record"),
        service.ask("GET", "os-quota-sets/demo?usage=true"),
    ]


def test_backups_are_made_restored_and_deleted(service: RunningService) -> None:
    first = service.create()
    service.settle()
    content = change(service.image("disk.img"))
    second = service.create(incremental=True)
    assert service.backup(second)["is_incremental"] is True
    service.ask("DELETE", f"backups/{first}")
    assert first not in [row["id"] for row in service.settle()]
    assert_holds(service.image(service.restore(second)), content)


def test_pages_by_marker_hold_each_backup_once_and_the_quota_ends_them(
    limited: RunningService,
) -> None:
    service, made = limited, []
    for number in range(BACKUP_COUNT_MAX):
        made.append(service.create(name=f"number {number}"))
        service.settle()
    wish = {"backup": {"volume_id": service.volume_id("disk.img")}}
    refused = service.ask("POST", "backups", wish)
    assert refused.code == 413
    assert refused.document["overLimit"]["message"] == (
        f"BackupLimitExceeded: Maximum number of backups allowed ({BACKUP_COUNT_MAX}) exceeded"
    )
    assert paged(service) == list(reversed(made))


def paged(service: RunningService) -> list[str]:
    """Return the ids of all backups, from pages of two."""
    found: list[dict[str, Any]] = []
    path = "backups?limit=2"
    while True:
        page = service.get(path)
        found += page["backups"]
        if "backups_links" not in page:
            return [row["id"] for row in found]
        path = page["backups_links"][0]["href"].removeprefix(f"{service.endpoint}/")


def test_calls_are_refused_while_the_database_is_away_and_work_afterwards(
    service: RunningService, server: Postgres
) -> None:
    backup = service.create()
    service.settle()
    leave(server)
    try:
        away = asked(service)
    finally:
        come_back(server)
    assert {answer.code for answer in away} == {503}
    message = "The catalog is not available."
    told = {"serviceUnavailable": {"code": 503, "message": message}}
    assert [answer.document for answer in away] == [told] * len(away)
    assert service.backup(backup)["status"] == "available"
    following = service.backup(service.create(incremental=True))
    assert (following["status"], following["is_incremental"]) == ("available", True)


def test_calls_during_a_restart_of_the_database_are_refused_or_right(
    service: RunningService, server: Postgres
) -> None:
    service.create()
    backups = [row["id"] for row in service.settle()]
    answers = [service.ask("GET", "backups")]
    leave(server)
    server.server.restart()

    def is_back() -> bool:
        answers.append(service.ask("GET", "backups"))
        return answers[-1].code == 200

    wait_until(is_back, step_s=0.01)
    answers += [service.ask("GET", "backups") for _ in range(20)]  # each connection of the pool
    good = [answer.document["backups"] for answer in answers if answer.code == 200]
    assert {answer.code for answer in answers} <= {200, 503}
    assert all([row["id"] for row in rows] == backups for rows in good)
    assert {answer.code for answer in answers[-20:]} == {200}


def test_a_backup_that_ended_while_the_database_was_away_is_settled_by_the_next_start(
    service: RunningService, server: Postgres
) -> None:
    content = fill_much(service)
    backup = begin_and_leave(service, server)
    try:
        wait_until(lambda: has_manifest(service, backup))
        wait_until(lambda: "job failed" in service.life_log)
    finally:
        come_back(server)
    assert service.get(f"backups/{backup}")["backup"]["status"] == "creating"
    service.stop()
    service.start()
    row = service.backup(backup)
    assert row["status"] == "available"
    assert service.volume(row["volume_id"])["status"] == "available"
    assert_holds(service.image(service.restore(backup)), content)


@pytest.mark.long
def test_a_restore_that_ended_while_the_database_was_away_is_settled_by_the_next_start(
    service: RunningService, server: Postgres
) -> None:
    content = fill_much(service)
    backup = service.create()
    service.settle()
    answer = service.post(f"backups/{backup}/restore", {"restore": {"name": "fresh"}})
    volume = answer["restore"]["volume_id"]
    with service.paused():
        leave(server)
    try:
        wait_until(lambda: "job failed" in service.life_log, CALL_S_MAX)
    finally:
        come_back(server)
    service.stop()
    service.start()
    assert service.backup(backup)["status"] == "available"
    assert service.volume(volume)["status"] == "error_restoring"
    assert_holds(service.image(service.restore(backup, name="again")), content)


def test_a_service_does_not_start_without_its_database_and_names_no_password(
    service: RunningService, server: Postgres
) -> None:
    service.stop()
    text = service.config.read_text()
    service.config.write_text(text.replace("postgres@", "postgres:canary-of-a-password@"))
    leave(server)
    try:
        service.launch()
        assert service.process.wait(STOP_S_MAX) == 5
    finally:
        come_back(server)
        service.config.write_text(text)
    assert "canary" not in service.log
