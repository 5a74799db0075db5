"""Which login is meant: the first of four that the URL or the environment names."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from backupcore.errors import Refused
from backupcore_swift.login import AuthV1, ExistingToken, Trust, Way
from backupcore_swift.option import Settings

__all__ = ["choose_way"]

_TOKEN = ("OS_STORAGE_URL", "OS_AUTH_TOKEN")
_V1 = ("ST_AUTH", "ST_USER", "ST_KEY")
_SENT = re.compile(r"[!-~](?:[ -~]*[!-~])?")


def choose_way(settings: Settings, environ: Mapping[str, str]) -> Way:
    """Return how to log in; asks no server.

    In this order: cloud=NAME or OS_CLOUD, OS_STORAGE_URL with OS_AUTH_TOKEN, ST_AUTH, OS_AUTH_URL.
    Raises: Refused when none is named, one is named in part, or it cannot be read.
    """
    if settings.cloud or environ.get("OS_CLOUD"):
        return _keystone(settings, settings.cloud or environ["OS_CLOUD"])
    if environ.get("OS_STORAGE_URL"):
        storage_url, token = _given(settings, environ, _TOKEN)
        return ExistingToken(storage_url.rstrip("/"), token, _trust(settings, environ))
    if environ.get("ST_AUTH"):
        auth_url, user, key = _given(settings, environ, _V1)
        return AuthV1(auth_url, user, key, _trust(settings, environ))
    if environ.get("OS_AUTH_URL"):
        return _keystone(settings, "")
    raise Refused(
        f"{settings.place}: no credentials: name a cloud of clouds.yaml with cloud=NAME or "
        "OS_CLOUD, or set OS_AUTH_URL and what belongs to it, ST_AUTH with ST_USER and ST_KEY, or "
        "OS_STORAGE_URL with OS_AUTH_TOKEN"
    )


def _given(settings: Settings, environ: Mapping[str, str], names: tuple[str, ...]) -> list[str]:
    """Return the values of variables that belong together."""
    for name in names:
        if not environ.get(name):
            raise Refused(f"{settings.place}: {names[0]} is set, {name} is not: set both")
        # an error of the SDK would show the value
        if not _SENT.fullmatch(environ[name]):
            raise Refused(f"{settings.place}: {name} holds a space or a line break: set it anew")
    for name in ("region", "interface"):
        if getattr(settings, name):
            raise Refused(
                f"{settings.place}: {name} chooses from Keystone's catalogue, and {names[0]} "
                "leads elsewhere: leave it out or log in with cloud=NAME"
            )
    return [environ[name] for name in names]


def _trust(settings: Settings, environ: Mapping[str, str]) -> Trust:
    path = environ.get("OS_CACERT", "")
    if path and not os.path.isfile(path):
        raise Refused(f"{settings.place}: OS_CACERT names no file: {path}")
    return Trust(verify=path or True)


def _keystone(settings: Settings, cloud: str) -> Way:
    try:
        # from extra `swift`, and imported for this login only: it takes most of a second
        from backupcore_swift.keystone import Keystone  # noqa: PLC0415
    except ImportError as error:
        raise Refused(
            f"{settings.place}: openstacksdk is not installed: run pip install 'backupcore[swift]'"
        ) from error
    return Keystone(settings, cloud)
