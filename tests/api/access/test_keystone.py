"""The options of keystonemiddleware, before Keystone is asked anything."""

from __future__ import annotations

import importlib.util
import logging
import sys
from typing import Any

import pytest

from backupcore.api import access
from backupcore.api.access import check_keystone, with_keystone
from backupcore.errors import Refused

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("keystonemiddleware") is None,
        reason="no keystonemiddleware: pip install 'backupcore[keystone]'",
    ),
    # said by webob 1.8 when it is imported
    pytest.mark.filterwarnings("ignore:'cgi' is deprecated"),
]

LOGIN = {
    "www_authenticate_uri": "https://keystone:5000",
    "auth_url": "https://keystone:5000",
    "auth_type": "password",
    "username": "backupcore",
    "password": "secret-canary",
    "project_name": "service",
    "user_domain_name": "Default",
    "project_domain_name": "Default",
}


@pytest.mark.parametrize(
    ("changed", "message"),
    [({"auth_type": ""}, r"auth_type is missing"),
     ({"auth_type": "pasword"}, r"pasword could not be found"),
     ({"usernme": "u"}, r"keystone\.usernme: there is no such option: did you mean username"),
     ({"insecure": "secret-canary"}, r"keystone\.insecure: not a value"),
     ({"delay_auth_decision": "true"}, r"delay_auth_decision: cannot be chosen here"),
     ({"auth_section": "other"}, r"auth_section: cannot be chosen here"),
     ({"token_cache_time": "0"}, r"write -1 for no cache")],
)  # fmt: skip
def test_a_mistake_in_the_options_is_refused_by_its_name(
    changed: dict[str, str], message: str
) -> None:
    with pytest.raises(Refused, match=message) as found:
        check_keystone({**LOGIN, **changed})
    assert "secret-canary" not in str(found.value)


def test_a_login_without_an_address_is_refused() -> None:
    options = {name: value for name, value in LOGIN.items() if name != "auth_url"}
    with pytest.raises(Refused, match="auth_url"):
        check_keystone(options)


def test_options_may_have_the_older_names_too() -> None:
    check_keystone({**LOGIN, "user-name": "backupcore", "memcache_servers": "memory:11211"})


def test_options_that_are_right_are_nothing_to_warn_of(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        check_keystone(LOGIN)
    assert not caplog.records


def test_without_keystonemiddleware_the_command_that_brings_it_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "backupcore.api.access.authtoken", None)
    monkeypatch.delattr(access, "authtoken", raising=False)
    with pytest.raises(Refused, match=r"pip install 'backupcore\[keystone\]'"):
        check_keystone(LOGIN)


@pytest.fixture
def authtoken(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The middleware's module, which lets everybody pass."""
    module = importlib.import_module("backupcore.api.access.authtoken")
    monkeypatch.setattr(module, "token_check", lambda application, options: application)
    return module


def test_what_clients_claim_is_removed_and_their_tokens_are_kept(authtoken: Any) -> None:
    seen: dict[str, Any] = {}

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        seen.update(environ)
        return []

    tokens = {"HTTP_X_AUTH_TOKEN": "user's", "HTTP_X_SERVICE_TOKEN": "service's"}
    claims = ("IDENTITY_STATUS", "USER_ID", "PROJECT_ID", "ROLES", "SERVICE_ROLES", "IS_ADMIN")
    claimed = {f"HTTP_X_{name}": "admin" for name in claims}
    checked: Any = with_keystone(application, {}, (), lambda environ: "req-1")
    checked({"PATH_INFO": "/v3/p/backups", **tokens, **claimed}, lambda *given: None)
    assert seen == {"PATH_INFO": "/v3/p/backups", **tokens}


def test_a_keystone_that_cannot_be_asked_is_503_with_a_request_id(authtoken: Any) -> None:
    started: list[Any] = []

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        raise authtoken.ClientException

    checked: Any = with_keystone(application, {}, (), lambda environ: "req-1")
    body = checked({"PATH_INFO": "/v3/p/backups"}, lambda *given: started.extend(given))
    assert b"".join(body).startswith(b'{"serviceUnavailable": {"code": 503')
    assert started[0] == "503 Service Unavailable"
    assert ("x-openstack-request-id", "req-1") in started[1]
