"""keystonemiddleware's `auth_token`, made from the options of one table of the settings."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from keystoneauth1 import loading
from keystoneauth1.exceptions import ClientException
from keystonemiddleware import auth_token
from oslo_config import cfg

from backupcore.errors import Refused

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

__all__ = ["ClientException", "token_check"]

GROUP = "keystone_authtoken"
WHERE = "api.auth.keystone"
DEFAULTS = {
    "service_token_roles": "service",
    "service_token_roles_required": "true",
    # without it application credentials with access rules are let in nowhere
    "service_type": "block-storage",
    # its own default is to wait for ever, with one thread of ours for each request
    "http_connect_timeout": "10",
    "http_request_max_retries": "1",
}
# the application would have to refuse whom the middleware lets pass; there is one table only
_FORBIDDEN = frozenset({"delay_auth_decision", "auth_section"})


def token_check(application: WSGIApplication, options: Mapping[str, str]) -> WSGIApplication:
    """Return the application behind keystonemiddleware; Keystone is not asked yet.

    Raises: Refused when an option is missing, not known or of another type.
    """
    given = {name.replace("-", "_"): value for name, value in options.items()}
    if not given.get("auth_type"):
        raise Refused(f"{WHERE}.auth_type is missing: it is password in most clouds")
    config = cfg.ConfigOpts()
    config([], project="backupcore", default_config_files=[], default_config_dirs=[])
    try:
        known = _register(config, given["auth_type"])
        _fill(config, known, {**DEFAULTS, **given})
        _check_cache(config)
        made: WSGIApplication = auth_token.AuthProtocol(application, {"oslo_config_config": config})
    except ClientException as error:  # of the options: no plugin of that name, one that is missing
        raise Refused(f"{WHERE}: {error}") from error
    return made


def _register(config: Any, auth_type: str) -> dict[str, str]:
    """Declare the options of the middleware and of the login; returns them by all their names."""
    plugin = loading.get_auth_plugin_conf_options(loading.get_plugin_loader(auth_type))
    known: dict[str, str] = {}
    for options in [*(options for _, options in auth_token.list_opts()), plugin]:
        config.register_opts(options, group=GROUP)
        for option in options:
            names = [option.dest, *(old.name or "" for old in option.deprecated_opts)]
            known.update({name.replace("-", "_"): option.dest for name in names if name})
    return known


def _fill(config: Any, known: Mapping[str, str], given: Mapping[str, str]) -> None:
    for name, value in given.items():
        if name in _FORBIDDEN:
            raise Refused(f"{WHERE}.{name}: cannot be chosen here: leave it out")
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f": did you mean {near[0]}?" if near else ""
            raise Refused(f"{WHERE}.{name}: there is no such option{hint}")
        try:
            config.set_override(known[name], value, group=GROUP)
        except ValueError:
            # the error would show the value, perhaps a password
            raise Refused(f"{WHERE}.{name}: not a value that it can have") from None


def _check_cache(config: Any) -> None:
    """Refuse a cache that forgets nothing, which is what 0 means to the one in this process."""
    if config[GROUP].token_cache_time == 0:
        raise Refused(f"{WHERE}.token_cache_time: 0 is without end: write -1 for no cache")
