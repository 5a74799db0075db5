"""Options of the URL: some are ours, the rest goes to the constructor of the file system.

A value that is a number, `true`, `false`, `null` or a text in quotes in JSON is that; anything else
is text as it stands. What looks like a secret is refused: URLs end in logs and process lists.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from backupcore.driver import Url
from backupcore.errors import Refused

__all__ = ["Chosen", "Value", "choose_options"]

Value = str | int | float | bool | None

_SECRET = re.compile(
    r"(^|_)(auth|connection_string|credentials?|key|pass(phrase|code|wd|word)?|pat|pkey|pwd"
    r"|sas|secret|signature|token)($|_)|password|secret|token",
    re.IGNORECASE,
)
_NO_SECRET = frozenset({"host_key_policy", "key_filename"})
_OURS = frozenset({"create_container", "known_hosts"})
# What the driver itself depends on.
_FIXED = frozenset({"asynchronous", "loop", "skip_instance_cache", "use_listings_cache"})


@dataclass(frozen=True, slots=True)
class Chosen:
    """The options of a URL, ours apart from those of the file system."""

    create_container: bool
    known_hosts: str
    given: dict[str, Value]


def choose_options(url: Url, protocol: str) -> Chosen:
    """Return the options of a URL. Raises: Refused naming the one that is not taken."""
    for name in url.options:
        if name in _FIXED:
            raise Refused(f"{url}: option {name!r} is not to be chosen: leave it out")
        if _SECRET.search(name) and name not in _NO_SECRET:
            raise Refused(
                f"{url}: option {name!r} looks like a secret: put it into fsspec's own "
                f"configuration, such as ~/.config/fsspec/{protocol}.json, or that of {protocol}"
            )
    known_hosts = url.options.get("known_hosts", "~/.ssh/known_hosts")
    if "known_hosts" in url.options and protocol not in ("sftp", "ssh"):
        raise Refused(f"{url}: option 'known_hosts' is of sftp and ssh only: leave it out")
    given = {
        name: _value(url, name, text) for name, text in url.options.items() if name not in _OURS
    }
    return Chosen(url.wants("create_container"), known_hosts, given)


def _value(url: Url, name: str, text: str) -> Value:
    try:
        value = json.loads(text)
    except ValueError:
        return text
    if isinstance(value, dict | list):
        raise Refused(f"{url}: option {name!r} has parts: put it into fsspec's own configuration")
    return value  # type: ignore[no-any-return]  # what is left is a scalar
