"""The plugin door: entry points named after URL schemes, loaded one at a time with pluggy."""

from __future__ import annotations

import sys
from functools import lru_cache
from importlib.metadata import EntryPoints, entry_points
from types import ModuleType

import pluggy

from backupcore.errors import UnknownScheme

__all__ = ["hookimpl", "hookspec", "load_plugin", "schemes"]

PROJECT = "backupcore"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


def schemes(group: str) -> dict[str, str]:
    """Return every scheme served by an installed plugin and the distribution that brings it."""
    return {
        point.name: f"{point.dist.name} {point.dist.version}" if point.dist else ""
        for point in sorted(_points(group, tuple(sys.path)), key=lambda point: point.name)
    }


# a file of every installed distribution is read: 10 ms, and each job opens several plugins
@lru_cache(maxsize=32)
def _points(group: str, path: tuple[str, ...]) -> EntryPoints:
    """Return the entry points of a group. path: `sys.path`, where distributions are looked for."""
    return entry_points(group=group)


def load_plugin(group: str, scheme: str, specification: ModuleType) -> pluggy.HookRelay:
    """Import the one plugin that serves a scheme and return its hooks.

    A plugin named `a` serves every scheme `a+b` that no other plugin is named after.
    specification: the module that declares the group's hooks.
    Raises: UnknownScheme when no installed distribution serves the scheme, when what it needs is
    not installed, or when its hook does not fit the specification.
    """
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(specification)
    points = _points(group, tuple(sys.path))
    found = points.select(name=scheme) or points.select(name=scheme.partition("+")[0])
    try:
        for point in list(found)[:1]:
            manager.register(point.load(), name=point.name)
    except (ImportError, pluggy.PluginValidationError) as error:
        raise UnknownScheme(f"plugin for {scheme}: cannot be loaded: {error}") from error
    if not found:
        known = ", ".join(schemes(group)) or "none"
        raise UnknownScheme(
            f"no installed plugin serves {scheme}: (installed: {known}): "
            f"install a distribution with an entry point {scheme!r} in group {group!r}"
        )
    return manager.hook
