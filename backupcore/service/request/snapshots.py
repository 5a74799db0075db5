"""What may be asked of snapshots: a provider makes them, the catalog knows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from backupcore.catalog import Listing, Page, Rows, Scope
from backupcore.catalog.change import SnapshotChanges
from backupcore.catalog.row import SnapshotRow, VolumeRow
from backupcore.catalog.status import SnapshotMove, SnapshotStatus, VolumeStatus
from backupcore.service.caller import Caller
from backupcore.service.context import Context, list_scope, scope_of
from backupcore.service.error import Invalid
from backupcore.service.meaning import explained, new_uuid
from backupcore.service.request.volumes import Volumes
from backupcore.service.work.making import Making, snapshot_hint

__all__ = ["SnapshotWish", "Snapshots"]


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
        self._making = Making(context)

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
        volume = self._volumes.seen(
            self._volumes.show(caller, wish.volume_id, "volume:create_snapshot")
        )
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
            place=snapshot_hint(snapshot_id),
            created_at=self._runtime.clock.now(),
        )
        if volume.status is VolumeStatus.IN_USE and not wish.is_forced:
            raise Invalid(_status_text(volume.id, VolumeStatus.IN_USE))

        def add(rows: Rows) -> None:
            _check_frozen(rows.volume(volume.id, Scope.everything()), wish)
            rows.add_snapshot(row)

        with explained():
            self._catalog.write(add)
        self._providers.soon(lambda: self._making.make_snapshot(row, volume))
        with explained(), self._catalog.reading() as found:
            return found.snapshot(row.id, Scope.everything())

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
        with explained():
            self._catalog.write(lambda rows: rows.move_snapshot(row.id, SnapshotMove.DELETE))
        self._providers.soon(lambda: self._making.delete_snapshot(row, volume))

    def reset(self, caller: Caller, snapshot_id: str, status: SnapshotStatus) -> None:
        """Set the status an admin names. Raises: Missing, Denied."""
        rule = "volume_extension:snapshot_admin_actions:reset_status"
        row = self.show(caller, snapshot_id, rule)
        with explained():
            self._catalog.write(
                lambda rows: rows.move_snapshot(row.id, SnapshotMove.RESET, status=status)
            )


def _check_frozen(volume: VolumeRow, wish: SnapshotWish) -> None:
    """Refuse a volume that cannot be frozen now. Raises: Invalid."""
    is_in_use = volume.status is VolumeStatus.IN_USE
    if not (volume.status is VolumeStatus.AVAILABLE or (is_in_use and wish.is_forced)):
        raise Invalid(_status_text(volume.id, volume.status))


def _status_text(volume_id: str, status: VolumeStatus) -> str:
    return (
        f"Invalid volume: Volume {volume_id} status must be available, but current status is: "
        f"{status}."
    )
