"""Stores that say no: to the credentials, to the room, to the container's name."""

from __future__ import annotations

import http.client
from contextlib import closing

import pytest

from backupcore import MemoryVolume, StoreError, create_repository, open_repository
from backupcore.errors import AccessDenied, RepositoryMissing, StoreFull
from tests.drivers.fault.stage import CHUNK, Stage, noise
from tests.servers.swift_server import READER

SECRET = "canary-4711"
CREDENTIALS = {
    "a wrong key": {"ST_KEY": SECRET, "AWS_SECRET_ACCESS_KEY": SECRET},
    "an unknown user": {"ST_USER": "test:nobody", "AWS_ACCESS_KEY_ID": "test:nobody"},
}


def set_quota(stage: Stage, container: str, quota_bytes: int) -> None:
    """Limit a container, with a request of Swift's own."""
    link = http.client.HTTPConnection("127.0.0.1", stage.server.ports["proxy"], timeout=30)
    login = {"X-Auth-User": stage.server.user, "X-Auth-Key": stage.server.key}
    link.request("GET", "/auth/v1.0", headers=login)
    answer = link.getresponse()
    answer.read()
    fields = {
        "X-Auth-Token": str(answer.headers["X-Auth-Token"]),
        "X-Container-Meta-Quota-Bytes": str(quota_bytes),
    }
    link.request("POST", f"/v1/AUTH_test/{container}", headers=fields)
    assert link.getresponse().status == 204
    link.close()


@pytest.mark.parametrize("wrong", list(CREDENTIALS))
def test_credentials_that_are_refused_deny_access_at_once(
    stage: Stage, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in CREDENTIALS[wrong].items():
        monkeypatch.setenv(name, value)
    stage.clock.sleeps.clear()
    with pytest.raises(AccessDenied) as caught:
        open_repository(stage.url, runtime=stage.runtime)
    assert stage.clock.sleeps == []
    assert SECRET not in str(caught.value)


def test_a_user_without_rights_is_denied_access(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    for user, key in (("ST_USER", "ST_KEY"), ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")):
        monkeypatch.setenv(user, READER)
        monkeypatch.setenv(key, stage.server.reader_key)
    with pytest.raises(AccessDenied):
        open_repository(stage.url, runtime=stage.runtime)


def test_a_missing_container_is_not_taken_for_an_empty_one(stage: Stage) -> None:
    with pytest.raises(StoreError, match="nowhere") as caught:
        open_repository(stage.url_of("nowhere", "store"), runtime=stage.runtime)
    assert not isinstance(caught.value, RepositoryMissing)


def test_no_repository_is_made_in_a_missing_container_unasked(stage: Stage) -> None:
    with pytest.raises(StoreError, match="nowhere"):
        create_repository(stage.url_of("nowhere", "store"), runtime=stage.runtime)


def test_a_backup_beyond_the_quota_of_the_store_ends_as_full_and_harms_nothing(
    stage: Stage,
) -> None:
    container = f"narrow-{stage.scheme}"
    volume = MemoryVolume(noise("narrow", 32 * CHUNK), name="narrow")
    with closing(Stage(stage.scheme, stage.server, stage.proxy, container=container)) as narrow:
        first = narrow.back_up(volume)
        before = bytes(volume.content)
        volume.write(0, noise("more", 16 * CHUNK))
        set_quota(narrow, container, 4 * CHUNK)
        with pytest.raises(StoreFull):
            narrow.back_up(volume)
        assert narrow.listed(volume) == [first.id]
        assert narrow.restored(first.id, 32 * CHUNK) == before
        set_quota(narrow, container, 1 << 30)
        again = narrow.back_up(volume)
        assert narrow.restored(again.id, 32 * CHUNK) == bytes(volume.content)
