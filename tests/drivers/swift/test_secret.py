"""No password, key or token shows in a message, a log, a trace or the text of any object."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterator

import pytest

from backupcore.driver import Driver
from backupcore.errors import BackupError
from backupcore_swift.login import Login, Ticket, Way
from tests.drivers.swift.keystone_stub import PASSWORD, keystone
from tests.drivers.swift.place import Place
from tests.servers.fault_proxy import Fault, FaultProxy, Rule

# said by openstacksdk 4.22 of itself whenever it reads a configuration
pytestmark = pytest.mark.filterwarnings("ignore:Support for InfluxDB")

FAULTS = [
    Rule(Fault.ANSWER, status=401, count=None),
    Rule(Fault.ANSWER, status=403, count=None),
    Rule(Fault.ANSWER, status=503, count=None),
    Rule(Fault.RESET_BEFORE, count=None),
    Rule(Fault.ANSWER, "GET", "/auth/*", status=500),
]
CALLS: list[Callable[[Driver], object]] = [
    lambda driver: driver.put("a", [b"x"]),
    lambda driver: driver.get("a"),
    lambda driver: list(driver.list()),
]


class Canary:
    """Everything that was said, and what must not be in it."""

    def __init__(self, log: pytest.LogCaptureFixture) -> None:
        self.secrets: set[str] = set()
        self._log = log
        self._said: list[str] = []

    def try_all(self, driver: Driver) -> None:
        for call in CALLS:
            try:
                call(driver)
            except BackupError as error:
                self._said += [str(error), repr(error), *traceback.format_exception(error)]
        self._said += [repr(driver), repr(vars(driver)), str(driver)]

    def assert_silent(self) -> None:
        said = "\n".join([*self._said, self._log.text])
        assert len(said) > 1000
        shown = [secret for secret in self.secrets if secret in said]
        assert not shown


@pytest.fixture
def canary(caplog: pytest.LogCaptureFixture, place: Place) -> Iterator[Canary]:
    caplog.set_level(logging.DEBUG)
    canary = Canary(caplog)
    canary.secrets = {place.server.key, PASSWORD, place.token()[1]}
    caplog.clear()
    yield canary
    canary.assert_silent()


@pytest.mark.parametrize("rule", FAULTS, ids=lambda rule: f"{rule.fault} {rule.status}")
def test_a_login_of_swift_shows_no_secret(
    canary: Canary, place: Place, proxy: FaultProxy, rule: Rule
) -> None:
    with place.open() as driver:
        canary.try_all(driver)
        proxy.rules = [rule]
        canary.try_all(driver)
    with place.open() as driver:
        canary.try_all(driver)


def test_a_given_token_shows_nowhere(
    canary: Canary, place: Place, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage_url, token = place.token()
    monkeypatch.setenv("OS_STORAGE_URL", storage_url.replace(place.server.s3_endpoint, proxy.url))
    monkeypatch.setenv("OS_AUTH_TOKEN", token)
    with place.open() as driver:
        canary.try_all(driver)
        for rule in FAULTS:
            proxy.rules = [rule]
            canary.try_all(driver)


def test_a_login_by_keystone_shows_no_secret(
    canary: Canary, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ST_AUTH", "ST_USER", "ST_KEY"):
        monkeypatch.delenv(name)
    with keystone(place.token) as stub:
        for name, value in {
            "AUTH_URL": stub.url, "USERNAME": "u", "PASSWORD": PASSWORD, "PROJECT_NAME": "p",
            "USER_DOMAIN_ID": "default", "PROJECT_DOMAIN_ID": "default",
        }.items():  # fmt: skip
            monkeypatch.setenv(f"OS_{name}", value)
        with place.open() as driver:
            canary.try_all(driver)
        for status in (401, 500):
            stub.statuses = [status] * 3
            with place.open() as driver:
                canary.try_all(driver)


class Known(Way):
    def ask(self) -> tuple[str, str]:
        return "http://127.0.0.1/v1/x", "a-token"


def test_a_ticket_and_its_login_show_no_token() -> None:
    login = Login(Known())
    assert login.ticket() == Ticket("http://127.0.0.1/v1/x", "a-token")
    assert "a-token" not in repr(login.ticket()) + repr(login)
