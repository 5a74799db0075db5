"""What a repository holds and what it costs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from backupcore.model import Grid
from backupcore.repository import Repository
from backupcore.repository.session import read_tombs

__all__ = ["RepositoryInfo", "describe"]


@dataclass(frozen=True, slots=True)
class RepositoryInfo:
    """Facts and sizes, in bytes.

    volume_bytes: sizes of all backups' volumes, zeros included. data_bytes: of them, cells that
    are not zero. live_bytes: stored bytes those cells refer to, shared ones counted each time.
    data_pack_bytes, map_pack_bytes: what lies in the store, garbage included.
    """

    url: str
    repository_id: str
    created_at: datetime
    grid: Grid
    level: int
    registry: str
    backup_count: int
    volume_count: int
    volume_bytes: int
    data_bytes: int
    live_bytes: int
    data_pack_count: int
    data_pack_bytes: int
    map_pack_count: int
    map_pack_bytes: int
    session_count: int
    condemned_pack_count: int

    @property
    def compression_ratio(self) -> float | None:
        """Plain bytes to stored bytes of what backups refer to."""
        return self.data_bytes / self.live_bytes if self.live_bytes else None

    @property
    def dedup_ratio(self) -> float | None:
        """Stored bytes that backups refer to, shared ones each time, to those in the store."""
        return self.live_bytes / self.data_pack_bytes if self.data_pack_bytes else None


def describe(repository: Repository) -> RepositoryInfo:
    """Return what a repository holds, by listing it. Raises: StoreError, Damaged."""
    backups = [manifest.backup for manifest in repository.manifests()]
    driver, config = repository.driver, repository.config
    data_count, data_bytes = _total(info.size_bytes for info in driver.list("data/"))
    map_count, map_bytes = _total(info.size_bytes for info in driver.list("map/"))
    sessions = {info.key.split("/")[1] for info in driver.list("sessions/")}
    return RepositoryInfo(
        url=repository.url,
        repository_id=config.repository_id,
        created_at=config.created_at,
        grid=config.grid,
        level=config.level,
        registry=config.registry,
        backup_count=len(backups),
        volume_count=len({(backup.domain_id, backup.volume_id) for backup in backups}),
        volume_bytes=sum(backup.size_bytes for backup in backups),
        data_bytes=sum(backup.data_bytes for backup in backups),
        live_bytes=sum(backup.live_bytes for backup in backups),
        data_pack_count=data_count,
        data_pack_bytes=data_bytes,
        map_pack_count=map_count,
        map_pack_bytes=map_bytes,
        session_count=len(sessions),
        condemned_pack_count=len(read_tombs(driver, repository.runtime.clock)),
    )


def _total(sizes: Iterable[int]) -> tuple[int, int]:
    """Return how many sizes there are and their sum."""
    count = total = 0
    for size in sizes:
        count, total = count + 1, total + size
    return count, total
