"""One run over the bytes of a backup: what is wanted, the lease, the stop flag, how far it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from backupcore.closing import Closing
from backupcore.config import Tuning
from backupcore.errors import Refused, Stopped
from backupcore.extents import (
    Extents,
    as_extents,
    intersect_extents,
    single_extent,
    total_length,
)
from backupcore.model import Backup, Progress, ProgressCallback
from backupcore.operation.report import Reporter
from backupcore.operation.retrieve.fetch import Fetch, Fetcher
from backupcore.operation.retrieve.walk import Stretch, walk_leaves
from backupcore.repository import Repository
from backupcore.repository.control import SessionKind
from backupcore.repository.manifest import Manifest
from backupcore.runtime import StopFlag

__all__ = ["Retrieval", "Tally"]


@dataclass(slots=True)
class Tally:
    """What became of the bytes that are wanted, each in one of three; what the store gave."""

    kept_bytes: int = 0
    zeroed_bytes: int = 0
    written_bytes: int = 0
    got_bytes: int = 0

    @property
    def done_bytes(self) -> int:
        """All that needs nothing more."""
        return self.kept_bytes + self.zeroed_bytes + self.written_bytes


class Retrieval(Closing):
    """Goes through one backup with a lease held until it is closed; owned by one thread.

    wanted: clean extents inside the backup.
    """

    def __init__(
        self,
        repository: Repository,
        backup: str,
        extents: Extents | Sequence[tuple[int, int]] | None,
        tuning: Tuning | None,
        *,
        progress: ProgressCallback | None,
        stop: StopFlag | None,
    ) -> None:
        """Put the lease, then find the backup.

        extents: rows (offset, length) in bytes, the whole backup when None.
        Raises: BackupMissing, Damaged, StoreError, Refused when extents end beyond the backup.
        """
        self._repository = repository
        self.tuning = tuning or Tuning()
        self.stop = stop or repository.runtime.never
        self.tally = Tally()
        self._clock = repository.runtime.clock
        self._started_s = self._clock.monotonic()
        self._reporter = Reporter(progress, self._clock, self._progress)
        self._session = repository.open_session(
            SessionKind.RESTORE, None, domain_id=repository.config.domain_id, chunk_size_bytes=0
        )
        try:
            self._manifest: Manifest = repository.manifest(backup)
            self.wanted = _wanted(extents, self.backup)
            self.id_key = repository.domain(self.backup.domain_id).id_key
        except BaseException:
            self._session.close()
            raise
        self.total_bytes = total_length(self.wanted)

    @property
    def backup(self) -> Backup:
        """The backup that is read."""
        return self._manifest.backup

    @property
    def chunk_size_bytes(self) -> int:
        """The length of a cell."""
        return self.backup.grid.chunk_size_bytes

    @property
    def duration_s(self) -> float:
        """How long it has been going on."""
        return self._clock.monotonic() - self._started_s

    def stretches(self) -> Iterator[Stretch]:
        """Yield what of the map touches what is wanted, in volume order. Raises: MapDamaged."""
        tree = self._repository.tree(self._manifest)
        return walk_leaves(tree, self.chunk_size_bytes, self.backup.size_bytes, self.wanted)

    def fetcher(self) -> Fetcher:
        """Return what brings the backup's frames."""
        return Fetcher(
            self._repository.driver,
            self.chunk_size_bytes,
            self.id_key,
            self.tuning,
            stop=self.stop,
        )

    def tick(self, done: Fetch | None = None) -> None:
        """Do what is due from time to time, and count a get that is done. Raises: Stopped."""
        if done is not None:
            self.tally.got_bytes += done.length
        if self.stop.is_set():
            raise Stopped("stopped before everything was done")
        self._session.keep_alive()
        self._reporter.tick()

    def tell(self) -> None:
        """Tell the progress at once."""
        self._reporter.tell()

    def close(self) -> None:
        """Give back the lease."""
        self._session.close()

    def _progress(self) -> Progress:
        return Progress(
            done_bytes=self.tally.done_bytes,
            total_bytes=self.total_bytes,
            read_bytes=self.tally.got_bytes,
            new_bytes=self.tally.written_bytes,
            stored_bytes=self.tally.got_bytes,
        )


def _wanted(extents: Extents | Sequence[tuple[int, int]] | None, backup: Backup) -> Extents:
    whole = single_extent(0, backup.size_bytes)
    if extents is None:
        return whole
    try:
        wanted = as_extents(extents)
    except ValueError as error:
        raise Refused(str(error)) from error
    if total_length(intersect_extents(wanted, whole)) != total_length(wanted):
        raise Refused(
            f"extents end at {int(wanted[-1].sum())}, backup {backup.id} has "
            f"{backup.size_bytes} bytes"
        )
    return wanted
