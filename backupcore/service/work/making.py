"""What is done at a provider for a request: volumes and snapshots are made and deleted.

A request waits a moment for it (`Providers.soon`) and answers with the row as it is then; what
takes longer goes on. The row comes first and goes last: what is half done when the process ends is
an error after the next start.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeVar

from backupcore.catalog import Listing, Rows, Scope
from backupcore.catalog.error import CatalogUnavailable, RowInUse, RowMissing, WrongStatus
from backupcore.catalog.row import BackupRow, SnapshotRow, VolumeRow
from backupcore.catalog.status import SnapshotMove, VolumeMove, VolumeStatus
from backupcore.errors import BackupError, NotFound, TargetError
from backupcore.provider import Provider
from backupcore.service.context import Context
from backupcore.service.work.leftover import drop_leftovers
from backupcore.service.work.outcome import awaits, end_restore

__all__ = ["Making", "snapshot_hint"]

log = logging.getLogger(__name__)

T = TypeVar("T")
AGAIN_S = 1.0  # between two attempts to write to the catalog
_THERE = (VolumeStatus.AVAILABLE, VolumeStatus.IN_USE, VolumeStatus.BACKING_UP)
# of a volume whose bytes are there
_KEPT = sorted(
    set(VolumeStatus) - {VolumeStatus.CREATING, VolumeStatus.ERROR, VolumeStatus.DELETING}
)


class Making:
    """Does what rows in `creating` and `deleting` say, and settles them."""

    def __init__(self, context: Context) -> None:
        self._catalog = context.catalog
        self._providers = context.providers
        self._clock = context.runtime.clock

    def make_volume(self, row: VolumeRow, restored: BackupRow | None = None) -> bool:
        """Make the volume of a row. restored: the backup that is to be written to it.

        Returns whether that restore may begin now. Until it has ended the volume is not available,
        nor when it was given up meanwhile.
        """
        try:
            provider = self._providers.of(row)
            self._check_there(row, provider)
            place = provider.create(row.place, row.size_bytes)
        except BackupError as error:
            log.warning("volume not made", extra={"volume": row.id, "reason": str(error)})
            self._settle(lambda rows: _end_failed(rows, row, restored))
            return False
        return self._settle(lambda rows: _end_made(rows, row, place, restored))

    def delete_volume(self, row: VolumeRow) -> None:
        """Delete the volume of a row, with snapshots that only backups needed, and the row."""
        try:
            provider = self._providers.of(row)
            self._check_there(row, provider)
            drop_leftovers(self._catalog, provider, row, is_leaving=True)
            with suppress(NotFound):
                provider.delete(row.place)
        except BackupError as error:
            log.warning("volume not deleted", extra={"volume": row.id, "reason": str(error)})
            with suppress(WrongStatus, RowMissing):
                self._settle(lambda rows: rows.move_volume(row.id, VolumeMove.FAIL_DELETE))
            return
        with suppress(RowMissing, RowInUse):
            self._settle(lambda rows: rows.remove_volume(row.id))

    def make_snapshot(self, row: SnapshotRow, volume: VolumeRow) -> None:
        """Make the snapshot of a row."""
        try:
            place = self._providers.of(volume).snapshot(volume.place, row.place)
        except BackupError as error:
            log.warning("snapshot not made", extra={"snapshot": row.id, "reason": str(error)})
            with suppress(WrongStatus, RowMissing):
                self._settle(lambda rows: rows.move_snapshot(row.id, SnapshotMove.FAIL_CREATE))
            return
        try:
            self._settle(lambda rows: rows.move_snapshot(row.id, SnapshotMove.CREATED, place=place))
        except WrongStatus:
            self._settle(lambda rows: rows.edit_snapshot(row.id, place=place))

    def delete_snapshot(self, row: SnapshotRow, volume: VolumeRow) -> None:
        """Delete the snapshot of a row, also when the row never heard of its place, and the row."""
        try:
            provider = self._providers.of(volume)
            for place in _places(provider, volume.place, row):
                with suppress(NotFound):
                    provider.delete_snapshot(place)
        except BackupError as error:
            log.warning("snapshot not deleted", extra={"snapshot": row.id, "reason": str(error)})
            with suppress(WrongStatus, RowMissing):
                self._settle(lambda rows: rows.move_snapshot(row.id, SnapshotMove.FAIL_DELETE))
            return
        with suppress(RowMissing, RowInUse):
            self._settle(lambda rows: rows.remove_snapshot(row.id))

    def drop_leftovers(self) -> None:
        """Delete the snapshots that backups of processes before this one have left."""
        with self._catalog.reading() as rows:
            volumes = list(rows.volumes_in(*_THERE, scope=Scope.everything()))
        for volume in volumes:
            if self._providers.is_closed:
                return
            with suppress(BackupError):
                drop_leftovers(self._catalog, self._providers.of(volume), volume)

    def _check_there(self, row: VolumeRow, provider: Provider) -> None:
        """Raise TargetError when a provider shows nothing though the catalog knows volumes of it.

        A folder whose file system is not mounted is empty: what is not there now is not deleted,
        and what is made there now would be hidden later.
        """
        known = self._known_places(row)
        if known and next(provider.list(), None) is None:
            raise TargetError(
                f"provider {row.provider}: shows no volume at all, though {known[0]} and perhaps "
                "others are known: see that its file system is mounted"
            )

    def _known_places(self, row: VolumeRow) -> Sequence[str]:
        with self._catalog.reading() as rows:
            for status in _KEPT:
                here = Listing(filters={"provider": row.provider, "status": str(status)}, limit=2)
                found = rows.page_volumes(Scope.everything(), here).rows
                if places := [other.place for other in found if other.id != row.id]:
                    return places
        return []

    def _settle(self, change: Callable[[Rows], T]) -> T:
        """Write what became of something as soon as the catalog can be written to."""
        while True:
            try:
                return self._catalog.write(change)
            except CatalogUnavailable as error:
                if self._providers.is_closed:
                    raise
                log.warning("catalog away, waiting", extra={"reason": str(error)})
                self._clock.sleep(AGAIN_S)


def _end_made(rows: Rows, row: VolumeRow, place: str, restored: BackupRow | None) -> bool:
    is_wanted = restored is None or awaits(rows, restored, row.id)
    try:
        rows.move_volume(
            row.id, VolumeMove.CREATED if is_wanted else VolumeMove.FAIL_CREATE, place=place
        )
    except WrongStatus:  # an admin set another one meanwhile
        rows.edit_volume(row.id, place=place)
    if restored is None or not is_wanted:
        return False
    try:
        rows.move_volume(row.id, VolumeMove.RESTORE)
    except WrongStatus:
        end_restore(rows, restored, VolumeMove.FAIL_RESTORE)
        return False
    return True


def _end_failed(rows: Rows, row: VolumeRow, restored: BackupRow | None) -> None:
    if restored is not None:
        end_restore(rows, restored, VolumeMove.FAIL_RESTORE)
    with suppress(WrongStatus, RowMissing):
        rows.move_volume(row.id, VolumeMove.FAIL_CREATE)


def _places(provider: Provider, volume_place: str, row: SnapshotRow) -> list[str]:
    return [
        found.place
        for found in list(provider.list_snapshots(volume_place))
        if found.place == row.place or found.name == snapshot_hint(row.id)
    ]


def snapshot_hint(snapshot_id: str) -> str:
    """Return what the snapshot of a row is called."""
    return f"snapshot-{snapshot_id}"
