"""Logins by Keystone, through the real session, to a real Swift."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import openstack.config
import pytest
import yaml  # type: ignore[import-untyped]

from backupcore.errors import AccessDenied, Refused, StoreError, Unavailable
from tests.drivers.swift.keystone_stub import PASSWORD, SECRET, Keystone, keystone
from tests.drivers.swift.place import Place
from tests.servers.process import free_port

# said by openstacksdk 4.22 of itself whenever it reads a configuration
pytestmark = pytest.mark.filterwarnings("ignore:Support for InfluxDB")

PASSWORD_LOGIN = {
    "OS_USERNAME": "u",
    "OS_PASSWORD": PASSWORD,
    "OS_PROJECT_NAME": "p",
    "OS_USER_DOMAIN_ID": "default",
    "OS_PROJECT_DOMAIN_ID": "default",
}
APPLICATION_LOGIN = {
    "OS_AUTH_TYPE": "v3applicationcredential",
    "OS_APPLICATION_CREDENTIAL_ID": "a",
    "OS_APPLICATION_CREDENTIAL_SECRET": SECRET,
}


@pytest.fixture
def stub(place: Place, monkeypatch: pytest.MonkeyPatch) -> Iterator[Keystone]:
    """A Keystone that gives the tokens of the place's Swift, named by OS_AUTH_URL."""
    for name in ("ST_AUTH", "ST_USER", "ST_KEY"):
        monkeypatch.delenv(name)
    with keystone(place.token) as stub:
        monkeypatch.setenv("OS_AUTH_URL", stub.url)
        yield stub


def set_all(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def write_clouds(folder: Path, **auth: str) -> None:
    cloud = {"auth": auth, "region_name": "north"}
    (folder / "clouds.yaml").write_text(json.dumps({"clouds": {"archive": cloud}}))


@pytest.fixture
def user(stub: Keystone, monkeypatch: pytest.MonkeyPatch) -> Keystone:
    set_all(monkeypatch, PASSWORD_LOGIN)
    return stub


@pytest.mark.parametrize("variables", [PASSWORD_LOGIN, APPLICATION_LOGIN])
def test_a_login_with_os_variables_reaches_the_store(
    stub: Keystone, place: Place, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    set_all(monkeypatch, variables)
    with place.open() as driver:
        driver.put("config", [b"x"])
        assert driver.get("config") == b"x"
    assert len(stub.logins) == 1


@pytest.mark.parametrize("is_option", [True, False])
def test_a_cloud_of_clouds_yaml_reaches_the_store(
    stub: Keystone,
    place: Place,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    is_option: bool,
) -> None:
    write_clouds(
        tmp_path, auth_url=stub.url, username="u", password=PASSWORD,
        project_name="p", user_domain_id="default", project_domain_id="default",
    )  # fmt: skip
    monkeypatch.delenv("OS_AUTH_URL")
    if not is_option:
        monkeypatch.setenv("OS_CLOUD", "archive")
    with place.open(**{"cloud": "archive"} if is_option else {}) as driver:
        driver.put("config", [b"x"])
    assert len(stub.logins) == 1


def test_opening_asks_keystone_nothing(user: Keystone, place: Place) -> None:
    place.open().close()
    assert not user.logins


def test_a_refused_token_is_renewed(
    user: Keystone, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage_url, token = place.token()
    tokens = iter(["refused", token])
    monkeypatch.setattr(user, "token", lambda: (storage_url, next(tokens)))
    with place.open() as driver:
        driver.put("config", [b"x"], if_absent=True)
        assert driver.get("config") == b"x"
    assert len(user.logins) == 2


def test_a_token_that_ends_soon_is_renewed_before_it_is_refused(
    user: Keystone, place: Place
) -> None:
    user.life_s = 60
    with place.open() as driver:
        driver.put("config", [b"x"])
        before = len(user.logins)
        user.life_s = 3600
        driver.put("config", [b"y"])
        driver.put("config", [b"z"])
    assert len(user.logins) == before + 1


def test_a_wrong_password_is_denied(
    user: Keystone, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OS_PASSWORD", "wrong")
    with (
        place.open() as driver,
        pytest.raises(AccessDenied, match="login with OS_AUTH_URL: it requires authentication"),
    ):
        driver.get("config")


@pytest.mark.parametrize(
    ("status", "kind"),
    [(403, AccessDenied), (404, StoreError), (429, Unavailable), (500, Unavailable),
     (503, Unavailable)],
)  # fmt: skip
def test_what_keystone_answers_instead_is_told_as_it_is(
    user: Keystone, place: Place, status: int, kind: type[StoreError]
) -> None:
    user.statuses = [status]
    with place.open() as driver:
        with pytest.raises(StoreError, match="login with OS_AUTH_URL") as found:
            driver.put("config", [b"x"])
        assert type(found.value) is kind
        driver.put("config", [b"x"])


def test_an_application_credential_that_is_gone_is_denied(
    user: Keystone, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = {"error": {"code": 404, "message": "Could not find Application Credential: a."}}
    monkeypatch.setattr(user, "log_in", lambda identity: (404, "", answer))
    with place.open() as driver, pytest.raises(AccessDenied, match="make another"):
        driver.get("config")


@pytest.mark.parametrize("path", ["/v3", ""])
def test_a_keystone_that_is_away_is_unavailable(
    user: Keystone, place: Place, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setenv("OS_AUTH_URL", f"http://127.0.0.1:{free_port()}{path}")
    with place.open() as driver, pytest.raises(Unavailable, match="login with OS_AUTH_URL"):
        driver.get("config")


@pytest.mark.parametrize("options", [{"region": "south"}, {"interface": "internal"}])
def test_a_catalogue_without_the_store_names_region_and_interface(
    user: Keystone, place: Place, options: dict[str, str]
) -> None:
    with (
        place.open(**options) as driver,
        pytest.raises(StoreError, match=r"no object-store in region .* with interface"),
    ):
        driver.get("config")


def test_region_and_interface_choose_from_the_catalogue(user: Keystone, place: Place) -> None:
    with place.open(region="north", interface="public") as driver:
        driver.put("config", [b"x"])


def test_a_cloud_that_is_not_configured_is_refused(place: Place) -> None:
    with pytest.raises(Refused, match=r"login to cloud nowhere: .*nowhere"):
        place.open(cloud="nowhere")


def test_a_login_that_lacks_something_is_refused(
    stub: Keystone, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_all(monkeypatch, APPLICATION_LOGIN)
    monkeypatch.delenv("OS_APPLICATION_CREDENTIAL_SECRET")
    with pytest.raises(Refused, match="must provide an auth secret"):
        place.open()


def test_a_broken_clouds_yaml_is_refused_without_showing_it(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(**given: object) -> None:
        yaml.safe_load(f"archive: [\n  password: {SECRET}\n")

    monkeypatch.setattr(openstack.config, "get_cloud_region", read)
    with pytest.raises(Refused, match="no YAML") as found:
        place.open(cloud="archive")
    assert found.value.__cause__ is None
    assert SECRET not in str(found.value)
