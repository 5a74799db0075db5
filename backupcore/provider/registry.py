"""Opening a provider by its kind: only the plugin of this name is imported."""

from __future__ import annotations

import os
from collections.abc import Mapping

import backupcore.provider as specification
from backupcore.errors import Refused
from backupcore.plugin import load_plugin, schemes
from backupcore.provider import GROUP, Provider, check_hint
from backupcore.provider.layer import Checked, guarded

__all__ = ["open_provider", "provider_kinds"]


def open_provider(
    kind: str,
    *,
    name: str,
    options: Mapping[str, object] | None = None,
    folder: str | os.PathLike[str] = ".",
) -> Provider:
    """Open the provider of a kind, such as `directory`.

    name: what the operator calls it; the service keeps it with each volume. options: what the
    settings say; the plugin refuses those it does not know. folder: where relative paths among
    them start. Places, names and sizes are checked before the plugin hears of them.
    Raises: UnknownScheme, Refused, NotFound, SourceError.
    """
    hook = load_plugin(GROUP, kind, specification)
    with guarded(check_hint(name), "open it"):
        provider: Provider | None = hook.backupcore_open_provider(
            kind=kind, name=name, options=options or {}, folder=os.path.abspath(folder)
        )
    if provider is None:
        raise Refused(f"provider {name}: the plugin of {kind} does not open it: see its options")
    return Checked(provider)


def provider_kinds() -> dict[str, str]:
    """Return every kind that can be opened and the distribution that brings it."""
    return schemes(GROUP)
