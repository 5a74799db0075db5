"""The small objects: configuration, domains, leases and tombs (docs/design/format.md §3, §8)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from backupcore.errors import Damaged, ManifestDamaged, Refused, RepositoryMissing, Unsupported
from backupcore.model import Buffer, Grid, PackId
from backupcore.repository.envelope import (
    Envelope,
    Fields,
    format_time,
    open_envelope,
    seal_envelope,
    start_envelope,
)
from backupcore.repository.key import (
    CONFIG,
    LeaseName,
    RegisterName,
    TombName,
    domain_key,
    pack_reference,
)
from backupcore.runtime import Process

__all__ = [
    "NOBODY",
    "Config",
    "Domain",
    "Lease",
    "SessionKind",
    "Tomb",
    "open_control",
    "seal_control",
]

FORMAT = 1
FEATURES_REQUIRED: frozenset[str] = frozenset()  # names of features this release knows
FEATURES_TO_WRITE: frozenset[str] = frozenset()
DIGEST_NAME = "blake3-256"


def seal_control(kind: str, header: Mapping[str, Any], *sections: Buffer) -> list[Buffer]:
    """Return the parts of a small object."""
    parts: list[Buffer] = [start_envelope(kind, header), *sections]
    parts.append(seal_envelope(parts, [len(section) for section in sections]))
    return parts


def open_control(data: Buffer, kind: str, key: str) -> Envelope:
    """Return a small object after checking it. Raises: ManifestDamaged, Unsupported."""
    try:
        return open_envelope(data, kind)
    except Damaged as error:
        raise ManifestDamaged(f"{key} is damaged: {error}: restore it from a replica") from error


@contextmanager
def _damage_in(key: str) -> Iterator[None]:
    """Say which object a field that does not fit is in."""
    try:
        yield
    except (ManifestDamaged, Unsupported):
        raise
    except (Damaged, Refused) as error:
        raise ManifestDamaged(f"{key} is damaged: {error}: restore it from a replica") from error


def _check_name(found: str, key: str) -> None:
    """Raise unless an object lies under the name its header gives it."""
    if found != key:
        raise ManifestDamaged(f"{key} is damaged: it belongs under another name: {found}")


@dataclass(frozen=True, slots=True)
class Config:
    """What holds for a whole repository, for ever."""

    repository_id: str
    created_at: datetime
    domain_id: str
    grid: Grid
    level: int
    registry: str = "store"
    features_required: tuple[str, ...] = ()
    features_to_write: tuple[str, ...] = ()

    def seal(self) -> list[Buffer]:
        """Return the parts of the object `config`."""
        defaults = {
            "chunk_size_bytes": self.grid.chunk_size_bytes,
            "frame_size_bytes": self.grid.frame_size_bytes,
            "level": self.level,
            "domain_id": self.domain_id,
        }
        header = {
            "format": FORMAT,
            "repository_id": self.repository_id,
            "created_at": format_time(self.created_at),
            "features_required": list(self.features_required),
            "features_to_write": list(self.features_to_write),
            "registry": self.registry,
            "defaults": defaults,
        }
        return seal_control("conf", header)

    @classmethod
    def open(cls, data: Buffer) -> Config:
        """Read `config`.

        Raises: RepositoryMissing when it is none of ours, Unsupported when it needs what this
        release does not have, ManifestDamaged.
        """
        if not bytes(data[:8]).startswith(b"\x89BKC"):
            raise RepositoryMissing("`config` is not a repository's: is this the right URL?")
        with _damage_in(CONFIG):
            return cls._parse(Fields(open_control(data, "conf", CONFIG).header))

    @classmethod
    def _parse(cls, fields: Fields) -> Config:
        found = fields.count("format")
        if found != FORMAT:
            raise _unsupported(f"format {found}")
        required = fields.texts("features_required")
        unknown = sorted(set(required) - FEATURES_REQUIRED)
        if unknown:
            raise _unsupported(f"features {', '.join(unknown)}")
        defaults = fields.fields("defaults")
        return cls(
            repository_id=fields.identity("repository_id"),
            created_at=fields.time("created_at"),
            domain_id=defaults.identity("domain_id"),
            grid=Grid(defaults.count("chunk_size_bytes"), defaults.count("frame_size_bytes")),
            level=defaults.integer("level"),
            registry=fields.text("registry"),
            features_required=tuple(required),
            features_to_write=tuple(fields.texts("features_to_write")),
        )

    @property
    def is_writable(self) -> bool:
        """Whether this release knows everything a writer must know."""
        return FEATURES_TO_WRITE.issuperset(self.features_to_write)


@dataclass(frozen=True, slots=True)
class Domain:
    """What may share chunks. id_key: the 32 bytes that key every chunk id in it."""

    domain_id: str
    id_key: bytes
    owner: str = ""

    def seal(self) -> list[Buffer]:
        """Return the parts of the object."""
        header = {
            "domain_id": self.domain_id,
            "digest": DIGEST_NAME,
            "id_key": self.id_key.hex(),
            "cipher": "none",
            "owner": self.owner,
        }
        return seal_control("doma", header)

    @classmethod
    def open(cls, data: Buffer, key: str) -> Domain:
        """Read a domain. Raises: ManifestDamaged, Unsupported."""
        fields = Fields(open_control(data, "doma", key).header)
        with _damage_in(key):
            if (fields.text("digest"), fields.text("cipher")) != (DIGEST_NAME, "none"):
                raise Unsupported(
                    f"{key} has a digest or cipher this release lacks: use a newer one"
                )
            domain_id, id_key = fields.identity("domain_id"), fields.octets("id_key", 32)
            _check_name(domain_key(domain_id), key)
            return cls(domain_id, id_key, fields.text("owner"))


NOBODY = Process("", "", 0, "")


class SessionKind(StrEnum):
    """What a session is at."""

    BACKUP = "backup"
    RESTORE = "restore"
    VERIFY = "verify"
    COMPACT = "compact"


@dataclass(frozen=True, slots=True)
class Lease:
    """One renewal of a session's lease: who works, and which register the work will decide.

    register: None for a session that decides nothing (a restore).
    """

    session_id: str
    counter: int
    kind: SessionKind
    register: RegisterName | None
    domain_id: str
    chunk_size_bytes: int
    process: Process
    at: datetime

    @property
    def is_abandoned(self) -> bool:
        """Whether surely nobody works at the session any more."""
        return self.process == NOBODY or self.process.is_gone()

    @property
    def name(self) -> LeaseName:
        """Its name."""
        return LeaseName(self.session_id, self.counter)

    def seal(self) -> list[Buffer]:
        """Return the parts of the object."""
        header = {
            "session_id": self.session_id,
            "counter": self.counter,
            "kind": self.kind,
            "register": self.register.key if self.register else None,
            "domain_id": self.domain_id,
            "volume_tag": self.register.volume_tag if self.register else None,
            "chunk_size_bytes": self.chunk_size_bytes,
            "host": self.process.host,
            "boot_id": self.process.boot_id,
            "pid": self.process.pid,
            "started": self.process.started,
            "scope": self.process.scope,
            "at": format_time(self.at),
        }
        return seal_control("leas", header)

    @classmethod
    def open(cls, data: Buffer, key: str) -> Lease:
        """Read a lease. Raises: ManifestDamaged, Unsupported."""
        fields = Fields(open_control(data, "leas", key).header)
        with _damage_in(key):
            lease = cls(
                session_id=fields.identity("session_id"),
                counter=fields.count("counter"),
                kind=fields.choice("kind", SessionKind),
                register=_register(fields.optional_text("register")),
                domain_id=fields.identity("domain_id"),
                chunk_size_bytes=fields.count("chunk_size_bytes"),
                process=Process(
                    fields.text("host"), fields.text("boot_id"), fields.count("pid"),
                    fields.text("started"), fields.text("scope"),
                ),
                at=fields.time("at"),
            )  # fmt: skip
            _check_name(lease.name.key, key)
        return lease


@dataclass(frozen=True, slots=True)
class Tomb:
    """Condemned packs, data and map alike: never referenced anew, deleted once nothing refers."""

    tomb_id: str
    generation: int
    packs: frozenset[PackId]

    @property
    def name(self) -> TombName:
        """Its name."""
        return TombName(self.tomb_id, self.generation)

    def seal(self) -> list[Buffer]:
        """Return the parts of the object."""
        lines = "".join(f"{key}\n" for key in sorted(self.packs)).encode()
        return seal_control("tomb", {"tomb_id": self.tomb_id, "generation": self.generation}, lines)

    @classmethod
    def open(cls, data: Buffer, key: str) -> Tomb:
        """Read a tomb. Raises: ManifestDamaged, Unsupported."""
        envelope = open_control(data, "tomb", key)
        fields = Fields(envelope.header)
        with _damage_in(key):
            if len(envelope.sections) != 1:
                raise Damaged("a tomb has one section")
            *packs, rest = bytes(envelope.sections[0]).decode("ascii", "replace").split("\n")
            if rest or any(pack_reference(pack) is None for pack in packs):
                raise Damaged("it names something that is no pack")
            tomb = cls(
                fields.identity("tomb_id"),
                fields.count("generation"),
                frozenset(map(PackId, packs)),
            )
            _check_name(tomb.name.key, key)
        return tomb


def _register(text: str | None) -> RegisterName | None:
    name = RegisterName.parse(text) if text is not None else None
    if text is not None and name is None:
        raise Damaged(f"it names {text!r}, which is no register")
    return name


def _unsupported(what: str) -> Unsupported:
    return Unsupported(f"repository needs {what}, which this release lacks: use a newer one")
