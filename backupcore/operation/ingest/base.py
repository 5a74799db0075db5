"""Which backup a volume is compared with, and what is known to have changed since."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

from backupcore.config import Tuning
from backupcore.errors import Refused
from backupcore.extents import Extents
from backupcore.model import Grid, Hint
from backupcore.operation.ingest.changed import (
    Condemned,
    extents_to_read,
    has_lost_node,
    plan_changed_leaves,
)
from backupcore.operation.ingest.plan import LeafPlan, plan_leaves
from backupcore.operation.ingest.sample import Sample, is_refuted
from backupcore.repository import Repository
from backupcore.repository.control import Domain
from backupcore.repository.manifest import Manifest
from backupcore.repository.map import TreeReader
from backupcore.runtime import StopFlag, open_pool
from backupcore.volume import Volume
from backupcore.volume.hint import ChangedExtents

__all__ = ["Base", "Subject"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Base:
    """What a backup is compared with.

    manifest: None for a full backup. changed: what changed since, None when nobody says.
    """

    manifest: Manifest | None = None
    changed: Extents | None = None


@dataclass(frozen=True, slots=True)
class Subject:
    """What is backed up, and where its backups are."""

    repository: Repository
    volume: Volume
    volume_id: str
    domain: Domain
    grid: Grid

    def choose_base(self, wanted: str | None, changed: ChangedExtents | None) -> Base:
        """Return the base: read after the lease and the tombs.

        wanted: as `backup` takes it. Raises: Refused, BackupMissing, Damaged, StoreError.
        """
        if wanted is None:
            if changed is not None:
                raise Refused("a full backup reads everything: give no changed extents, or a base")
            return Base()
        if changed is not None:
            return self._since(wanted, changed)
        tracked = self.volume.tracked_changes()
        if tracked is not None:
            try:
                return self._since(wanted, tracked)
            except Refused as error:
                facts = {"volume": self.volume.name, "reason": str(error)}
                log.warning("what the volume has tracked is not used", extra=facts)
        return Base(self._comparable(self._latest() if wanted == "latest" else self._named(wanted)))

    def plan(
        self,
        base: Base,
        reader: TreeReader,
        tuning: Tuning,
        *,
        condemned: Condemned,
        rewrite_share: float,
        stop: StopFlag,
    ) -> tuple[Iterator[LeafPlan], Hint | None]:
        """Return what is to be read, and what became of what is said to have changed.

        Nothing is inherited unread below a node that cannot be read.
        """
        volume, grid, slab = self.volume, self.grid, tuning.slab_size_bytes
        whole = plan_leaves(volume, reader, grid, slab)
        if base.manifest is None or base.changed is None:
            return whole, None
        if has_lost_node(reader):
            log.warning("the base's map is damaged: everything is read")
            return whole, Hint.REFUTED
        size_bytes = volume.size_bytes
        chunk = grid.chunk_size_bytes
        reads = extents_to_read(base.changed, base.manifest.backup.size_bytes, size_bytes, chunk)
        seed = int.from_bytes(self.repository.runtime.random_bytes(8), "little")
        sample = Sample(reader, reads, grid, size_bytes, seed)
        with open_pool(tuning.workers, "sampler") as pool:
            if is_refuted(volume, sample, self.domain.id_key, pool, stop):
                return whole, Hint.REFUTED
        plan = plan_changed_leaves(
            volume,
            reader,
            grid,
            slab,
            reads=reads,
            condemned=condemned,
            rewrite_bytes=int(size_bytes * rewrite_share),
        )
        return plan, Hint.USED

    def _since(self, wanted: str, changed: ChangedExtents) -> Base:
        """Return the newest backup that has the id or the generation a list names."""
        volume, volume_id = self.volume, self.volume_id
        if changed.volume_id not in (None, volume_id):
            raise Refused(
                f"changed extents are of volume {changed.volume_id!r}, this is {volume_id!r}: give "
                "the list of this volume, or the volume's name as the list has it"
            )
        if changed.size_bytes not in (None, volume.size_bytes):
            raise Refused(
                f"changed extents are of a volume of {changed.size_bytes} bytes, {volume.name} "
                f"has {volume.size_bytes}: make the list again"
            )
        if changed.since is None:
            raise Refused("changed extents do not say since when: name the backup or generation")
        manifest = self._named_since(changed.since)
        if wanted != "latest" and self._named(wanted).backup.id != manifest.backup.id:
            raise Refused(
                f"changed extents are since backup {manifest.backup.id}, the base is to be "
                f"{wanted}: give one of them"
            )
        comparable = self._comparable(manifest)
        return Base(comparable, changed.extents if comparable else None)

    def _named_since(self, since: str) -> Manifest:
        for manifest in reversed(self._all()):
            if since in (manifest.backup.id, manifest.backup.generation):
                return manifest
        raise Refused(
            f"changed extents are since {since!r}: no backup of volume {self.volume_id!r} has "
            "this whole id or generation: back up without them"
        )

    def _all(self) -> list[Manifest]:
        manifests = self.repository.manifests(self.volume_id, domain_id=self.domain.domain_id)
        return list(manifests)

    def _latest(self) -> Manifest | None:
        mine = self._all()
        return mine[-1] if mine else None

    def _named(self, wanted: str) -> Manifest:
        chosen = self.repository.manifest(wanted)
        backup = chosen.backup
        if (backup.volume_id, backup.domain_id) != (self.volume_id, self.domain.domain_id):
            raise Refused(
                f"backup {backup.id} is of volume {backup.volume_id!r}: a base "
                "must be of the same volume and domain: use --full or another base"
            )
        return chosen

    def _comparable(self, chosen: Manifest | None) -> Manifest | None:
        """Return a base unless its cells are not those of this backup."""
        chunk = self.grid.chunk_size_bytes
        if chosen is not None and chosen.backup.grid.chunk_size_bytes != chunk:
            facts = {"base": chosen.backup.id}
            log.warning("base has another chunk size and is not used", extra=facts)
            return None
        return chosen
