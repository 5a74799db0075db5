"""How much a project may hold, and how much it holds: counted from the rows, never kept apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from sqlalchemy import Connection, Table, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from backupcore.catalog import schema
from backupcore.catalog.error import QuotaExceeded
from backupcore.catalog.query.page import INTEGER_MAX
from backupcore.catalog.query.value import BACKUP, SNAPSHOT, VOLUME, Kind
from backupcore.errors import Refused

__all__ = ["DEFAULT_LIMITS", "UNLIMITED", "Quota", "Usage", "check_limits"]

UNLIMITED = -1
DEFAULT_LIMITS: Mapping[str, int] = MappingProxyType(
    {
        "backups": 10,
        "backup_gigabytes": 1000,
        "volumes": 10,
        "snapshots": 10,
        "gigabytes": 1000,
        "per_volume_gigabytes": UNLIMITED,
    }
)
_COUNTED = {BACKUP.name: "backups", VOLUME.name: "volumes", SNAPSHOT.name: "snapshots"}


@dataclass(frozen=True, slots=True)
class Usage:
    """What a project holds, whatever its state; gigabytes are of volumes and their snapshots."""

    backups: int
    backup_gigabytes: int
    volumes: int
    gigabytes: int
    snapshots: int


class Quota:
    """The limits and usage of projects, within one transaction.

    defaults: limits of a project of which nothing else was said; all the resources there are.
    """

    def __init__(self, connection: Connection, defaults: Mapping[str, int]) -> None:
        self._connection = connection
        self._defaults = defaults

    def limits(self, project_id: str) -> dict[str, int]:
        """Return a project's limits by resource; -1 for none."""
        table = schema.limits
        query = select(table.c.resource, table.c.value).where(table.c.project_id == project_id)
        own = {row.resource: row.value for row in self._connection.execute(query)}
        return {
            resource: own.get(resource, self._defaults[resource]) for resource in self._defaults
        }

    def set_limits(self, project_id: str, limits: Mapping[str, int]) -> None:
        """Change some of a project's limits. Raises: Refused for what is no resource or limit."""
        check_limits(limits)
        self.lock(project_id)
        table = schema.limits
        for resource, value in sorted(limits.items()):
            is_it = (table.c.project_id == project_id) & (table.c.resource == resource)
            changed = self._connection.execute(update(table).where(is_it).values(value=value))
            if not changed.rowcount:
                row = {"project_id": project_id, "resource": resource, "value": value}
                self._connection.execute(insert(table).values(row))

    def reset_limits(self, project_id: str) -> None:
        """Forget what was said of a project's limits."""
        self.lock(project_id)
        table = schema.limits
        self._connection.execute(delete(table).where(table.c.project_id == project_id))

    def usage(self, project_id: str) -> Usage:
        """Return how much a project holds."""
        backups, backup_gigabytes = self._count(schema.backups, project_id)
        volumes, volume_gigabytes = self._count(schema.volumes, project_id)
        snapshots, snapshot_gigabytes = self._count(schema.snapshots, project_id)
        return Usage(
            backups=backups,
            backup_gigabytes=backup_gigabytes,
            volumes=volumes,
            gigabytes=volume_gigabytes + snapshot_gigabytes,
            snapshots=snapshots,
        )

    def take(self, kind: Kind[Any], project_id: str, size: int, *, held: int | None = None) -> None:
        """Check that a project may hold one more row of so many GiB, or one row so much larger.

        held: GiB of the row that grows, None for a new one. Whoever else adds to the project
        waits from here to the end of the transaction. Sizes are looked at before counts, as the
        Block Storage API does.
        Raises: QuotaExceeded.
        """
        self.lock(project_id)
        limits = self.limits(project_id)
        sizes = "backup_gigabytes" if kind is BACKUP else "gigabytes"
        counts = _COUNTED[kind.name]
        if all(limits[resource] == UNLIMITED for resource in (sizes, counts)):
            used = {sizes: 0, counts: 0}
        else:
            usage = self.usage(project_id)
            used = {sizes: getattr(usage, sizes), counts: getattr(usage, counts)}
        if kind is VOLUME:
            _check("per_volume_gigabytes", requested=size, limits=limits, used=held or 0)
        _check(sizes, requested=size, limits=limits, used=used[sizes])
        _check(counts, requested=int(held is None), limits=limits, used=used[counts])

    def lock(self, project_id: str) -> None:
        """Wait for, and be, the only one who adds to a project in this transaction."""
        table = schema.projects
        query = select(table).where(table.c.project_id == project_id).with_for_update()
        if self._connection.execute(query).first() is None:
            try:
                with self._connection.begin_nested():
                    self._connection.execute(insert(table).values(project_id=project_id))
            except IntegrityError:  # another one made the row meanwhile
                self._connection.execute(query).one()

    def _count(self, table: Table, project_id: str) -> tuple[int, int]:
        total = func.coalesce(func.sum(table.c.size), 0)
        query = select(func.count(), total).where(table.c.project_id == project_id)
        count, size = self._connection.execute(query).one()
        return count, int(size)


def check_limits(limits: Mapping[str, int]) -> None:
    """Check that each is a limit of something that is limited. Raises: Refused."""
    for resource, value in limits.items():
        if resource not in DEFAULT_LIMITS:
            known = ", ".join(DEFAULT_LIMITS)
            raise Refused(f"quota {resource!r} does not exist: there are {known}")
        if not UNLIMITED <= value <= INTEGER_MAX:
            raise Refused(f"quota {resource} {value}: must be a whole number, -1 for no limit")


def _check(resource: str, *, requested: int, limits: Mapping[str, int], used: int) -> None:
    limit = limits[resource]
    if requested > 0 and limit != UNLIMITED and used + requested > limit:
        raise QuotaExceeded(resource, requested=requested, limit=limit, used=used)
