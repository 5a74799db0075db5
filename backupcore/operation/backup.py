"""Back up a volume: read what may hold data, store what is new, commit one manifest.

Every backup is whole: what the base has in the same place is referred to, and the base may be
deleted at any time. Session, packs and manifest follow docs/design/prune-protocol.md.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from uuid import UUID

import numpy as np

from backupcore.chunk.frame import check_level
from backupcore.config import AUTO, Dedup, Level, Tuning
from backupcore.errors import Damaged, Refused, Stopped, VolumeShrunk
from backupcore.model import SIZE_BYTES_MAX, Backup, BackupId, Grid, Hint, ProgressCallback, Sums
from backupcore.operation.ingest.base import Base, Subject
from backupcore.operation.ingest.changed import Condemned, condemned_by
from backupcore.operation.ingest.pipeline import Pipeline
from backupcore.operation.ingest.station import StoreSettings, Storing
from backupcore.repository import Repository
from backupcore.repository.control import SessionKind
from backupcore.repository.index import DomainIndex
from backupcore.repository.key import RegisterName, parse_backup_id, volume_tag
from backupcore.repository.manifest import (
    ROOT_COUNTS,
    Decision,
    Manifest,
    Register,
    State,
    seal_register,
)
from backupcore.repository.map import Root, null_row, tree_level
from backupcore.repository.session import Session
from backupcore.runtime import StopFlag
from backupcore.volume import Volume
from backupcore.volume.hint import ChangedExtents

__all__ = ["BackupRequest", "backup"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BackupRequest:
    """What the asker wants to be written about a backup, and how it is to be stored.

    volume_id: the volume's own identity unless given. backup_id: a UUID, chosen unless given; with
    the id of a backup that was begun and not finished, that one is taken up again. generation:
    an opaque text for the asker, by which a later list of changed extents may name this backup.
    changed: such a list; only what it names is read. rewrite_share: of the volume, how much more
    is then stored again at most so that chunks do not scatter. dedup: where else chunks are looked
    for before they are stored. level: of zstd, or `auto`: the faster the store is, the lower.
    grid, level, domain_id: the repository's defaults unless given.
    """

    volume_id: str | None = None
    backup_id: str | None = None
    name: str = ""
    description: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    generation: str | None = None
    changed: ChangedExtents | None = None
    rewrite_share: float = 0.05
    dedup: Dedup = Dedup.BASE
    grid: Grid | None = None
    level: Level | None = None
    domain_id: str | None = None

    def __post_init__(self) -> None:
        """Check what can be checked before anything is done. Raises: Refused."""
        if not 0 <= self.rewrite_share <= 1:
            raise Refused(f"rewrite_share {self.rewrite_share}: a share is from 0 to 1")


def backup(
    volume: Volume,
    repository: Repository,
    *,
    base: str | None = "latest",
    request: BackupRequest | None = None,
    tuning: Tuning | None = None,
    progress: ProgressCallback | None = None,
    stop: StopFlag | None = None,
) -> Backup:
    """Back up a volume and return the committed backup.

    base: a backup of the same volume (its id or the beginning of it), `latest`, or None for a
    full backup; `latest` is a full backup when there is none. A base with another chunk size is
    not used. When the request, or else the volume itself, says what changed since a backup, that
    one is the base and little else is read; a sample of the rest is, and when it differs everything
    is read. A session of this volume that nobody works at any more is taken up again: only
    what it has not stored is sent. A request with the id of a backup that exists returns that one.
    stop: ends it within the call in flight; give it to `open_repository` too, so that waiting for
    a store hears it.
    Raises: SourceError, StoreError, Damaged, Refused, SessionFenced, BackupMissing, Stopped. After
    any of them nothing new is listed; only when the store stays away during the very last put
    (Unavailable) may the backup be there all the same.
    """
    run = _Run(volume, repository, request or BackupRequest(), tuning or Tuning())
    return run.run(base, progress, stop or repository.runtime.never)


class _Run:
    """One backup from its lease to its manifest."""

    def __init__(
        self, volume: Volume, repository: Repository, request: BackupRequest, tuning: Tuning
    ) -> None:
        repository.require_writable()
        self._volume = volume
        self._repository = repository
        self._request = request
        self._grid = request.grid or repository.config.grid
        slab_size_bytes = max(tuning.slab_size_bytes, self._grid.chunk_size_bytes)
        self._tuning = replace(tuning, slab_size_bytes=slab_size_bytes)
        level = repository.config.level if request.level is None else request.level
        self._level = None if level == AUTO else check_level(level)
        self._domain = repository.domain(request.domain_id)
        self._volume_id = request.volume_id or volume.identity
        self._subject = Subject(repository, volume, self._volume_id, self._domain, self._grid)
        self._tag = volume_tag(self._volume_id, self._domain.id_key)
        self._started_at = repository.runtime.clock.now()
        self._started_s = repository.runtime.clock.monotonic()

    def run(self, base: str | None, progress: ProgressCallback | None, stop: StopFlag) -> Backup:
        wanted = parse_backup_id(self._request.backup_id) if self._request.backup_id else None
        register = self._decided(wanted)
        if register is not None and register.manifest is not None:
            log.info("backup is there already", extra={"backup": wanted})
            return register.manifest.backup
        session, is_resumed = self._open_session(wanted)
        try:
            chosen = self._subject.choose_base(base, self._request.changed)
            self._check_manifest_fits(session, chosen.manifest)
            facts = self._store(session, chosen, is_resumed, progress, stop)
            register = session.commit(facts.header(self._domain.id_key))
        except BaseException:
            session.pause()
            raise
        if register.manifest is None:
            raise AssertionError("a committed register holds a manifest")
        done = register.manifest.backup
        log.info("backup committed", extra={"backup": done.id, "new_bytes": done.new_bytes})
        return done

    def _decided(self, wanted: BackupId | None) -> Register | None:
        """Return the state of the backup that was asked for by id. Raises: Refused when deleted."""
        if wanted is None:
            return None
        registers = self._repository.registers
        register = registers.state(registers.history(self._tag, wanted))
        if register is not None and register.state is State.DELETED:
            raise Refused(f"backup {wanted} was deleted, which is final: give a new id")
        return register

    def _open_session(self, wanted: BackupId | None) -> tuple[Session, bool]:
        """Take up an abandoned session of this volume, or start one."""
        repository = self._repository
        mine = [
            lease
            for lease in repository.undecided_backups(self._tag)
            if wanted is None or (lease.register and lease.register.backup_id == wanted)
        ]
        facts = (self._domain.domain_id, self._grid.chunk_size_bytes)
        for lease in mine:
            if lease.is_abandoned and (lease.domain_id, lease.chunk_size_bytes) == facts:
                resumed = repository.resume_session(lease)
                if resumed is not None:
                    log.info("session resumed", extra={"session": resumed.id})
                    return resumed, True
        session = repository.open_session(
            SessionKind.BACKUP,
            self._next_register(wanted, is_retry=wanted is not None and bool(mine)),
            domain_id=self._domain.domain_id,
            chunk_size_bytes=self._grid.chunk_size_bytes,
        )
        return session, False

    def _next_register(self, wanted: BackupId | None, *, is_retry: bool) -> RegisterName:
        """Return the register to decide; a retry first gives up on whoever may still decide one."""
        registers = self._repository.registers
        if wanted is None:
            random_bytes = self._repository.runtime.random_bytes(16)
            wanted = BackupId(str(UUID(bytes=random_bytes, version=4)))
        name = registers.history(self._tag, wanted).next
        if is_retry:
            registers.put(name, State.ABORTED, self._repository.runtime.new_id(), {})
            self._decided(wanted)
            name = registers.history(self._tag, wanted).next
        return name

    def _store(
        self,
        session: Session,
        base: Base,
        is_resumed: bool,
        progress: ProgressCallback | None,
        stop: StopFlag,
    ) -> Manifest:
        """Store everything the manifest will refer to; return the manifest."""
        repository, volume = self._repository, self._volume
        reader = repository.tree(base.manifest, is_tolerant=True)
        condemned = condemned_by(session)
        plan, hint = self._subject.plan(
            base,
            reader,
            self._tuning,
            condemned=condemned,
            rewrite_share=self._request.rewrite_share,
            stop=stop,
        )
        pipeline = Pipeline(repository.driver, self._tuning, stop)
        storing = Storing(
            volume, repository, session, reader,
            settings=self._settings(condemned), upload=pipeline.upload, progress=progress,
        )  # fmt: skip
        if is_resumed:
            storing.adopt_packs()
        with self._open_index(session, condemned, stop) as index:
            storing.use_index(index)
            pipeline.run(plan, storing, storing.finish)
        volume.check_identity()
        self._check_size()
        duration_s = repository.runtime.clock.monotonic() - self._started_s
        sums = storing.sums(pipeline.stored_bytes, round(duration_s * 1000))
        return self._manifest(session, base.manifest, storing.root, sums, hint)

    def _open_index(
        self, session: Session, condemned: Condemned, stop: StopFlag
    ) -> AbstractContextManager[DomainIndex | None]:
        """Return what the domain holds, read after the session's lease and tombs, when wanted."""
        if self._request.dedup is not Dedup.DOMAIN:
            return nullcontext()

        def tick() -> None:
            if stop.is_set():
                raise Stopped("stopped: nothing was committed; a later backup resumes it")
            session.keep_alive()

        return self._repository.dedup_index(
            condemned.data,
            domain_id=self._domain.domain_id,
            chunk_size_bytes=self._grid.chunk_size_bytes,
            tick=tick,
        )

    def _settings(self, condemned: Condemned) -> StoreSettings:
        return StoreSettings(
            grid=self._grid,
            level=self._level,
            domain=self._domain,
            volume_tag=self._tag,
            self_check=self._tuning.self_check,
            pack_size_bytes=self._tuning.pack_size_bytes,
            condemned=condemned,
        )

    def _manifest(
        self,
        session: Session,
        base: Manifest | None,
        root: Root | None,
        sums: Sums,
        hint: Hint | None = None,
    ) -> Manifest:
        request, clock = self._request, self._repository.runtime.clock
        done = Backup(
            id=session.register.backup_id,
            volume_id=self._volume_id,
            size_bytes=self._volume.size_bytes,
            sector_size_bytes=self._volume.sector_size_bytes,
            name=request.name,
            description=request.description,
            labels=request.labels,
            started_at=self._started_at,
            committed_at=clock.now(),
            base_id=base.backup.id if base else None,
            generation=request.generation,
            domain_id=self._domain.domain_id,
            grid=self._grid,
            sums=sums,
            data_bytes=int(root.row["logical_bytes"]) if root else 0,
            live_bytes=int(root.row["stored_bytes"]) if root else 0,
            hint=hint,
        )
        return Manifest(self._repository.config.repository_id, done, root)

    def _check_manifest_fits(self, session: Session, base: Manifest | None) -> None:
        """Refuse what would make a manifest too long or unreadable, before any work is done."""
        row = null_row()
        for name in ROOT_COUNTS:
            row[name] = np.iinfo(row.dtype[name]).max
        level = tree_level(self._grid.cell_count(self._volume.size_bytes))
        most = SIZE_BYTES_MAX
        longest = Sums(most, most, most, most, most, most, most)
        draft = self._manifest(session, base, Root(level, row), longest, Hint.REFUTED)
        decision = Decision(session.register, session.id, session.id, self._started_at)
        try:
            facts = draft.header(self._domain.id_key)
            parts = seal_register(decision, State.MANIFEST, facts)
            Register.open(b"".join(parts), session.register)
        except (Damaged, TypeError, UnicodeEncodeError) as error:
            raise Refused(
                f"a manifest of {self._volume.name} could not be read again: {error}: correct "
                "name, description, labels, generation or the volume's facts"
            ) from error

    def _check_size(self) -> None:
        """Fail when the volume became smaller; what was added meanwhile is left to the next."""
        size, now = self._volume.size_bytes, self._volume.current_size_bytes()
        if now < size:
            raise VolumeShrunk(
                f"{self._volume.name}: had {size} bytes when the backup began and has {now} at "
                "its end: nothing was committed: back up a snapshot, or again"
            )
        if now > size:
            facts = {"volume": self._volume.name, "size_bytes": now}
            log.warning("volume grew during the backup; the rest is left out", extra=facts)
