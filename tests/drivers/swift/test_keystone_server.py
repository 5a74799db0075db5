"""Logins at a real Keystone, to a real Swift that asks it about each token."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from backupcore.driver import Driver
from backupcore.driver.registry import open_driver
from backupcore.errors import AccessDenied, Unavailable
from backupcore_swift import keystone as way
from tests.servers.keystone import Keystone, keystone, need_keystone
from tests.servers.swift_server import storage_folder, swift_server

pytestmark = [
    pytest.mark.long,
    need_keystone(),
    # said by openstacksdk 4.22 of itself whenever it reads a configuration
    pytest.mark.filterwarnings("ignore:Support for InfluxDB"),
]

TOKEN_LIFE_S = 15  # long enough for one request on a busy machine
NAMES = {
    "OS_AUTH_URL": "auth_url",
    "OS_USERNAME": "username",
    "OS_PASSWORD": "password",
    "OS_PROJECT_NAME": "project_name",
    "OS_USER_DOMAIN_ID": "user_domain_id",
    "OS_PROJECT_DOMAIN_ID": "project_domain_id",
}


@pytest.fixture(scope="module")
def identity() -> Iterator[Keystone]:
    with (
        keystone() as running,
        storage_folder() as folder,
        swift_server(folder, keystone=running.authtoken()) as swift,
    ):
        running.offer("object-store", swift.catalogue_url)
        yield running


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tokens that the driver was given, oldest first."""
    tokens: list[str] = []
    ask = way.Keystone.ask

    def told(login: way.Keystone) -> tuple[str, str]:
        found = ask(login)
        tokens.append(found[1])
        return found

    monkeypatch.setattr(way.Keystone, "ask", told)
    return tokens


def set_all(monkeypatch: pytest.MonkeyPatch, variables: Mapping[str, str]) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def opened(**options: Any) -> Driver:
    """Open a container of its own, which is made."""
    url = f"swift://backups-{secrets.token_hex(4)}/nightly"
    return open_driver(url, create_container="yes", **options)


def storage_url(identity: Keystone) -> str:
    """Return the account of project demo."""
    services = identity.ask("GET", "/services?type=object-store")["services"]
    found = identity.ask("GET", f"/endpoints?service_id={services[0]['id']}")["endpoints"]
    return str(found[0]["url"]).replace("%(project_id)s", identity.projects["demo"])


def assert_works(driver: Driver) -> None:
    driver.put("config", [b"x"])
    assert driver.get("config") == b"x"
    assert [found.key for found in driver.list()] == ["config"]
    driver.delete(["config"])


def test_a_password_reaches_the_store(
    identity: Keystone, monkeypatch: pytest.MonkeyPatch, given: list[str]
) -> None:
    set_all(monkeypatch, identity.variables("member"))
    with opened() as driver:
        assert_works(driver)
    assert len(given) == 1


def test_an_application_credential_reaches_the_store(
    identity: Keystone, monkeypatch: pytest.MonkeyPatch, given: list[str]
) -> None:
    set_all(monkeypatch, identity.application("member", "store"))
    with opened() as driver:
        assert_works(driver)
    assert len(given) == 1


def test_a_cloud_of_clouds_yaml_reaches_the_store(identity: Keystone, tmp_path: Path) -> None:
    variables = identity.variables("member")
    auth = {name: variables[variable] for variable, name in NAMES.items()}
    cloud = {"auth": auth, "region_name": variables["OS_REGION_NAME"]}
    (tmp_path / "clouds.yaml").write_text(json.dumps({"clouds": {"archive": cloud}}))
    with opened(cloud="archive", interface="internal") as driver:
        assert_works(driver)


def test_a_token_that_somebody_got_reaches_the_store_until_it_is_revoked(
    identity: Keystone, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = identity.token("member")
    set_all(monkeypatch, {"OS_STORAGE_URL": storage_url(identity), "OS_AUTH_TOKEN": token})
    with opened() as driver:
        assert_works(driver)
        identity.revoke(token)
        with pytest.raises(AccessDenied, match=r"401: the token in OS_AUTH_TOKEN is not accepted"):
            driver.get("config")


@pytest.mark.parametrize("kind", ["password", "application"])
def test_a_revoked_token_is_renewed_in_the_middle_of_the_work(
    identity: Keystone, monkeypatch: pytest.MonkeyPatch, given: list[str], kind: str
) -> None:
    is_password = kind == "password"
    login = identity.variables("member") if is_password else identity.application("member", "two")
    set_all(monkeypatch, login)
    with opened() as driver:
        driver.put("config", [b"x"])
        identity.revoke(given[-1])
        driver.put("config", [b"y"])
        identity.revoke(given[-1])
        assert driver.get("config") == b"y"
    assert len(given) == 3


def test_the_work_lasts_longer_than_a_token(
    identity: Keystone, monkeypatch: pytest.MonkeyPatch, given: list[str]
) -> None:
    with identity.issuing_for(TOKEN_LIFE_S) as url:
        set_all(monkeypatch, {**identity.variables("member"), "OS_AUTH_URL": url})
        with opened() as driver:
            driver.put("config", [b"x"])
            time.sleep(TOKEN_LIFE_S + 1)
            assert driver.get("config") == b"x"
            driver.put("config", [b"y"])
    assert len(given) > 1


def test_an_application_credential_that_was_deleted_ends_the_work(
    identity: Keystone, monkeypatch: pytest.MonkeyPatch
) -> None:
    login = identity.application("member", "short")
    set_all(monkeypatch, login)
    with opened() as driver:
        driver.put("config", [b"x"])
        identity.forget_application("member", login)
        with pytest.raises(
            AccessDenied, match=r"Could not find Application Credential.* make another"
        ):
            driver.get("config")


def test_a_wrong_password_is_one_clear_error(
    identity: Keystone, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_all(monkeypatch, {**identity.variables("member"), "OS_PASSWORD": "wrong"})
    with pytest.raises(AccessDenied) as found, opened() as driver:
        driver.get("config")
    assert str(found.value).startswith(
        "login with OS_AUTH_URL: The request you have made requires authentication"
    )
    assert "wrong" not in str(found.value)


def test_a_user_without_a_role_in_the_project_is_one_clear_error(
    identity: Keystone, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_all(monkeypatch, identity.variables("stranger"))
    with pytest.raises(AccessDenied, match="login with OS_AUTH_URL: "), opened() as driver:
        driver.get("config")


@pytest.mark.parametrize("user", ["nobody", "reader"])
def test_a_role_that_swift_does_not_know_is_one_clear_error(
    identity: Keystone, monkeypatch: pytest.MonkeyPatch, user: str
) -> None:
    set_all(monkeypatch, identity.variables(user))
    with pytest.raises(AccessDenied, match="403"), opened() as driver:
        driver.get("config")


def test_a_token_of_another_project_is_one_clear_error(
    identity: Keystone, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = identity.token("stranger", "other")
    set_all(monkeypatch, {"OS_STORAGE_URL": storage_url(identity), "OS_AUTH_TOKEN": token})
    with pytest.raises(AccessDenied, match="403"), opened() as driver:
        driver.get("config")


def test_while_keystone_is_away_the_store_is_unavailable_and_works_again_after_it(
    identity: Keystone, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_all(monkeypatch, identity.variables("member"))
    with opened() as driver:
        driver.put("config", [b"x"])
        identity.server.kill()
        try:
            with pytest.raises(Unavailable):
                driver.get("config")
        finally:
            identity.restart()
        assert driver.get("config") == b"x"
