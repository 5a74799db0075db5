"""Rows follow what providers show: new volumes get rows, and a row has its volume's size."""

from __future__ import annotations

import logging
import re
import threading
from contextlib import suppress
from uuid import NAMESPACE_URL, uuid5

from backupcore.catalog import Listing, Rows, Scope
from backupcore.catalog.error import RowExists, RowMissing
from backupcore.catalog.row import VolumeRow
from backupcore.catalog.status import VolumeStatus
from backupcore.errors import BackupError
from backupcore.provider import ProvidedVolume, Provider
from backupcore.service.context import Context
from backupcore.service.meaning import gib

__all__ = ["OWN_PREFIX", "Adopting"]

log = logging.getLogger(__name__)

OWN_PREFIX = "volume-"  # begins the names of the volumes that a service makes
PAUSE_S = 5.0  # at least so long after one look comes the next that nobody has to have
_OWN_NAME = re.compile(OWN_PREFIX + "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_STEADY = (VolumeStatus.AVAILABLE, VolumeStatus.IN_USE)


class Adopting:
    """Compares what providers show with the rows of volumes; any thread may ask."""

    def __init__(self, context: Context) -> None:
        self._settings = context.settings
        self._catalog = context.catalog
        self._providers = context.providers
        self._clock = context.runtime.clock
        self._lock = threading.Lock()  # held while one looks
        self._looked_s: float | None = None
        self._strange: set[str] = set()

    def look(self) -> None:
        """Look at all that every provider shows; one that is away keeps nobody from the others."""
        with self._lock:
            self._look()

    def look_again(self) -> None:
        """Look unless somebody does or has just done so."""
        if self._lock.acquire(blocking=False):
            try:
                if self._looked_s is None or self._clock.monotonic() - self._looked_s >= PAUSE_S:
                    self._look()
            finally:
                self._lock.release()

    def measure(self, row: VolumeRow, found: ProvidedVolume) -> VolumeRow:
        """Give the row of a volume that nobody makes or restores its size, and return it."""

        def change(rows: Rows) -> VolumeRow:
            now = rows.volume(row.id, Scope.everything())
            if now.status not in _STEADY:
                return now
            size_bytes = found.size_bytes
            return rows.edit_volume(
                row.id, is_counted=False, size=gib(size_bytes), size_bytes=size_bytes
            )

        if row.size_bytes == found.size_bytes or row.status not in _STEADY:
            return row
        log.info("volume has another size", extra={"volume": row.id, "bytes": found.size_bytes})
        try:
            return self._catalog.write(change)
        except RowMissing:
            return row

    def _look(self) -> None:
        for name, provider in self._providers.named():
            try:
                self._compare(name, provider)
            except BackupError as error:
                facts = {"provider": name, "reason": str(error)}
                log.error("volumes of a provider are not known", extra=facts)
        self._looked_s = self._clock.monotonic()

    def _compare(self, name: str, provider: Provider) -> None:
        """Compare one provider with its rows.

        The rows are read first: a volume's row comes before it and goes after it.
        """
        with self._catalog.reading() as rows:
            every = rows.volumes_in(*VolumeStatus, scope=Scope.everything())
            known = {row.place: row for row in every if row.provider == name}
        project = self._settings.providers[name].project
        for found in provider.list():
            row = known.get(found.place)
            if row is not None:
                self.measure(row, found)
            elif project is not None:
                self._adopt(name, project, found)

    def _adopt(self, name: str, project: str, found: ProvidedVolume) -> None:
        """Give a volume a row, unless it has one by now.

        What a service made for some project is left out: a new catalog does not know for whom.
        """
        if _OWN_NAME.fullmatch(found.name):
            if found.place not in self._strange:
                self._strange.add(found.place)
                log.warning("volume without a row", extra={"place": found.place})
            return
        here = Listing(filters={"provider": name, "place": found.place}, limit=1)

        def add(rows: Rows) -> None:
            if not rows.page_volumes(Scope.everything(), here).rows:
                rows.add_volume(self._row(name, project, found), is_counted=False)

        with suppress(RowExists):
            self._catalog.write(add)

    def _row(self, name: str, project: str, found: ProvidedVolume) -> VolumeRow:
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
            created_at=self._clock.now(),
        )
