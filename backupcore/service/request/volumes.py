"""What may be asked of volumes: rows in the catalog, bytes at a provider.

The row comes first and goes last; the provider works in a thread of its own (`work.making`), for
which a request waits no longer than a moment.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Unpack

from backupcore.catalog import Listing, Page, Rows, Scope
from backupcore.catalog.change import VolumeChanges
from backupcore.catalog.row import BackupRow, VolumeRow
from backupcore.catalog.status import VolumeMove, VolumeStatus
from backupcore.errors import BackupError
from backupcore.service.caller import Caller
from backupcore.service.context import Context, list_scope, scope_of
from backupcore.service.error import Invalid
from backupcore.service.meaning import (
    GIB,
    HAS_SNAPSHOTS,
    explained,
    gib,
    new_uuid,
    wrong_volume,
)
from backupcore.service.work.adopting import OWN_PREFIX, Adopting
from backupcore.service.work.making import Making
from backupcore.service.work.outcome import RESTORED_PREFIX

__all__ = ["VolumeWish", "Volumes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeWish:
    """A new volume; size in GiB."""

    size: int
    name: str | None = None
    description: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    volume_type: str | None = None
    availability_zone: str | None = None


class Volumes:
    """The use cases of volumes."""

    def __init__(self, context: Context) -> None:
        self._settings = context.settings
        self._catalog = context.catalog
        self._policy = context.policy
        self._runtime = context.runtime
        self._providers = context.providers
        self._adopting = Adopting(context)
        self._making = Making(context)

    def adopt(self) -> None:
        """Give every volume that a provider shows and no row names a row of its own."""
        self._adopting.look()
        self._providers.later(self._making.drop_leftovers)

    def page(self, caller: Caller, listing: Listing, *, is_all: bool = False) -> Page[VolumeRow]:
        """Return a page of the caller's volumes, of everybody's to an admin who asks for them.

        What a provider shows anew has a row then, if the provider answers soon.
        """
        self._policy.check("volume:get_all", caller)
        with suppress(BackupError):  # the rows tell all the same
            self._providers.soon(self._adopting.look_again)
        with explained(), self._catalog.reading() as rows:
            return rows.page_volumes(list_scope(caller, is_all=is_all), listing)

    def show(self, caller: Caller, volume_id: str, rule: str = "volume:get") -> VolumeRow:
        """Return a volume. Raises: Missing, Denied."""
        with explained(), self._catalog.reading() as rows:
            row = rows.volume(volume_id, scope_of(caller))
        self._policy.check(rule, caller, row.project_id)
        return row

    def create(self, caller: Caller, wish: VolumeWish) -> VolumeRow:
        """Make an empty volume. Raises: OverQuota, Denied, Invalid."""
        self._policy.check("volume:create", caller)
        row = self._plan(caller, wish)
        with explained():
            self._catalog.write(lambda rows: rows.add_volume(row))
        return self.make(row)

    def plan_for_restore(self, caller: Caller, backup: BackupRow, name: str | None) -> VolumeRow:
        """Return the row of the volume that a backup is restored to. Raises: Invalid, Denied."""
        self._policy.check("volume:create", caller)
        wish = VolumeWish(
            size=gib(backup.size_bytes or 0),
            name=name or f"{RESTORED_PREFIX}{backup.id}",
            description="auto-created_from_restore_from_backup",
        )
        return self._plan(caller, wish)

    def make(
        self,
        row: VolumeRow,
        *,
        restored: BackupRow | None = None,
        then: Callable[[], None] = lambda: None,
    ) -> VolumeRow:
        """Make the volume of a row and return the row as it is soon; perhaps still `creating`.

        restored: the backup that is to be written to it. then: begins that, once it is made.
        """

        def work() -> None:
            if self._making.make_volume(row, restored):
                then()

        self._providers.soon(work)
        with explained(), self._catalog.reading() as rows:
            return rows.volume(row.id, Scope.everything())

    def seen(self, row: VolumeRow) -> VolumeRow:
        """Return a volume's row as its provider sees it: with its size, perhaps as in use.

        A provider that does not answer has nothing to say: the job that opens it tells why.
        """
        try:
            found = self._providers.soon(lambda: self._providers.of(row).show(row.place))
        except BackupError:
            return row
        if found is None:
            return row
        row = self._adopting.measure(row, found)
        is_taken = found.is_in_use and row.status is VolumeStatus.AVAILABLE
        return replace(row, status=VolumeStatus.IN_USE) if is_taken else row

    def update(self, caller: Caller, volume_id: str, changes: VolumeChanges) -> VolumeRow:
        """Change name, description or metadata. Raises: Missing, Denied."""
        row = self.show(caller, volume_id, "volume:update")
        if not changes:
            return row
        with explained():
            return self._catalog.write(lambda rows: rows.edit_volume(row.id, **changes))

    def delete(self, caller: Caller, volume_id: str) -> None:
        """Delete a volume and its bytes. Raises: Missing, Invalid, Denied."""
        row = self.show(caller, volume_id, "volume:delete")

        def begin(rows: Rows) -> None:
            here = Listing(filters={"volume_id": row.id}, limit=1)
            if rows.page_snapshots(Scope.everything(), here).rows:
                raise Invalid(HAS_SNAPSHOTS)
            rows.move_volume(row.id, VolumeMove.DELETE)

        if row.status is VolumeStatus.AVAILABLE and self.seen(row).status is VolumeStatus.IN_USE:
            raise Invalid(wrong_volume(VolumeMove.DELETE, VolumeStatus.IN_USE))
        with explained():
            self._catalog.write(begin)
        self._providers.soon(lambda: self._making.delete_volume(row))

    def attach(self, caller: Caller, volume_id: str, attachment: Mapping[str, str | None]) -> None:
        """Note that somebody uses a volume. Raises: Missing, Invalid, Denied."""
        row = self.show(caller, volume_id, "volume_extension:volume_actions:attach")
        self._move(row.id, VolumeMove.ATTACH, attachments=(dict(attachment),))

    def detach(self, caller: Caller, volume_id: str) -> None:
        """Note that nobody uses a volume any more. Raises: Missing, Invalid, Denied."""
        row = self.show(caller, volume_id, "volume_extension:volume_actions:detach")
        self._move(row.id, VolumeMove.DETACH, attachments=())

    def reset(self, caller: Caller, volume_id: str, status: VolumeStatus) -> None:
        """Set the status an admin names. Raises: Missing, Denied."""
        row = self.show(caller, volume_id, "volume_extension:volume_admin_actions:reset_status")
        with explained():
            self._catalog.write(
                lambda rows: rows.move_volume(row.id, VolumeMove.RESET, status=status)
            )

    def _plan(self, caller: Caller, wish: VolumeWish) -> VolumeRow:
        name, _ = self._providers.maker()
        volume_id = new_uuid(self._runtime)
        return VolumeRow(
            id=volume_id,
            project_id=caller.project_id,
            user_id=caller.user_id,
            name=wish.name,
            description=wish.description,
            metadata=wish.metadata,
            status=VolumeStatus.CREATING,
            size=wish.size,
            size_bytes=wish.size * GIB,
            provider=name,
            place=f"{OWN_PREFIX}{volume_id}",
            availability_zone=wish.availability_zone or self._settings.availability_zone,
            volume_type=wish.volume_type,
            created_at=self._runtime.clock.now(),
        )

    def _move(
        self, volume_id: str, move: VolumeMove, **changes: Unpack[VolumeChanges]
    ) -> VolumeRow:
        with explained():
            return self._catalog.write(lambda rows: rows.move_volume(volume_id, move, **changes))
