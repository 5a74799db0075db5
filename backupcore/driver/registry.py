"""Opening a driver by URL: only the plugin named after the URL's scheme is imported."""

from __future__ import annotations

from dataclasses import replace

import backupcore.driver as specification
from backupcore.driver import GROUP, Capabilities, Driver, Url
from backupcore.driver.layer import Checked, ReadOnly
from backupcore.errors import Refused
from backupcore.plugin import load_plugin, schemes

__all__ = ["DEFAULT_SCHEME", "driver_schemes", "open_driver", "scheme_capabilities"]

DEFAULT_SCHEME = "posix"


def open_driver(url: str | Url, *, read_only: bool = False, **options: str) -> Driver:
    """Open a store by URL; a text without a scheme is the path of a directory.

    read_only: whether every change is refused before the plugin hears of it.
    options: added to the URL's query; the plugin refuses those it does not know.
    Whatever the plugin does, no key reaches it that `check_key` refuses, and it lists none.
    Raises: UnknownScheme, Refused, AccessDenied, Unavailable.
    """
    parsed = Url.parse(url, default_scheme=DEFAULT_SCHEME) if isinstance(url, str) else url
    parsed = replace(parsed, options={**parsed.options, **options})
    hook = load_plugin(GROUP, parsed.scheme, specification)
    driver: Driver | None = hook.backupcore_open_driver(url=parsed, options=parsed.options)
    if driver is None:
        raise Refused(f"{parsed}: the plugin of {parsed.scheme}: does not open this URL")
    return Checked(ReadOnly(driver) if read_only else driver)


def driver_schemes() -> dict[str, str]:
    """Return every scheme that can be opened and the distribution that brings it."""
    return schemes(GROUP)


def scheme_capabilities(scheme: str) -> Capabilities | None:
    """Return what every store of a scheme promises, None when only an opened one can tell.

    Raises: UnknownScheme when its plugin cannot be loaded.
    """
    hook = load_plugin(GROUP, scheme, specification)
    plugins = [found.plugin for found in hook.backupcore_open_driver.get_hookimpls()]
    stated = [
        thing.capabilities
        for plugin in plugins
        for thing in vars(plugin).values()
        if isinstance(thing, type)
        and issubclass(thing, Driver)
        and isinstance(getattr(thing, "capabilities", None), Capabilities)
    ]
    return stated[0] if len(stated) == 1 else None
