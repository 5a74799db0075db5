"""A repository: one place that holds packs, maps and registers, behind a driver.

Everything that is read is checked; everything that is listed is asked of the store.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Set
from dataclasses import replace
from functools import partial
from pathlib import Path

from backupcore.chunk.digest import digest
from backupcore.chunk.frame import check_level
from backupcore.closing import Closing
from backupcore.driver import Driver, Role
from backupcore.driver.layer import ReadOnly
from backupcore.driver.pace import open_retrying
from backupcore.driver.registry import DEFAULT_SCHEME, open_driver
from backupcore.errors import (
    BackupMissing,
    ManifestDamaged,
    ObjectExists,
    ObjectMissing,
    Refused,
    RepositoryMissing,
    Unavailable,
    Unsupported,
)
from backupcore.model import Backup, BackupId, Grid
from backupcore.repository.cache import Cache
from backupcore.repository.control import Config, Domain, Lease, SessionKind
from backupcore.repository.index import DomainIndex, Source
from backupcore.repository.key import CONFIG, RegisterName, domain_key, volume_tag
from backupcore.repository.manifest import Manifest
from backupcore.repository.map import TreeReader
from backupcore.repository.reading import get_opened
from backupcore.repository.register import History, Registers
from backupcore.repository.session import Session, find_leases, find_undecided
from backupcore.runtime import Runtime, StopFlag
from backupcore.url import Url

__all__ = ["DEFAULT_LEVEL", "Repository", "create_repository", "open_repository"]

log = logging.getLogger(__name__)

DEFAULT_LEVEL = 1
UUID_LENGTH = 36


class Repository(Closing):
    """An open repository; close it, or use it in a `with` statement.

    driver: every call of it is repeated for a while when the store is unavailable.
    """

    def __init__(
        self, driver: Driver, config: Config, *, runtime: Runtime, cache: Cache | None, url: str
    ) -> None:
        self.driver = driver
        self.config = config
        self.runtime = runtime
        self.url = url
        self.registers = Registers(driver, runtime, cache)
        self._cache = cache
        self._domains: dict[str, Domain] = {}

    def domain(self, domain_id: str | None = None) -> Domain:
        """Return a domain, the default one unless another is named.

        Raises: ManifestDamaged when it is missing or damaged.
        """
        wanted = domain_id or self.config.domain_id
        if wanted not in self._domains:
            key = domain_key(wanted)
            try:
                self._domains[wanted] = get_opened(self.driver, key, partial(Domain.open, key=key))
            except ObjectMissing as error:
                raise ManifestDamaged(f"{key} is missing: restore it from a replica") from error
        return self._domains[wanted]

    def tree(self, manifest: Manifest | None, *, is_tolerant: bool = False) -> TreeReader:
        """Return a reader of a backup's map, of an empty one for None; see `TreeReader`."""
        backup = manifest.backup if manifest else None
        return TreeReader(
            self.driver,
            manifest.root if manifest else None,
            (backup or self.config).grid.chunk_size_bytes,
            backup.size_bytes if backup else 0,
            cache=self._cache,
            is_tolerant=is_tolerant,
        )

    def backups(self, volume_id: str | None = None) -> Iterator[Backup]:
        """Yield every backup there is, of one volume or of all, oldest first.

        One whose register is damaged is left out, with an error in the log; `verify` tells of it.
        Raises: Unsupported.
        """
        return (manifest.backup for manifest in self.manifests(volume_id))

    def manifests(
        self, volume_id: str | None = None, *, domain_id: str | None = None
    ) -> Iterator[Manifest]:
        """Yield every backup's manifest, or those of one volume of a domain; as `backups`."""
        found: list[Manifest] = []
        for history in self.registers.histories(self._tag(volume_id, domain_id)):
            try:
                manifest = self.registers.manifest(history)
            except ManifestDamaged as error:
                log.error("backup not listed", extra={"reason": str(error)})
                continue
            if manifest is not None:
                found.append(manifest)
        yield from sorted(found, key=lambda manifest: manifest.backup.committed_at)

    def find_backup(self, backup: str, volume_id: str | None = None) -> Backup:
        """Return the one backup that a text means. Raises as `history`."""
        return self.manifest(backup, volume_id).backup

    def history(self, backup: str, volume_id: str | None = None) -> History:
        """Return the registers of the one backup that a text means.

        backup: a backup id, the unambiguous beginning of one, or `latest`, which without a
        volume id means the latest of the only volume. volume_id: whose backups are meant, of any
        volume unless given. Deleted backups are not meant; one with a damaged register is.
        Raises: BackupMissing, Refused when it is ambiguous.
        """
        if backup == "latest":
            return self._latest(volume_id)
        if not backup or set(backup) - set("0123456789abcdef-"):
            raise BackupMissing(f"{backup!r} is no backup id, no beginning of one and not `latest`")
        found = [
            history
            for history in self.registers.histories(self._tag(volume_id))
            if history.backup_id.startswith(backup) and self._is_there(history)
        ]
        if not found:
            raise BackupMissing(f"no backup's id begins with {backup}: see `backupcore list`")
        if len(found) > 1:
            more = "give the volume id too" if len(backup) == UUID_LENGTH else "give more of it"
            raise Refused(f"{len(found)} backups' ids begin with {backup}: {more}")
        return found[0]

    def deletable(self, backup: str, volume_id: str | None = None) -> History:
        """Return the registers of a backup, or, by its whole id, of one that was only begun.

        Raises as `history`.
        """
        try:
            return self.history(backup, volume_id)
        except BackupMissing:
            for lease in find_leases(self.driver):
                if lease.register is not None and lease.register.backup_id == backup:
                    return self.registers.history(lease.register.volume_tag, BackupId(backup))
            raise

    def manifest(self, backup: str, volume_id: str | None = None) -> Manifest:
        """Return the manifest of the one backup that a text means. Raises as `history`."""
        manifest = self.registers.manifest(self.history(backup, volume_id))
        if manifest is None:
            raise BackupMissing(f"backup {backup} was deleted meanwhile")
        return manifest

    def open_session(
        self,
        kind: SessionKind,
        register: RegisterName | None,
        *,
        domain_id: str,
        chunk_size_bytes: int,
    ) -> Session:
        """Start a session: its lease is put, then the tombs are read."""
        return Session.open(
            self.driver, self.registers, self.runtime, kind=kind, register=register,
            domain_id=domain_id, chunk_size_bytes=chunk_size_bytes,
        )  # fmt: skip

    def resume_session(self, abandoned: Lease) -> Session | None:
        """Go on with a session that nobody works at; None when another process was faster."""
        return Session.resume(self.driver, self.registers, self.runtime, abandoned)

    def undecided_backups(self, tag: str) -> list[Lease]:
        """Return the leases of a volume's backups that are not decided, newest first."""
        return find_undecided(self.driver, self.registers, SessionKind.BACKUP, tag)

    def dedup_index(
        self,
        condemned: Set[bytes],
        *,
        domain_id: str,
        chunk_size_bytes: int,
        tick: Callable[[], None],
    ) -> DomainIndex:
        """Return which chunks the backups of a domain hold that are listed now, and where.

        condemned: references of data packs, as the session found them before this call. tick:
        called whenever there is progress, for it may take long. Raises: Unsupported, StoreError.
        """
        name = f"{domain_id}-{chunk_size_bytes}"
        index = DomainIndex(
            self._cache.index_folder / name if self._cache else None,
            digest(f"{self.config.repository_id}/{name}".encode()),
            condemned=condemned,
            random_bytes=self.runtime.random_bytes,
            tick=tick,
        )
        try:
            index.update(
                Source(bytes(manifest.root.row["digest"]), partial(self.tree, manifest))
                for manifest in self.manifests()
                if manifest.root is not None
                and manifest.backup.domain_id == domain_id
                and manifest.backup.grid.chunk_size_bytes == chunk_size_bytes
            )
        except BaseException:
            index.close()
            raise
        return index

    def require_writable(self) -> None:
        """Raise Unsupported when this release must not write here."""
        if not self.config.is_writable:
            names = ", ".join(self.config.features_to_write)
            raise Unsupported(
                f"{self.url}: writing needs to know {names}, which this release does not: "
                "it can list, verify and restore; use a newer one to write"
            )

    def close(self) -> None:
        """Release the driver."""
        self.driver.close()

    def _tag(self, volume_id: str | None, domain_id: str | None = None) -> str | None:
        return None if volume_id is None else volume_tag(volume_id, self.domain(domain_id).id_key)

    def _is_there(self, history: History) -> bool:
        """Return whether a backup is neither deleted nor never committed."""
        try:
            return self.registers.manifest(history) is not None
        except ManifestDamaged:
            return True

    def _latest(self, volume_id: str | None) -> History:
        manifests = list(self.manifests(volume_id))
        if not manifests:
            whose = f"of volume {volume_id}" if volume_id is not None else "in this repository"
            raise BackupMissing(f"there is no backup {whose}")
        volumes = {manifest.backup.volume_id for manifest in manifests}
        if len(volumes) > 1:
            raise Refused(f"the repository holds {len(volumes)} volumes: say which: --volume-id")
        latest = manifests[-1].backup
        tag = volume_tag(latest.volume_id, self.domain(latest.domain_id).id_key)
        return self.registers.history(tag, BackupId(latest.id))


