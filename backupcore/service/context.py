"""What every use case stands on."""

from __future__ import annotations

from dataclasses import dataclass, field

from backupcore.catalog import Catalog, Scope
from backupcore.runtime import Runtime
from backupcore.service.caller import Caller
from backupcore.service.observer import Observer
from backupcore.service.policy import Policy
from backupcore.service.providers import Providers
from backupcore.service.settings import Settings
from backupcore.service.store import Stores

__all__ = ["Context", "list_scope", "scope_of"]


@dataclass(frozen=True, slots=True)
class Context:
    """Settings, rows, repositories, volumes, rules, and the world."""

    settings: Settings
    catalog: Catalog
    stores: Stores
    providers: Providers
    policy: Policy
    runtime: Runtime
    observer: Observer = field(default_factory=Observer)


def scope_of(caller: Caller) -> Scope:
    """Return whose things a caller may name: an admin's are everybody's."""
    return Scope.everything() if caller.is_admin else Scope.of(caller.project_id)


def list_scope(caller: Caller, *, is_all: bool) -> Scope:
    """Return whose things a list shows: everybody's to an admin who asks for them."""
    return Scope.everything() if is_all and caller.is_admin else Scope.of(caller.project_id)
