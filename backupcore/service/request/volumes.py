"""What may be asked of volumes: rows in the catalog, bytes at a provider.

The row comes first and goes last; the provider works in a thread of its own (`work.making`), for
which a request waits no longer than a moment.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Unpack
from uuid import NAMESPACE_URL, uuid5

from backupcore.catalog import Listing, Page, Rows, Scope
from backupcore.catalog.change import VolumeChanges
from backupcore.catalog.error import RowExists
from backupcore.catalog.row import BackupRow, VolumeRow
from backupcore.catalog.status import VolumeMove, VolumeStatus
from backupcore.errors import BackupError
from backupcore.provider import ProvidedVolume
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
from backupcore.service.work.making import Making

__all__ = ["VolumeWish", "Volumes"]

log = logging.getLogger(__name__)

_OWN_PREFIX = "volume-"
_OWN_NAME = re.compile(_OWN_PREFIX + "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


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
        self._making = Making(context)

    def adopt(self) -> None:
        """Give every volume that a provider shows and no row names a row of its own.

        What a service made for some project is left out: a new catalog does not know for whom.
        """
        for name, provider in self._providers.named():
            project = self._settings.providers[name].project
            if project is None:
                continue
            try:
                for found in provider.list():
                    self._adopt(name, project, found)
            except BackupError as error:  # one provider that is away is no reason to serve none
                facts = {"provider": name, "reason": str(error)}
                log.error("volumes of a provider are not known", extra=facts)
        self._providers.later(self._making.drop_leftovers)

    def _adopt(self, name: str, project: str, found: ProvidedVolume) -> None:
        with suppress(RowExists), self._catalog.writing() as rows:
            here = {"provider": name, "place": found.place}
            if rows.page_volumes(Scope.everything(), Listing(filters=here, limit=1)).rows:
                return
            if _OWN_NAME.fullmatch(found.name):
                log.warning("volume without a row", extra={"place": found.place})
            else:
                rows.add_volume(self._adopted(name, project, found), is_counted=False)

    def page(self, caller: Caller, listing: Listing, *, is_all: bool = False) -> Page[VolumeRow]:
        """Return a page of the caller's volumes, of everybody's to an admin who asks for them."""
        self._policy.check("volume:get_all", caller)
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
            name=name or f"restore_backup_{backup.id}",
            description="auto-created_from_restore_from_backup",
        )
        return self._plan(caller, wish)

    def make(self, row: VolumeRow) -> VolumeRow:
        """Make the volume of a row and return the row as it is soon; perhaps still `creating`."""
        self._providers.soon(lambda: self._making.make_volume(row))
        with explained(), self._catalog.reading() as rows:
            return rows.volume(row.id, Scope.everything())

    def is_in_use(self, row: VolumeRow) -> bool:
        """Return whether its provider says that a volume is in use; who does not answer says no."""
        try:
            found = self._providers.soon(lambda: self._providers.of(row).show(row.place))
        except BackupError:  # the job that opens it tells what is wrong
            return False
        return found is not None and found.is_in_use

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

        if row.status is VolumeStatus.AVAILABLE and self.is_in_use(row):
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
            place=f"{_OWN_PREFIX}{volume_id}",
            availability_zone=wish.availability_zone or self._settings.availability_zone,
            volume_type=wish.volume_type,
            created_at=self._runtime.clock.now(),
        )

    def _move(
        self, volume_id: str, move: VolumeMove, **changes: Unpack[VolumeChanges]
    ) -> VolumeRow:
        with explained():
            return self._catalog.write(lambda rows: rows.move_volume(volume_id, move, **changes))

    def _adopted(self, name: str, project: str, found: ProvidedVolume) -> VolumeRow:
        return VolumeRow(
            id=str(uuid5(NAMESPACE_URL, f"backupcore:{name}:{found.place}")),
            project_id=project,
            name=found.name,
            status=VolumeStatus.AVAILABLE,
            size=gib(found.size_bytes),
            size_bytes=found.size_bytes,
            provider=name,
            place=found.place,
            availability_zone=self._settings.availability_zone,
            created_at=self._runtime.clock.now(),
        )