def create_repository(
    url: str | Url,
    *,
    grid: Grid | None = None,
    level: int = DEFAULT_LEVEL,
    create_container: bool = False,
    runtime: Runtime | None = None,
) -> Repository:
    """Make a new repository at a URL and open it.

    grid, level: defaults of its backups. create_container: whether the driver may create what
    the URL names. Raises: Refused when there is one already, StoreError.
    """
    runtime = runtime or Runtime()
    check_level(level)
    parsed = _parse(url)
    if create_container:
        parsed = replace(parsed, options={**parsed.options, "create_container": "yes"})
    driver: Driver = open_retrying(lambda: open_driver(parsed), runtime=runtime)
    domain = Domain(runtime.new_id(), runtime.random_bytes(32))
    config = Config(
        repository_id=runtime.new_id(),
        created_at=runtime.clock.now(),
        domain_id=domain.domain_id,
        grid=grid or Grid(),
        level=level,
        registry="store" if driver.capabilities.conditional_put else "catalog",
    )
    try:
        if any(info.key == CONFIG for info in driver.list(CONFIG)):
            raise ObjectExists(CONFIG)
        driver.put(domain_key(domain.domain_id), domain.seal(), role=Role.CONTROL)
        _put_config(driver, config)
    except ObjectExists as error:
        driver.close()
        raise Refused(f"{_parse(url)}: there is a repository already") from error
    except BaseException:
        driver.close()
        raise
    return Repository(driver, config, runtime=runtime, cache=None, url=str(parsed))


