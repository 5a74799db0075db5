"""What may be asked of snapshots: a provider makes them, the catalog knows them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Unpack

from backupcore.catalog import Listing, Page, Rows, Scope
from backupcore.catalog.change import SnapshotChanges
from backupcore.catalog.row import SnapshotRow, VolumeRow
from backupcore.catalog.status import SnapshotMove, SnapshotStatus, VolumeStatus
from backupcore.errors import BackupError, NotFound
from backupcore.provider import Provider
from backupcore.service.caller import Caller
from backupcore.service.context import Context, list_scope, scope_of
from backupcore.service.error import Invalid
from backupcore.service.meaning import explained, new_uuid
from backupcore.service.request.volumes import Volumes

__all__ = ["SnapshotWish", "Snapshots"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotWish:
    """A snapshot to be made; forced: also of a volume in use."""

    volume_id: str
    name: str | None = None
    description: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    is_forced: bool = False


class Snapshots:
    """The use cases of snapshots."""

    def __init__(self, context: Context, volumes: Volumes) -> None:
        self._catalog = context.catalog
        self._policy = context.policy
        self._runtime = context.runtime
        self._providers = context.providers
        self._volumes = volumes

    def page(self, caller: Caller, listing: Listing, *, is_all: bool = False) -> Page[SnapshotRow]:
        """Return a page of the caller's snapshots, everybody's to an admin who asks for them."""
        self._policy.check("volume:get_all_snapshots", caller)
        with explained(), self._catalog.reading() as rows:
            return rows.page_snapshots(list_scope(caller, is_all=is_all), listing)

    def show(
        self, caller: Caller, snapshot_id: str, rule: str = "volume:get_snapshot"
    ) -> SnapshotRow:
        """Return a snapshot. Raises: Missing, Denied."""
        with explained(), self._catalog.reading() as rows:
            row = rows.snapshot(snapshot_id, scope_of(caller))
        self._policy.check(rule, caller, row.project_id)
        return row

    def create(self, caller: Caller, wish: SnapshotWish) -> SnapshotRow:
        """Make a snapshot. Raises: Missing, Invalid, OverQuota, Denied."""
        volume = self._volumes.show(caller, wish.volume_id, "volume:create_snapshot")
        provider = self._providers.of(volume)
        if not provider.has_snapshots:
            raise Invalid(f"Invalid volume: Volume {volume.id}: its provider makes no snapshots")
        snapshot_id = new_uuid(self._runtime)
        row = SnapshotRow(
            id=snapshot_id,
            project_id=caller.project_id,
            user_id=caller.user_id,
            volume_id=volume.id,
            name=wish.name,
            description=wish.description,
            metadata=wish.metadata,
            status=SnapshotStatus.CREATING,
            size=volume.size,
            size_bytes=volume.size_bytes,
            provider=volume.provider,
            place=_hint(snapshot_id),
            created_at=self._runtime.clock.now(),
        )

        def add(rows: Rows) -> None:
            _check_frozen(rows.volume(volume.id, Scope.everything()), wish)
            rows.add_snapshot(row)

        with explained():
            self._catalog.write(add)
        try:
            place = provider.snapshot(volume.place, row.place)
        except BackupError as error:
            log.warning("snapshot not made", extra={"snapshot": row.id, "reason": str(error)})
            return self._move(row.id, SnapshotMove.FAIL_CREATE)
        return self._move(row.id, SnapshotMove.CREATED, place=place)

    def update(self, caller: Caller, snapshot_id: str, changes: SnapshotChanges) -> SnapshotRow:
        """Change name, description or metadata. Raises: Missing, Denied."""
        row = self.show(caller, snapshot_id, "volume:update_snapshot")
        if not changes:
            return row
        with explained():
            return self._catalog.write(lambda rows: rows.edit_snapshot(row.id, **changes))

    def delete(self, caller: Caller, snapshot_id: str) -> None:
        """Delete a snapshot. Raises: Missing, Invalid, Denied."""
        row = self.show(caller, snapshot_id, "volume:delete_snapshot")
        volume = self._volumes.show(caller, row.volume_id, "volume:get")
        self._move(row.id, SnapshotMove.DELETE)
        try:
            _delete_at(self._providers.of(volume), volume.place, row)
        except BackupError as error:
            self._move(row.id, SnapshotMove.FAIL_DELETE)
            log.warning("snapshot not deleted", extra={"snapshot": row.id, "reason": str(error)})
            return
        with explained():
            self._catalog.write(lambda rows: rows.remove_snapshot(row.id))

    def reset(self, caller: Caller, snapshot_id: str, status: SnapshotStatus) -> None:
        """Set the status an admin names. Raises: Missing, Denied."""
        rule = "volume_extension:snapshot_admin_actions:reset_status"
        row = self.show(caller, snapshot_id, rule)
        with explained():
            self._catalog.write(
                lambda rows: rows.move_snapshot(row.id, SnapshotMove.RESET, status=status)
            )

    def _move(
        self, snapshot_id: str, move: SnapshotMove, **changes: Unpack[SnapshotChanges]
    ) -> SnapshotRow:
        with explained():
            return self._catalog.write(
                lambda rows: rows.move_snapshot(snapshot_id, move, **changes)
            )


def _check_frozen(volume: VolumeRow, wish: SnapshotWish) -> None:
    """Refuse a volume that cannot be frozen now. Raises: Invalid."""
    is_in_use = volume.status is VolumeStatus.IN_USE
    if not (volume.status is VolumeStatus.AVAILABLE or (is_in_use and wish.is_forced)):
        raise Invalid(
            f"Invalid volume: Volume {volume.id} status must be available, but current "
            f"status is: {volume.status}."
        )


def _delete_at(provider: Provider, volume_place: str, row: SnapshotRow) -> None:
    """Delete what a provider made for a row, also when the row never heard of its place."""
    made = [
        found.place
        for found in list(provider.list_snapshots(volume_place))
        if found.place == row.place or found.name == _hint(row.id)
    ]
    for place in made:
        with suppress(NotFound):
            provider.delete_snapshot(place)


def _hint(snapshot_id: str) -> str:
    return f"snapshot-{snapshot_id}"
