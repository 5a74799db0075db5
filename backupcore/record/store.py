"""Between records and a repository: making one of a stored backup, and what the store says of one.

Looking never changes anything, takes no lease, lists nothing and opens objects by their exact
names only: registers of that backup, and the packs its manifest leads to.
"""

from __future__ import annotations

import hmac
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple

from blake3 import blake3

from backupcore.chunk.digest import digest
from backupcore.config import Tuning
from backupcore.driver import Driver
from backupcore.driver.registry import DEFAULT_SCHEME
from backupcore.errors import (
    BackupMissing,
    Damaged,
    MapDamaged,
    ObjectMissing,
    PackDamaged,
    Refused,
)
from backupcore.model import Backup, Progress, ProgressCallback
from backupcore.operation.retrieve.survey import Survey
from backupcore.record.claim import Claim
from backupcore.record.cover import Cover, Wishes, service_name
from backupcore.record.error import Reason, RecordRefused
from backupcore.record.record import Record
from backupcore.repository import Repository
from backupcore.repository.envelope import TRAILER_LENGTH_MAX, read_layout
from backupcore.repository.key import DATA, MAP, PackKind, RegisterName, pack_id, volume_tag
from backupcore.repository.manifest import (
    REGISTER_SIZE_BYTES_MAX,
    Manifest,
    Register,
    State,
)
from backupcore.runtime import StopFlag, map_ordered, open_pool
from backupcore.url import Url

__all__ = [
    "LIFETIME",
    "Facts",
    "belongs_to",
    "check_against_store",
    "check_is_current",
    "make_record",
    "tenant_tag",
]

LIFETIME = timedelta(days=90)
_LATER_REGISTERS_MAX = 64
_PACKS_KEPT_MAX = 1 << 16  # looked at lately; one that comes up again later is looked at again


@dataclass(frozen=True, slots=True)
class Facts:
    """What the store says of a record, the only part of an import that is to be believed.

    backup: as its manifest tells it. register: which one that is.
    """

    backup: Backup
    register: RegisterName


def make_record(
    repository: Repository,
    backup: Backup,
    *,
    project_id: str | None = None,
    wishes: Wishes | None = None,
    lifetime: timedelta | None = LIFETIME,
) -> Record:
    """Return the record of a stored backup, to be encoded.

    project_id: whose it is, None when it is of no project; the record tells a `tenant_tag`.
    wishes: what the importer's row shall say. lifetime: None for ever.
    Raises: BackupMissing, Refused when the lifetime is no positive time, StoreError, Damaged.
    """
    register = _current(repository, backup)
    issued_at = repository.runtime.clock.now().replace(microsecond=0)
    try:
        expires_at = None if lifetime is None else issued_at + lifetime
    except OverflowError as error:
        raise Refused("a record's lifetime ends after the year 9999: let it never end") from error
    if lifetime is not None and lifetime < timedelta(seconds=1):
        raise Refused(f"a record's lifetime of {lifetime}: at least a second")
    stored = repository.driver.get(register.key, 0, REGISTER_SIZE_BYTES_MAX)
    claim = Claim(
        repository_id=repository.config.repository_id,
        register=register,
        manifest_digest=digest(stored),
        manifest_length=len(stored),
        tenant_tag=None if project_id is None else tenant_tag(repository, project_id),
        issued_at=issued_at,
        expires_at=expires_at.replace(microsecond=0) if expires_at else None,
    )
    found = _manifest(repository, claim).backup
    scheme = Url.parse(repository.url, default_scheme=DEFAULT_SCHEME).scheme
    return Record(claim, Cover.of(found, service=service_name(scheme), wishes=wishes or Wishes()))


def check_against_store(
    record: Record,
    repository: Repository,
    *,
    tuning: Tuning | None = None,
    progress: ProgressCallback | None = None,
    stop: StopFlag | None = None,
) -> Facts:
    """Return what the store says of a record's backup, when it is there and every pack of it too.

    progress: in bytes of the volume. Memory does not grow with the volume; of each pack the size
    and the last bytes are asked for, its content is left to `verify`.
    Raises: RecordRefused; Damaged when the manifest was exported and what it needs is not there;
    StoreError, Stopped.
    """
    claim = record.claim
    if claim.repository_id != repository.config.repository_id:
        raise RecordRefused(
            f"record: unknown repository {claim.repository_id}: it is not the one at "
            f"{repository.url}: add that repository first",
            reason=Reason.OTHER_REPOSITORY,
        )
    manifest = _manifest(repository, claim)
    _check_decision(repository, claim.register)
    looking = _Looking(repository, manifest, tuning or Tuning(), progress)
    looking.run(stop or repository.runtime.never)
    facts = Facts(manifest.backup, claim.register)
    check_is_current(facts, repository)  # looking may have taken long
    return facts


def check_is_current(facts: Facts, repository: Repository) -> None:
    """Ask again whether what the store said still holds, which costs one small request.

    Raises: RecordRefused when a later register decided otherwise, StoreError.
    """
    _check_decision(repository, facts.register)


def tenant_tag(repository: Repository, project_id: str) -> str:
    """Return the 32 hexadecimal digits that stand for a project in a repository's records.

    They are keyed with the repository's own secret: whoever has the repository can tell whose a
    record is, in another deployment too; a record alone does not confirm a guess, and the records
    of two repositories do not show that they are of one project.
    """
    id_key = repository.domain().id_key
    name = project_id.encode("utf-8", "surrogatepass")
    return blake3(b"backupcore tenant tag 1\0" + name, key=id_key).hexdigest(16)