def _put_config(driver: Driver, config: Config) -> None:
    """Put `config`; a lost reply is settled by reading back. Raises: ObjectExists."""
    parts = config.seal()
    try:
        driver.put(CONFIG, parts, if_absent=True, role=Role.CONTROL)
    except (ObjectExists, Unavailable) as error:
        try:
            is_ours = driver.get(CONFIG) == b"".join(parts)
        except ObjectMissing:
            raise error from None
        if not is_ours:
            raise ObjectExists(CONFIG) from error


def open_repository(
    url: str | Url,
    *,
    read_only: bool = False,
    cache_folder: Path | None = None,
    runtime: Runtime | None = None,
    layers: Callable[[Driver], Driver] | None = None,
    stop: StopFlag | None = None,
) -> Repository:
    """Open the repository at a URL.

    read_only: whether nothing may be written, a lease neither. cache_folder: where immutable
    objects are kept between runs, None for nowhere. layers: wraps the driver, below the retries.
    stop: ends waiting for an unavailable store.
    Raises: RepositoryMissing, Unsupported when it needs a newer release, StoreError.
    """
    runtime = runtime or Runtime()

    def open_below() -> Driver:
        opened = open_driver(url, read_only=read_only)
        return layers(opened) if layers else opened

    driver: Driver = open_retrying(open_below, runtime=runtime, stop=stop)
    try:
        config = get_opened(driver, CONFIG, Config.open)
    except ObjectMissing as error:
        driver.close()
        raise RepositoryMissing(
            f"{_parse(url)}: there is no repository: make one with `backupcore init`"
        ) from error
    except BaseException:
        driver.close()
        raise
    if not config.is_writable:
        driver = ReadOnly(driver)
    cache = None
    if cache_folder is not None:
        cache = Cache(cache_folder, config.repository_id, random_bytes=runtime.random_bytes)
    return Repository(driver, config, runtime=runtime, cache=cache, url=str(_parse(url)))


def _parse(url: str | Url) -> Url:
    return Url.parse(url, default_scheme=DEFAULT_SCHEME) if isinstance(url, str) else url
