"""/healthcheck and /metrics: who may see them, and what they tell."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from backupcore.catalog import CatalogUnavailable
from backupcore.catalog.query.reading import ReadRows
from tests.api.operator.conftest import PROJECT, Stand, standing

UNAVAILABLE = CatalogUnavailable("catalog postgresql://anna:secret@db: no connection")


def no_version() -> str:
    raise UNAVAILABLE


@contextmanager
def no_reading() -> Iterator[ReadRows]:
    raise UNAVAILABLE
    yield


def test_the_health_is_told_to_anybody(stand: Stand) -> None:
    answer = stand.ask("GET", "/healthcheck", headers={"X-Auth-Token": ""}, remote="192.0.2.7")
    assert (answer.code, answer.json) == (200, {"status": "ok"})


def test_without_its_catalog_a_service_is_not_well_and_names_no_secret(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stand.service.catalog, "schema_version", no_version)
    answer = stand.ask("GET", "/healthcheck")
    assert answer.code == 503
    assert "secret" not in answer.text + "".join(stand.lines)


def test_metrics_are_for_this_machine_only(stand: Stand) -> None:
    codes = [
        stand.ask("GET", "/metrics", remote=remote).code
        for remote in ("127.0.0.1", "::1", "::ffff:127.0.0.1", "192.0.2.7", "2001:db8::1", "")
    ]
    assert codes == [200, 200, 200, 404, 404, 404]


def test_metrics_are_for_nobody_when_everybody_comes_by_a_proxy(tmp_path: Path) -> None:
    with standing(tmp_path, api={"public_url": "https://backup.example.org"}) as stand:
        assert stand.ask("GET", "/metrics").code == 404


def test_metrics_are_for_everybody_when_the_settings_say_so(tmp_path: Path) -> None:
    with standing(tmp_path, api={"metrics": True}) as stand:
        assert stand.ask("GET", "/metrics", remote="192.0.2.7").code == 200


def test_metrics_without_a_catalog_say_that_it_does_not_answer(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stand.service.catalog, "reading", no_reading)
    assert stand.metric("backupcore_catalog_up") == 0


def test_backups_are_counted_by_status_and_volumes_tell_their_last(stand: Stand) -> None:
    backup_id = stand.back_up()
    time = stand.api("GET", f"backups/{backup_id}").json["backup"]["data_timestamp"]
    labels = f'project_id="{PROJECT}",volume_id="{stand.volume_id()}"'
    last_s = stand.metric(f"backupcore_volume_last_backup_timestamp_seconds{{{labels}}}")
    assert stand.metric('backupcore_backups{status="available"}') == 1
    assert stand.metric('backupcore_backups{status="error"}') == 0
    assert f"{last_s % 60:09.6f}"[:8] == time[17:25]


def test_jobs_are_counted_with_the_bytes_they_moved(stand: Stand) -> None:
    backup_id = stand.back_up()
    stand.api("POST", f"backups/{backup_id}/restore", {"restore": {"name": "new"}})
    stand.settle()
    of = '{container="volumebackups"}'
    assert stand.metric(f"backupcore_read_bytes_total{of}") == 2 << 20
    assert 0 < stand.metric(f"backupcore_stored_bytes_total{of}") < 2 << 20
    assert stand.metric(f"backupcore_restored_bytes_total{of}") == 2 << 20
    done = '{container="volumebackups",kind="create",result="done"}'
    assert stand.metric(f"backupcore_jobs_total{done}") == 1
    assert stand.metric('backupcore_job_duration_seconds_count{kind="restore"}') == 1


def test_a_job_that_fails_is_counted_by_what_went_wrong(stand: Stand) -> None:
    volume_id = stand.volume_id()
    (stand.folder / "images/disk.img").unlink()
    stand.api("POST", "backups", {"backup": {"volume_id": volume_id}})
    stand.settle()
    failed = '{container="volumebackups",kind="create",result="failed"}'
    assert stand.metric(f"backupcore_jobs_total{failed}") == 1
    assert 'backupcore_job_errors_total{container="volumebackups",error="NotFound"' in (
        stand.ask("GET", "/metrics").text
    )


def test_requests_are_counted_by_their_route_and_never_by_their_path(stand: Stand) -> None:
    for number in range(3):
        stand.api("GET", f"backups/no-such-{number}")
        stand.ask("GET", f"/somewhere/{number}")
    route = '{code="404",method="GET",route="/v3/{project_id}/backups/{backup_id}"}'
    assert stand.metric(f"backupcore_requests_total{route}") == 3
    text = stand.ask("GET", "/metrics").text
    assert "no-such" not in text
    assert "/somewhere" not in text
