"""Verify: prove that stored bytes still make the volumes, or say what is lost and where.

First every object is looked at once, however many backups share it; then, for each backup, what
lies in a suspect pack is read again, so that damage is told in extents of its volume.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from backupcore.config import Tuning
from backupcore.errors import Damaged, ManifestDamaged, MapDamaged, ObjectMissing, Stopped
from backupcore.extents import Extents, clip_extents, melt_extents
from backupcore.model import BackupId, PackId, Progress, ProgressCallback
from backupcore.operation.retrieve.fetch import Fetch, Fetcher, FetchFailed, FrameUse, plan_fetches
from backupcore.operation.retrieve.survey import Item, Survey
from backupcore.repository import Repository
from backupcore.repository.control import SessionKind
from backupcore.repository.envelope import open_envelope
from backupcore.repository.key import DATA, MAP, PackKind, pack_id, pack_prefix, pack_reference
from backupcore.repository.manifest import Manifest
from backupcore.repository.map import Leaf, Row
from backupcore.repository.pack import DataFooter, open_footer
from backupcore.repository.session import Session, condemn
from backupcore.runtime import StopFlag, map_ordered, open_pool

__all__ = ["Depth", "Loss", "Verification", "verify"]

log = logging.getLogger(__name__)

_WINDOW_LEAVES = 8


class Depth(StrEnum):
    """How closely to look; each includes the one before."""

    EXISTS = "exists"  # every pack that a backup refers to is there
    SUMS = "sums"  # every object has the bytes that were written
    DATA = "data"  # every chunk decodes to what its id names


@dataclass(frozen=True, slots=True)
class Loss:
    """Something that is missing or not what was written.

    key: of the object. extents: (offset, length) in bytes of the backup's volume that cannot be
    restored; none when no backup's data is touched. backup_id: None for an object that no backup's
    data depends on.
    """

    key: str
    reason: str
    backup_id: BackupId | None = None
    volume_id: str | None = None
    extents: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Verification:
    """What was looked at and what is lost. condemned: packs that later backups will not use."""

    depth: Depth
    backup_count: int
    pack_count: int
    read_bytes: int
    losses: tuple[Loss, ...]
    condemned: tuple[PackId, ...] = ()

    @property
    def is_sound(self) -> bool:
        """Whether nothing is lost."""
        return not self.losses


def verify(
    repository: Repository,
    backup: str | None = None,
    *,
    depth: Depth = Depth.SUMS,
    condemn_damaged: bool = False,
    tuning: Tuning | None = None,
    progress: ProgressCallback | None = None,
    stop: StopFlag | None = None,
) -> Verification:
    """Verify one backup, or all of them, and return what was found.

    condemn_damaged: whether packs that are missing or damaged are put into a tomb, so that the
    next backup of each volume reads the cells in them again and is whole.
    Raises: BackupMissing, Refused, StoreError, Stopped; damage is returned, not raised.
    """
    run = _Run(repository, depth, tuning or Tuning(), progress, stop or repository.runtime.never)
    return run.run(backup, condemn_damaged)


class _Run:
    """One verification; owned by the calling thread, but for what `_suspect` notes."""

    def __init__(
        self,
        repository: Repository,
        depth: Depth,
        tuning: Tuning,
        progress: ProgressCallback | None,
        stop: StopFlag,
    ) -> None:
        self._repository = repository
        self._depth = depth
        self._tuning = tuning
        self._progress = progress
        self._stop = stop
        self._losses: list[Loss] = []
        self._suspects: dict[bytes, str] = {}  # data packs by reference, and what is wrong
        self._lost_maps: set[PackId] = set()
        self._suspect_maps: dict[PackId, str] = {}
        self._data_packs: set[bytes] = set()
        self._map_packs: set[bytes] = set()
        self._seen_leaves: set[bytes] = set()
        self._read_bytes = 0

    def run(self, backup: str | None, condemn_damaged: bool) -> Verification:
        repository = self._repository
        session = repository.open_session(
            SessionKind.VERIFY, None, domain_id=repository.config.domain_id, chunk_size_bytes=0
        )
        try:
            manifests = self._manifests(backup)
            for number, manifest in enumerate(manifests):
                self._inspect(manifest, session)
                self._report("maps", number + 1, len(manifests))
            self._check_packs(session)
            if self._suspects or self._suspect_maps:
                for manifest in manifests:
                    self._attribute(manifest)
            self._tell_untouched()
            condemned = self._condemn() if condemn_damaged else ()
        finally:
            session.close()
        return Verification(
            self._depth,
            len(manifests),
            len(self._data_packs) + len(self._map_packs),
            self._read_bytes,
            tuple(self._losses),
            condemned,
        )

    def _manifests(self, backup: str | None) -> list[Manifest]:
        """Return what is to be verified; a register that cannot be read is a loss."""
        if backup is not None:
            return [self._repository.manifest(backup)]
        registers, found = self._repository.registers, []
        for history in registers.histories():
            try:
                manifest = registers.manifest(history)
            except ManifestDamaged as error:
                key = history.next.key.rpartition("/")[0]
                self._losses.append(Loss(key, str(error), history.backup_id))
                continue
            if manifest is not None:
                found.append(manifest)
        return found

    def _inspect(self, manifest: Manifest, session: Session) -> None:
        """Walk a map: note its packs, read every leaf not seen before as deep as asked."""
        window: list[Leaf] = []
        for leaf in self._leaves(manifest, session):
            window.append(leaf)
            if len(window) == _WINDOW_LEAVES:
                self._decode(manifest, window, session)
                window = []
        self._decode(manifest, window, session)

    def _leaves(self, manifest: Manifest, session: Session) -> Iterator[Leaf]:
        """Yield the leaves to be decoded, noting packs on the way."""
        is_deep = self._depth is not Depth.EXISTS
        is_root_leaf = manifest.root is not None and manifest.root.level == 0

        def is_wanted(row: Row) -> bool:
            return is_root_leaf or (is_deep and bytes(row["digest"]) not in self._seen_leaves)

        for item in self._survey(manifest, reports=True).items(wants_leaf=is_wanted):
            self._check_stop()
            session.keep_alive()
            self._map_packs.add(bytes(item.row["pack"]))
            if item.node is not None and item.node.level == 1:
                self._data_packs.update(item.node.packs.tolist())
            if item.leaf is not None:
                self._seen_leaves.add(bytes(item.row["digest"]))
                self._data_packs.update(item.leaf.live().packs.tolist())
                if self._depth is Depth.DATA:
                    yield item.leaf

    def _survey(self, manifest: Manifest, *, reports: bool) -> Survey:
        backup = manifest.backup

        def lost(error: MapDamaged, offset: int, length: int) -> None:
            if reports:
                loss = Loss(error.key, str(error), backup.id, backup.volume_id, ((offset, length),))
                self._losses.append(loss)
                self._lost_maps.add(PackId(error.key))

        tree = self._repository.tree(manifest)
        return Survey(tree, backup.grid.chunk_size_bytes, backup.size_bytes, lost)

    def _decode(self, manifest: Manifest, leaves: list[Leaf], session: Session) -> None:
        """Bring back every chunk of some leaves; packs that fail become suspects."""

        def failed(pack: PackId, use: FrameUse, error: Damaged) -> None:
            self._suspect(pack, str(error))

        for fetch in self._fetch(manifest, leaves, failed):
            self._read_bytes += fetch.length
            session.keep_alive()

    def _fetch(
        self, manifest: Manifest, leaves: Iterable[Leaf], failed: FetchFailed
    ) -> Iterator[Fetch]:
        backup = manifest.backup
        with Fetcher(
            self._repository.driver,
            backup.grid.chunk_size_bytes,
            self._repository.domain(backup.domain_id).id_key,
            self._tuning,
            stop=self._stop,
            failed=failed,
        ) as fetcher:
            yield from fetcher.run(plan_fetches(leaves), lambda use, plain: None)

    def _check_packs(self, session: Session) -> None:
        """Look whether packs exist and, if asked, at their bytes."""
        wanted = [(DATA, reference) for reference in self._data_packs]
        wanted += [(MAP, reference) for reference in self._map_packs]
        present = self._present(DATA, self._data_packs) | self._present(MAP, self._map_packs)
        is_deep = self._depth is not Depth.EXISTS

        def check(pack: tuple[PackKind, bytes]) -> tuple[PackId, int, str | None]:
            kind, key = pack[0], pack_id(*pack)
            if key not in present:
                return key, 0, f"{key} is missing"
            return self._check_sums(kind, key) if is_deep else (key, 0, None)

        pool = open_pool(self._tuning.workers, "verifier")
        limit = max(1, self._tuning.workers)
        try:
            results = map_ordered(pool, check, sorted(wanted), limit=limit, stop=self._stop)
            for number, (key, read_bytes, reason) in enumerate(results):
                session.keep_alive()
                self._read_bytes += read_bytes
                if reason is not None:
                    self._suspect(key, reason)
                self._report("packs", number + 1, len(wanted))
        finally:
            pool.shutdown(cancel_futures=True)

    def _present(self, kind: PackKind, references: set[bytes]) -> set[str]:
        """Return the keys of those packs that are listed."""
        sessions = {reference[:16].hex() for reference in references}
        prefixes = [pack_prefix(kind, session_id) for session_id in sessions]
        return {info.key for prefix in prefixes for info in self._repository.driver.list(prefix)}

    def _check_sums(self, kind: PackKind, key: PackId) -> tuple[PackId, int, str | None]:
        """Read a pack whole and compare its digest, then open its footer; any thread may."""
        data = b""
        try:
            data = self._repository.driver.get(key)
            sections = open_envelope(data, kind.envelope).sections
            if len(sections) != 2:
                raise Damaged(f"pack has {len(sections)} sections")
            footer = open_footer(sections[1])
            if kind is DATA:
                DataFooter.parse(footer)
        except (Damaged, ObjectMissing) as error:
            return key, len(data), f"{key} is damaged: {error}"
        return key, len(data), None

    def _suspect(self, key: PackId, reason: str) -> None:
        reference = pack_reference(key)
        if key.startswith(f"{DATA.folder}/") and reference is not None:
            self._suspects.setdefault(reference, reason)
        elif key not in self._lost_maps or self._depth is Depth.EXISTS:
            self._lost_maps.add(key)  # unless leaves were not opened, its items are told of
            self._suspect_maps[key] = reason

    def _attribute(self, manifest: Manifest) -> None:
        """Say which extents of a backup lie in what is lost."""
        backup = manifest.backup
        found: dict[PackId, tuple[str, list[Extents]]] = {}

        def failed(pack: PackId, use: FrameUse, error: Damaged) -> None:
            rows = np.stack((use.cells, np.ones_like(use.cells)), axis=1)
            extents = rows * backup.grid.chunk_size_bytes
            found.setdefault(pack, (str(error), []))[1].append(extents)

        if self._suspects:
            survey = self._survey(manifest, reports=False)
            for leaf in survey.leaves(self._suspects.keys()):
                for _ in self._fetch(manifest, [leaf], failed):
                    self._check_stop()
        for item in self._unread_leaves(manifest):
            key = pack_id(MAP, bytes(item.row["pack"]))
            if key in self._suspect_maps:
                extent = np.array([(item.offset, item.length)], np.int64)
                found.setdefault(key, (self._suspect_maps[key], []))[1].append(extent)
        for key, (reason, parts) in sorted(found.items()):
            melted = clip_extents(melt_extents(np.concatenate(parts)), 0, backup.size_bytes)
            extents = tuple((offset, length) for offset, length in melted.tolist())
            self._losses.append(Loss(key, reason, backup.id, backup.volume_id, extents))

    def _unread_leaves(self, manifest: Manifest) -> Iterator[Item]:
        """Yield leaves that were not opened because only existence was asked for."""
        if self._depth is Depth.EXISTS and self._suspect_maps:
            items = self._survey(manifest, reports=False).items(wants_leaf=lambda row: False)
            yield from (item for item in items if item.node is None)

    def _tell_untouched(self) -> None:
        """Tell of damaged packs in which no backup's data is touched."""
        told = {loss.key for loss in self._losses}
        reasons = {pack_id(DATA, pack): reason for pack, reason in self._suspects.items()}
        for key, reason in sorted((reasons | self._suspect_maps).items()):
            if key not in told:
                self._losses.append(Loss(key, reason))

    def _condemn(self) -> tuple[PackId, ...]:
        """Put what is damaged or missing into a tomb."""
        packs = {pack_id(DATA, reference) for reference in self._suspects} | self._lost_maps
        if packs:
            self._repository.require_writable()
            condemn(self._repository.driver, self._repository.runtime, packs)
            log.warning("damaged packs condemned", extra={"pack_count": len(packs)})
        return tuple(sorted(packs))

    def _check_stop(self) -> None:
        if self._stop.is_set():
            raise Stopped("stopped before everything was verified")

    def _report(self, phase: str, done_count: int, total_count: int) -> None:
        if self._progress is not None:
            self._progress(Progress(done_count, total_count, self._read_bytes, phase=phase))