def belongs_to(record: Record, repository: Repository, project_id: str) -> bool:
    """Return whether a record was exported for a project; one that was for none is nobody's."""
    tag = record.claim.tenant_tag
    return tag is not None and hmac.compare_digest(tag, tenant_tag(repository, project_id))


def _current(repository: Repository, backup: Backup) -> RegisterName:
    """Return the name of the register that is a backup's manifest. Raises: BackupMissing."""
    tag = volume_tag(backup.volume_id, repository.domain(backup.domain_id).id_key)
    registers = repository.registers
    register = registers.state(registers.history(tag, backup.id))
    if register is None or register.manifest is None:
        raise BackupMissing(f"backup {backup.id} was deleted meanwhile")
    return register.decision.name


def _manifest(repository: Repository, claim: Claim) -> Manifest:
    """Return the manifest a claim names, after comparing its bytes before anything reads them."""
    key = claim.register.key
    try:
        stored = repository.driver.get(key, 0, REGISTER_SIZE_BYTES_MAX)
    except ObjectMissing as error:
        raise RecordRefused(
            f"record: the repository has no {key}: is it a replica that lacks it?",
            reason=Reason.MISSING,
        ) from error
    if (len(stored), digest(stored)) != (claim.manifest_length, claim.manifest_digest):
        raise RecordRefused(
            f"record: {key} is not the manifest that was exported: run verify",
            reason=Reason.CHANGED,
        )
    manifest = Register.open(stored, claim.register).manifest
    if manifest is None or manifest.repository_id != claim.repository_id:
        raise RecordRefused(
            f"record: {key} is no manifest of this repository", reason=Reason.CHANGED
        )
    return manifest


def _check_decision(repository: Repository, name: RegisterName) -> None:
    """Raise RecordRefused when a later register decided otherwise."""
    first = name.number + 1
    for number in range(first, first + _LATER_REGISTERS_MAX):
        later = RegisterName(name.volume_tag, name.backup_id, number)
        register = repository.registers.read(later)
        if register is None:
            return
        if register.state is State.DELETED:
            raise RecordRefused(
                f"record: backup {name.backup_id} was deleted and cannot come back",
                reason=Reason.DELETED,
            )
        if register.state is State.MANIFEST:
            break
    raise RecordRefused(
        f"record: backup {name.backup_id} has a later manifest: export it again",
        reason=Reason.CHANGED,
    )


class _Pack(NamedTuple):
    kind: PackKind
    reference: bytes
    offset: int  # in the volume, of what led to it


class _Looking:
    """Looks at each pack that a manifest leads to; walks in one thread, asks in several."""

    def __init__(
        self,
        repository: Repository,
        manifest: Manifest,
        tuning: Tuning,
        progress: ProgressCallback | None,
    ) -> None:
        self._driver = repository.driver
        self._tree = repository.tree(manifest)
        self._manifest = manifest
        self._thread_count = tuning.fetchers
        self._progress = progress
        self._kept: OrderedDict[tuple[str, bytes], None] = OrderedDict()

    def run(self, stop: StopFlag) -> None:
        total = self._manifest.backup.size_bytes
        pool = open_pool(self._thread_count, "record")

        def look(pack: _Pack) -> int:
            _check_pack(self._driver, pack)
            return pack.offset

        try:
            limit = max(1, 2 * self._thread_count)
            for offset in map_ordered(pool, look, self._packs(), limit=limit, stop=stop):
                self._tell(offset, total)
        finally:
            pool.shutdown(cancel_futures=True)
        self._tell(total, total)

    def _tell(self, done_bytes: int, total_bytes: int) -> None:
        if self._progress is not None:
            self._progress(Progress(done_bytes, total_bytes))

    def _packs(self) -> Iterator[_Pack]:
        """Yield packs in the order of the volume, most of them once."""
        backup, root = self._manifest.backup, self._manifest.root
        is_root_leaf = root is not None and root.level == 0
        survey = Survey(self._tree, backup.grid.chunk_size_bytes, backup.size_bytes, _lost)
        for item in survey.items(wants_leaf=lambda row: is_root_leaf):
            found = [_Pack(MAP, bytes(item.row["pack"]), item.offset)]
            packs = item.node.packs if item.node is not None else None
            packs = item.leaf.live().packs if item.leaf is not None else packs
            if packs is not None:
                found += [_Pack(DATA, reference, item.offset) for reference in packs.tolist()]
            yield from (pack for pack in found if self._is_new(pack))

    def _is_new(self, pack: _Pack) -> bool:
        name = (pack.kind.folder, pack.reference)
        is_new = name not in self._kept
        self._kept[name] = None
        self._kept.move_to_end(name)
        if len(self._kept) > _PACKS_KEPT_MAX:
            self._kept.popitem(last=False)
        return is_new


def _lost(error: MapDamaged, offset: int, length: int) -> None:
    raise error


def _check_pack(driver: Driver, pack: _Pack) -> None:
    """Raise PackDamaged or MapDamaged unless a pack is as long as it was written."""
    key = pack_id(pack.kind, pack.reference)
    try:
        size_bytes = driver.stat(key).size_bytes
        start = max(0, size_bytes - TRAILER_LENGTH_MAX)
        layout = read_layout(driver.get(key, start, size_bytes - start), size_bytes)
        if len(layout.sections) == 2:
            return
        reason = f"it has {len(layout.sections)} sections"
    except ObjectMissing:
        reason = "it is missing"
    except (Damaged, ValueError) as error:
        reason = str(error)
    message = f"{key} is needed by the record's backup and damaged: {reason}: run verify"
    raise PackDamaged(message) if pack.kind is DATA else MapDamaged(message, key=key)
